/** The transcript of a job: paragraphs, their speakers, and each word with its time. */

import { text } from "../texts.js";
import { clock } from "./formats.js";
import { element } from "./row.js";

/** A pause this long, in seconds, begins a new paragraph. */
const PAUSE_S = 1.5;
/** A paragraph of one speaker ends at the first sentence end after this many characters. */
const LONG = 500;
const COLORS = 8;

/** Group segments into paragraphs: one speaker, without a pause. */
export function paragraphs(segments) {
  const found = [];
  let last = null;
  let length = 0;
  for (const segment of segments) {
    const before = last?.at(-1);
    const goesOn =
      before &&
      before.speaker === segment.speaker &&
      segment.start - before.end < PAUSE_S &&
      !(length > LONG && /[.!?…。！？]["'”’»)]*$/.test(before.text));
    if (!goesOn) {
      found.push((last = []));
      length = 0;
    }
    last.push(segment);
    length += segment.text.length;
  }
  return found;
}

/** Split a segment's text into words with times, and the text between them without. */
export function parts(segment) {
  const found = [];
  let at = 0;
  for (const { word, start, end } of segment.words ?? []) {
    const place = segment.text.indexOf(word, at);
    if (!word || place < 0) continue; // the aligner spelled it differently: leave it as text
    if (place > at) found.push({ text: segment.text.slice(at, place) });
    found.push({ text: word, start, end });
    at = place + word.length;
  }
  if (!found.length) return [{ text: segment.text, start: segment.start, end: segment.end }];
  if (at < segment.text.length) found.push({ text: segment.text.slice(at) });
  return found;
}

/** The separator of two texts: a space, except in scripts without spaces. */
const SPACELESS = /[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]/;
const between = (one, other) => (SPACELESS.test(one.at(-1) ?? "") && SPACELESS.test(other[0] ?? "") ? "" : " ");

export class TranscriptView {
  /** @param {HTMLElement} box @param {(seconds: number) => void} play */
  constructor(box, play) {
    this.box = box;
    /** Spans of words in order, with their start and end times in seconds. @type {HTMLElement[]} */
    this.spans = [];
    this.starts = [];
    this.ends = [];
    this.now = -1;
    box.addEventListener("click", ({ target }) => {
      const word = target.closest("[data-at]");
      if (word && (word.matches("button") || getSelection().isCollapsed)) play(Number(word.dataset.at));
    });
  }

  /** @param {{segments: object[], language: string | null}} result @param {(speaker: string) => string} nameOf */
  show(result, nameOf) {
    this.spans = [];
    this.starts = [];
    this.ends = [];
    this.now = -1;
    this.speakers = [...new Set(result.segments.map(({ speaker }) => speaker).filter(Boolean))];
    this.box.lang = result.language ?? "";
    let before = null;
    const made = paragraphs(result.segments).map((segments) => {
      const { speaker } = segments[0];
      const paragraph = this.paragraph(segments, speaker === before ? null : speaker, nameOf);
      before = speaker;
      return paragraph;
    });
    this.box.replaceChildren(...made);
  }

  /** The number of a speaker's colour, from 1. */
  color(speaker) {
    return (this.speakers.indexOf(speaker) % COLORS) + 1;
  }

  /** Show a speaker's new name. */
  rename(speaker, name) {
    for (const who of this.box.querySelectorAll(".who")) if (who.dataset.speaker === speaker) who.textContent = name;
  }

  /** @private */
  paragraph(segments, speaker, nameOf) {
    const made = element("div", "paragraph");
    const start = segments[0].start;
    const time = element("button", "time", clock(start));
    time.type = "button";
    time.dataset.at = String(start);
    time.setAttribute("aria-label", text("playFrom", { time: clock(start) }));
    const words = element("p");
    if (segments[0].speaker) made.dataset.color = String(this.color(segments[0].speaker));
    if (speaker) {
      const who = element("span", "who", nameOf(speaker));
      who.dataset.speaker = speaker;
      made.append(who);
    }
    let before = "";
    for (const segment of segments) {
      if (before) words.append(between(before, segment.text));
      for (const part of parts(segment)) words.append(part.start === undefined ? part.text : this.word(part));
      before = segment.text;
    }
    made.append(time, words);
    return made;
  }

  /** @private */
  word({ text: written, start, end }) {
    const span = element("span", "word", written);
    span.dataset.at = String(start);
    this.spans.push(span);
    // Never before the previous word: the binary search needs ascending times.
    this.starts.push(Math.max(start, this.starts.at(-1) ?? 0));
    this.ends.push(end);
    return span;
  }

  /**
   * Mark the word at this time.
   * @param {number} seconds @returns {HTMLElement | null} the word, if it is not the one marked before
   */
  mark(seconds) {
    let low = 0;
    let high = this.starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.starts[middle] <= seconds) low = middle + 1;
      else high = middle;
    }
    const index = low - 1;
    if (index === this.now) return null;
    this.spans[this.now]?.classList.remove("now");
    this.now = index;
    this.spans[index]?.classList.add("now");
    return this.spans[index] ?? null;
  }
}
