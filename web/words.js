/**
 * Which words of a reply were heard, from how much of its sound was played.
 *
 * Characters are code points, as the service counts them, not JavaScript's UTF-16 units.
 */

/** A usual pace, until the reply's own is known: code points a second. */
const PACE = 15;

export class SpokenWords {
  constructor() {
    this.text = "";
    /** @type {string[]} */
    this.points = [];
    /** What each stretch of sound speaks: from sample `at`, code points `start` to `end`. */
    this.spans = [];
    this.received = 0;
    this.rate = 0;
    this.spoken = 0;
  }

  /** @param {string} text the next piece of the written reply */
  write(text) {
    this.text += text;
    this.points.push(...text);
  }

  /** The sound that follows speaks these code points. */
  span(start, end) {
    const last = this.spans.at(-1);
    if (last && last.start === start && last.end === end) return;
    this.spans.push({ at: this.received, start, end });
  }

  /** @param {number} samples of sound that came */
  receive(samples) {
    this.received += samples;
  }

  /**
   * How many code points were heard when so many samples were played: whole words, never fewer than before.
   * @param {number} samples
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

  /** Code points a second of the clauses before this one. */
  pace(index) {
    const samples = this.spans[index].at;
    return index && samples ? (this.spans[index].start * this.rate) / samples : PACE;
  }

  /** The end of the last word that begins before `place`: a word lights up when it is begun. */
  wordEnd(place, end) {
    let stop = Math.floor(place);
    if (stop <= 0) return 0;
    while (stop < end && !/\s/.test(this.points[stop] ?? " ")) stop++;
    return stop;
  }

  /** The reply in two: what lies before a code point, and the rest. */
  split(place) {
    return [this.points.slice(0, place).join(""), this.points.slice(place).join("")];
  }

  /** Where what the service says was heard ends. */
  endOf(heard) {
    if (!heard) return 0;
    const blank = this.points.length - [...this.text.trimStart()].length;
    return Math.min(this.points.length, blank + [...heard].length);
  }
}
