/** The conversation as it is read: what you said, what was answered, and how much of it was heard. */

import { text } from "./texts.js";
import { waterfall } from "./waterfall.js";
import { SpokenWords } from "./words.js";

/** Nearer than this (in px) to where the page has scrolled, or to the end, the reader follows along. */
const NEAR = 80;
/** What was not heard is folded to two lines, if it has more: what was heard stays in view. In px. */
const FOLDED = 64;
/** Of a reply longer than the view, the word that is spoken stays at this share of its height. */
const SPOKEN_AT = 0.6;

export class Transcript {
  /** @param {HTMLElement} list @param {HTMLElement} scroll what it scrolls in @param {HTMLElement} welcome */
  constructor(list, scroll, welcome) {
    this.list = list;
    this.scroll = scroll;
    this.welcome = welcome;
    this.clear();
  }

  clear() {
    this.list.replaceChildren();
    this.welcome.hidden = false;
    this.hearing = this.reply = null;
    this.language = "";
    this.placed = 0;
  }

  /** @param {{role: string, content: string}[]} history as the service tells it, after a reload */
  restore(history) {
    for (const { role, content } of history) {
      if (role === "user") this.add("you", content);
      else if (role === "assistant") this.add("reply", content);
    }
  }

  /** What is understood so far; it is made firm by `said()`. */
  partly(content) {
    this.hearing ??= this.add("you partial", "");
    this.put(this.hearing, content || "…");
  }

  /** @param {string} content @param {string | null} language ISO 639-1; a screen reader pronounces it so */
  said(content, language) {
    this.hearing ??= this.add("you", "");
    this.language = language ?? "";
    this.hearing.querySelector("p").lang = this.language;
    this.hearing.classList.remove("partial");
    this.put(this.hearing, content || text("nothingSaid"));
    this.hearing = null;
  }

  /** There was nothing to answer. */
  unsaid() {
    this.hearing?.remove();
    this.hearing = null;
    this.welcome.hidden = this.list.childElementCount > 0;
  }

  /** A turn begins: what is written from now on is its reply. */
  begin() {
    this.reply = null;
  }

  write(content) {
    if (!this.reply) {
      const entry = this.add("reply speaking", "");
      entry.querySelector("p").lang = this.language;
      this.reply = { entry, words: new SpokenWords(), over: false };
    }
    this.reply.words.write(content);
    this.show(this.reply.words.spoken);
  }

  speaks(rate) {
    if (this.reply) this.reply.words.rate = rate;
  }

  span(start, end) {
    this.reply?.words.span(start, end);
  }

  receives(samples) {
    this.reply?.words.receive(samples);
  }

  /** @param {number} samples of the reply that were played */
  played(samples) {
    if (!this.reply || this.reply.over) return;
    const before = this.reply.words.spoken;
    if (this.reply.words.heardAt(samples) !== before) this.show(this.reply.words.spoken);
  }

  /** All of it was given. */
  completed(timings) {
    this.end(this.reply?.words.points.length ?? 0, timings);
  }

  /** Only this was heard. */
  interrupted(heard, timings) {
    const place = this.reply?.words.endOf(heard) ?? 0;
    const cut = this.reply && place < this.reply.words.points.length;
    this.end(place, timings, cut ? "interrupted" : "");
  }

  /** Not quite: this was, by what was played here; the service's history holds it now. */
  corrected(heard) {
    const reply = this.reply;
    if (!reply?.over || !reply.entry.classList.contains("interrupted")) return;
    const place = reply.words.endOf(heard);
    this.show(place, place < reply.words.points.length ? "interrupted" : "");
  }

  /** The connection went away in the middle of it. */
  broken() {
    this.unsaid();
    if (this.reply && !this.reply.over) this.end(this.reply.words.spoken, {}, "broken");
  }

  get empty() {
    return this.list.childElementCount === 0;
  }

  /** The service begins anew; what is written here is only ours. */
  forgotten() {
    this.add("note", text("forgotten"));
  }

  /** @private */
  end(place, timings, how = "") {
    const reply = this.reply;
    if (!reply || reply.over) return;
    reply.over = true;
    const entry = reply.entry;
    entry.classList.remove("speaking");
    if (how) entry.classList.add("interrupted");
    this.show(place, how);
    const bars = waterfall(timings);
    if (bars) entry.append(bars);
    this.follow();
  }

  /** @private */
  show(place, how = "") {
    const { entry, words } = this.reply;
    const following = this.following();
    const [heard, rest] = words.split(place);
    const parts = [part("span", "heard", heard)];
    if (how && rest) {
      const mark = part("span", "mark", `${text(how === "broken" ? "cutOff" : "interrupted")} `);
      parts.push(" ", mark, part("s", "unheard", rest.trimStart()));
    } else parts.push(part("span", "coming", rest));
    entry.querySelector("p").replaceChildren(...parts);
    const unheard = entry.querySelector(".unheard");
    if (unheard) fold(unheard);
    if (following) this.follow();
  }

  /** @private */
  add(kind, content) {
    const following = this.following();
    const entry = document.createElement("li");
    entry.className = kind;
    const speaker = { you: "you", reply: "assistant" }[kind.split(" ")[0]];
    if (speaker) entry.append(part("span", "speaker", text(speaker)));
    entry.append(part("p", "", content));
    this.list.append(entry);
    this.welcome.hidden = true;
    if (following) this.follow();
    return entry;
  }

  /** @private */
  put(entry, content) {
    const following = this.following();
    entry.querySelector("p").textContent = content;
    if (following) this.follow();
  }

  /** @private Whether the reader has not scrolled away, to read something again. */
  following() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroll;
    return Math.abs(scrollTop - this.placed) < NEAR || scrollHeight - scrollTop - clientHeight < NEAR;
  }

  /** @private To the end; or, in a long reply, to the word that is spoken. */
  follow() {
    const { scrollHeight, clientHeight } = this.scroll;
    let place = scrollHeight - clientHeight;
    const coming = this.reply?.over === false && this.reply.entry.querySelector(".coming")?.getClientRects()[0];
    if (coming) {
      const spoken = coming.top - this.scroll.getBoundingClientRect().top + this.scroll.scrollTop;
      place = Math.min(place, spoken - SPOKEN_AT * clientHeight);
    }
    this.scroll.scrollTop = place;
    this.placed = this.scroll.scrollTop;
  }
}

/** A long rest becomes two lines, with a button that shows it whole. */
function fold(unheard) {
  if (unheard.getBoundingClientRect().height <= FOLDED) return;
  const button = part("button", "unfold", "…");
  button.type = "button";
  button.ariaLabel = text("wholeRest");
  button.addEventListener("click", () => {
    unheard.classList.remove("folded");
    unheard.tabIndex = -1;
    unheard.focus(); // the button is about to go
    button.remove();
  });
  unheard.classList.add("folded");
  unheard.after(button);
}

function part(tag, name, content) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.textContent = content;
  return made;
}
