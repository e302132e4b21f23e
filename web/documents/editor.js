/**
 * Edits one paragraph in place: its segments become text fields, and a bar below them splits, joins and changes the
 * speaker. It is saved when the focus leaves it, and opened again with the same words if that fails.
 *
 * Enter splits at the cursor, Backspace at the start joins with the text before, Escape discards the changes.
 */

import { element } from "../jobs/row.js";
import { text } from "../texts.js";

/** The service writes a text as one line. */
const clean = (words) => words.split(/\s+/).filter(Boolean).join(" ");

export class ParagraphEditor {
  /**
   * @param {import("../jobs/transcript.js").TranscriptView} view
   * @param {import("./document.js").TranscriptDocument} document
   * @param {object} told callbacks
   * @param {(speaker: string) => string} told.nameOf
   * @param {() => void} told.playing play, or pause
   * @param {() => void} told.quiet pause
   */
  constructor(view, document, told) {
    this.view = view;
    this.document = document;
    this.told = told;
    /** @type {import("../jobs/transcript.js").Paragraph | null} */
    this.paragraph = null;
    /** Words that could not be saved. */
    this.unsaved = [];
    this.saving = 0;
    window.addEventListener("beforeunload", (event) => {
      if (this.saving || this.unsaved.length || (this.paragraph && differs(this.paragraph, this.written()))) event.preventDefault();
    });
    view.box.addEventListener("dblclick", ({ target }) => {
      const segment = target.closest(".segment");
      if (!segment || segment.isContentEditable) return;
      told.quiet(); // the first click began to play
      this.open(segment);
    });
    view.box.addEventListener("keydown", (event) => this.key(event));
    view.box.addEventListener("focusout", ({ relatedTarget }) => {
      if (this.paragraph && relatedTarget && !this.paragraph.element.contains(relatedTarget)) this.save();
    });
    view.box.ownerDocument.addEventListener("pointerdown", ({ target }) => {
      if (this.paragraph && !this.paragraph.element.contains(target)) this.save();
    });
  }

  /** @param {HTMLElement} inside an element of the paragraph; its segment gets the cursor */
  open(inside) {
    if (this.paragraph) this.save();
    const paragraph = this.view.paragraphOf(inside);
    if (!paragraph) return;
    const spans = [...paragraph.element.querySelectorAll(".segment")];
    const wanted = spans.find((span) => span.contains(inside)) ?? spans[0];
    const [start, end] = selected(wanted);
    this.paragraph = paragraph;
    this.id = this.document.id;
    this.spans = spans;
    spans.forEach((span, index) => {
      span.textContent = paragraph.segments[index].text;
      span.contentEditable = "plaintext-only";
      span.role = "textbox";
      span.setAttribute("aria-label", text("editLabel", { number: index + 1, count: spans.length }));
    });
    paragraph.element.classList.add("editing");
    paragraph.element.append(this.bar());
    wanted.focus();
    if (wanted.firstChild) getSelection().setBaseAndExtent(wanted.firstChild, start, wanted.firstChild, end);
  }

  /** The transcript was shown again: go on in the new paragraph if the old one is no longer there. */
  check() {
    if (this.paragraph && !this.paragraph.element.isConnected) {
      const written = this.written();
      this.keep(this.id, this.close(), written);
    }
    this.reopen();
  }

  /** @private */
  written() {
    return this.spans.map((span) => clean(span.textContent));
  }

  /** Keep words that were not saved. @private */
  keep(id, paragraph, written) {
    if (differs(paragraph, written)) this.unsaved.push({ id, paragraph, written });
  }

  /** Edit a paragraph again whose words were not saved. @private */
  reopen() {
    if (this.paragraph) return;
    const at = this.unsaved.findIndex(({ id }) => id === this.document.id);
    if (at < 0) return;
    const { paragraph, written } = this.unsaved[at];
    const index = this.document.segments.indexOf(paragraph.segments[0]);
    const first = index < 0 ? paragraph.first : index;
    const shown = this.view.shown.findLast((one) => one.first <= first);
    if (!shown) return;
    this.unsaved.splice(at, 1);
    this.open(shown.element);
    const words = written.length === this.spans.length ? written : [written.join(" ")];
    this.spans.forEach((span, n) => (span.textContent = words[n] ?? ""));
  }

  /** Show the paragraph as it was. */
  discard() {
    const { element: old, first } = this.close();
    const shown = this.view.shown.find(({ element: one }) => one === old);
    if (shown) this.view.restore(shown, this.told.nameOf);
    this.focus(first);
    this.reopen();
  }

  /**
   * Save the text, and then do more.
   * @param {(index: number, first: number, last: number) => object[]} more returns further operations. index: of the
   *   segment with the cursor; first, last: of the paragraph; all after the changes of the text
   */
  async save(more = () => []) {
    if (!this.paragraph) return;
    const at = this.at();
    const written = this.written();
    const focused = this.paragraph.element.contains(document.activeElement);
    const { id } = this;
    const paragraph = this.close();
    this.saving += 1;
    const saved = await this.document.edit((segments) => {
      const first = segments.indexOf(paragraph.segments[0]);
      if (first < 0 || paragraph.segments.some((one, n) => segments[first + n] !== one)) return null; // changed before
      const operations = [];
      // From the last to the first: an empty text removes its segment.
      for (let n = written.length - 1; n >= 0; n--) {
        if (written[n] !== clean(paragraph.segments[n].text)) operations.push({ op: "text", segment: first + n, text: written[n] });
      }
      const gone = written.slice(0, at).filter((words) => !words).length;
      const left = written.filter(Boolean).length;
      return [...operations, ...(left ? more(first + at - gone, first, first + left - 1) : [])];
    });
    this.saving -= 1;
    const shown = this.view.shown.find(({ element: one }) => one === paragraph.element);
    if (shown) this.view.restore(shown, this.told.nameOf); // unchanged, or not saved
    if (focused) this.focus(paragraph.first);
    if (!saved) this.keep(id, paragraph, written);
    this.reopen();
  }

  /** Put the focus on the paragraph that begins with this segment, or contains it. @private */
  focus(first) {
    const shown = this.view.shown.findLast((one) => one.first <= first);
    shown?.element.querySelector(".edit").focus({ preventScroll: true });
  }

  /** @private */
  close() {
    const { paragraph } = this;
    this.paragraph = null;
    for (const span of this.spans ?? []) span.removeAttribute("contenteditable");
    paragraph?.element.classList.remove("editing");
    paragraph?.element.querySelector(".edit-bar")?.remove();
    return paragraph;
  }

  /** Index of the field with the cursor. @private */
  at() {
    return Math.max(0, this.spans.findIndex((span) => span.contains(getSelection().anchorNode)));
  }

  /** @private */
  atStart() {
    const [start, end] = selected(this.spans[this.at()]);
    return start === 0 && end === 0;
  }

  /** Split at the cursor: the rest begins a paragraph. @private */
  split() {
    const at = this.at();
    const written = this.spans[at].textContent;
    const [start] = selected(this.spans[at]);
    const before = clean(written.slice(0, start));
    const after = clean(written.slice(start));
    if (before && after) {
      const whole = clean(written);
      const left = whole.slice(0, whole.length - after.length);
      return this.save((index) => [{ op: "split", segment: index, at: [...left].length }]); // in characters
    }
    const begins = before ? at + 1 : at; // between two segments
    if (begins === 0 || begins === this.spans.length) return this.save();
    return this.save((index) => [{ op: "paragraph", segment: index + begins - at, begins: true }]);
  }

  /** Join with the segment before. @private */
  join() {
    return this.save((index) => (index > 0 ? [{ op: "merge", segment: index - 1 }] : []));
  }

  /** @private */
  assign(speaker) {
    return this.save((index, first, last) => [{ op: "speaker", first, last, speaker }]);
  }

  /** @private */
  key(event) {
    if (!this.paragraph || !event.target.isContentEditable || event.isComposing) return;
    const command = event.ctrlKey || event.metaKey;
    let act = null;
    if (event.key === "Escape") act = () => this.discard();
    else if (event.key === "Enter") act = () => (command ? this.save() : this.split());
    else if (event.key === "Backspace" && this.atStart()) act = () => this.join();
    else if (event.code === "Space" && event.ctrlKey) act = () => this.told.playing();
    if (!act) return;
    event.preventDefault();
    event.stopPropagation(); // Escape also ends a spoken reply
    act();
  }

  /** @private */
  bar() {
    const bar = element("div", "edit-bar");
    const button = (name, act) => {
      const made = element("button", "plain", text(name));
      made.type = "button";
      made.addEventListener("pointerdown", (event) => event.preventDefault()); // the cursor stays in the text
      made.addEventListener("click", act);
      return made;
    };
    const { speaker } = this.paragraph.segments[0];
    const select = element("select");
    select.setAttribute("aria-label", text("speakerOf"));
    const { speakers } = this.document;
    const options = speakers.map((one) => new Option(this.told.nameOf(one), one));
    const unknown = speaker ? [] : [new Option(text("speakerNone"), "")];
    select.replaceChildren(...unknown, ...options, new Option(text("speakerNew"), newLabel(speakers)));
    select.value = speaker ?? "";
    const assign = button("speakerSet", () => this.assign(select.value));
    const enable = () => (assign.disabled = select.value === (speaker ?? ""));
    select.addEventListener("change", enable);
    enable();
    bar.append(
      button("editSave", () => this.save()),
      button("editCancel", () => this.discard()),
      button("editSplit", () => this.split()),
      button("editJoin", () => this.join()),
      select,
      assign,
    );
    return bar;
  }
}

/** Whether the text of a paragraph was changed. */
const differs = ({ segments }, written) => written.some((words, n) => words !== clean(segments[n].text));

/** Start and end of the selection in a field; the end of the text if it is elsewhere. @returns {[number, number]} */
function selected(span) {
  const selection = getSelection();
  const length = span.textContent.length;
  if (!selection.rangeCount || !span.contains(selection.anchorNode) || !span.contains(selection.focusNode)) return [length, length];
  const range = selection.getRangeAt(0);
  const before = new Range();
  before.setStart(span, 0);
  before.setEnd(range.startContainer, range.startOffset);
  const start = before.toString().length;
  return [start, start + range.toString().length];
}

/** The first letter that is not yet a label of a speaker. */
function newLabel(speakers) {
  for (let code = 65; code < 91; code++) if (!speakers.includes(String.fromCharCode(code))) return String.fromCharCode(code);
  return `${speakers.length + 1}`;
}
