/**
 * Finds the heard words of a reply from the amount of played sound.
 *
 * Characters are code points, as in the service, not JavaScript's UTF-16 units.
 */

/** Typical pace, used until the reply's own is known: code points a second. */
const PACE = 15;

export class SpokenWords {
  constructor() {
    this.text = "";
    /** @type {string[]} */
    this.points = [];
    /** Text of each stretch of sound: from sample `at`, code points `start` to `end`. */
    this.spans = [];
    this.received = 0;
    this.rate = 0;
    this.spoken = 0;
  }

  /** @param {string} text the next chunk of the written reply */
  write(text) {
    this.text += text;
    this.points.push(...text);
  }

  /** Note that the sound that follows speaks these code points. */
  span(start, end) {
    const last = this.spans.at(-1);
    if (last && last.start === start && last.end === end) return;
    this.spans.push({ at: this.received, start, end });
  }

  /** @param {number} samples received */
  receive(samples) {
    this.received += samples;
  }

  /**
   * Return how many code points were heard: whole words, never fewer than before.
   * @param {number} samples played so far
   */
  heardAt(samples) {
    const index = this.spans.findLastIndex((span) => samples >= span.at);
    if (index < 0) return this.spoken;
    const { at, start, end } = this.spans[index];
    const next = this.spans[index + 1];
    const length = next ? next.at - at : Math.max(this.received - at, ((end - start) * this.rate) / this.pace(index));
    const reached = start + Math.min(1, (samples - at) / Math.max(1, length)) * (end - start);
    this.spoken = Math.max(this.spoken, this.wordEnd(reached, end));
    return this.spoken;
  }

  /** Pace of the clauses before this one, in code points a second. */
  pace(index) {
    const samples = this.spans[index].at;
    return index && samples ? (this.spans[index].start * this.rate) / samples : PACE;
  }

  /** The end of the last word that begins before `place`: a word is highlighted when it begins. */
  wordEnd(place, end) {
    let stop = Math.floor(place);
    if (stop <= 0) return 0;
    while (stop < end && !/\s/.test(this.points[stop] ?? " ")) stop++;
    return stop;
  }

  /** Split the reply at a code point. */
  split(place) {
    return [this.points.slice(0, place).join(""), this.points.slice(place).join("")];
  }

  /** The position at which the service's heard text ends. */
  endOf(heard) {
    if (!heard) return 0;
    const blank = this.points.length - [...this.text.trimStart()].length;
    return Math.min(this.points.length, blank + [...heard].length);
  }
}
