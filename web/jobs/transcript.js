/** The transcript of a job: paragraphs, their speakers, and each word with its time. */

import { text } from "../texts.js";
import { clock } from "./formats.js";
import { element } from "./row.js";

/** A pause this long, in seconds, begins a new paragraph. */
const PAUSE_S = 1.5;
/** A paragraph of one speaker ends at the first sentence end after this many characters. */
const LONG = 500;
const COLORS = 8;

/** Group segments into paragraphs: one speaker, without a pause, and not begun by hand. */
export function paragraphs(segments) {
  const found = [];
  let last = null;
  let length = 0;
  for (const segment of segments) {
    const before = last?.at(-1);
    const goesOn =
      before &&
      before.speaker === segment.speaker &&
      !segment.paragraph &&
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

/**
 * @typedef {object} Paragraph
 * @property {object[]} segments
 * @property {number} first index of its first segment
 * @property {string | null} who the speaker shown above it
 * @property {HTMLElement} element
 * @property {{span: HTMLElement, start: number, end: number}[]} words
 */

export class TranscriptView {
  /**
   * @param {HTMLElement} box @param {(seconds: number) => void} play
   * @param {() => HTMLElement[]} tools returns the buttons of a paragraph
   */
  constructor(box, play, tools = () => []) {
    this.box = box;
    this.tools = tools;
    /** @type {Paragraph[]} */
    this.shown = [];
    this.speakers = [];
    this.clear();
    box.addEventListener("click", ({ target }) => {
      const word = target.closest("[data-at]");
      if (word?.closest("[contenteditable]")) return; // a click in a text that is edited moves the cursor
      if (word && (word.matches("button") || getSelection().isCollapsed)) play(Number(word.dataset.at));
    });
  }

  /** @param {{segments: object[], language: string | null}} result @param {(speaker: string) => string} nameOf */
  show(result, nameOf) {
    this.box.lang = result.language ?? "";
    this.shown = [];
    this.box.replaceChildren();
    this.update(result.segments, nameOf);
  }

  /** Show changed segments. Paragraphs of the same segment objects as before keep their elements. */
  update(segments, nameOf) {
    const speakers = [...new Set(segments.map(({ speaker }) => speaker).filter(Boolean))];
    const before = new Map(this.shown.map((one) => [one.segments[0], one]));
    if (speakers.join("\n") !== this.speakers.join("\n")) before.clear(); // the colours change
    this.speakers = speakers;
    let first = 0;
    let speaker = null;
    this.shown = paragraphs(segments).map((group) => {
      const who = group[0].speaker === speaker ? null : (group[0].speaker ?? null);
      speaker = group[0].speaker ?? null;
      const known = before.get(group[0]);
      const same = known?.who === who && known.segments.length === group.length && group.every((one, n) => one === known.segments[n]);
      const shown = same ? { ...known, first } : this.paragraph(group, first, who, nameOf);
      first += group.length;
      return shown;
    });
    const kept = new Set(this.shown.map(({ element: one }) => one));
    for (const old of [...this.box.children]) if (!kept.has(old)) old.remove();
    let place = this.box.firstElementChild;
    for (const { element: one } of this.shown) {
      if (one === place) place = place.nextElementSibling;
      else this.box.insertBefore(one, place);
    }
    this.number();
    for (const one of speakers) this.rename(one, nameOf(one));
  }

  /** The paragraph of an element inside it. @returns {Paragraph | undefined} */
  paragraphOf(inside) {
    const element = inside.closest(".paragraph");
    return this.shown.find((one) => one.element === element);
  }

  /** Build a paragraph's element again, for example after its text was edited and not saved. */
  restore(paragraph, nameOf) {
    const at = this.shown.indexOf(paragraph);
    if (at < 0) return;
    this.shown[at] = this.paragraph(paragraph.segments, paragraph.first, paragraph.who, nameOf);
    paragraph.element.replaceWith(this.shown[at].element);
    this.number();
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
  clear() {
    /** Spans of words in order, with their start and end times in seconds. @type {HTMLElement[]} */
    this.spans = [];
    this.starts = [];
    this.ends = [];
    this.now = -1;
  }

  /** Collect the words of all paragraphs. @private */
  number() {
    this.spans[this.now]?.classList.remove("now");
    this.clear();
    let latest = 0;
    for (const { words } of this.shown) {
      for (const { span, start, end } of words) {
        // Never before the previous word: the binary search needs ascending times.
        latest = Math.max(start, latest);
        this.spans.push(span);
        this.starts.push(latest);
        this.ends.push(end);
      }
    }
  }

  /** @private */
  paragraph(segments, first, who, nameOf) {
    const made = element("div", "paragraph");
    const start = segments[0].start;
    const margin = element("div", "margin");
    const time = element("button", "time", clock(start));
    time.type = "button";
    time.dataset.at = String(start);
    time.setAttribute("aria-label", text("playFrom", { time: clock(start) }));
    margin.append(time, ...this.tools());
    const words = element("p");
    if (segments[0].speaker) made.dataset.color = String(this.color(segments[0].speaker));
    if (who) {
      const name = element("span", "who", nameOf(who));
      name.dataset.speaker = who;
      made.append(name);
    }
    const shown = { segments, first, who, element: made, words: [] };
    let before = "";
    for (const segment of segments) {
      if (before) words.append(between(before, segment.text));
      const box = element("span", "segment");
      for (const part of parts(segment)) box.append(part.start === undefined ? part.text : this.word(part, shown));
      words.append(box);
      before = segment.text;
    }
    made.append(margin, words);
    return shown;
  }

  /** @private */
  word({ text: written, start, end }, { words }) {
    const span = element("span", "word", written);
    span.dataset.at = String(start);
    words.push({ span, start, end });
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
