/** The written conversation: user turns, replies, and how much of each reply was heard. */

import { text } from "./texts.js";
import { waterfall } from "./waterfall.js";
import { SpokenWords } from "./words.js";

/** The view follows while the reader is within this distance (px) of the last automatic position, or of the end. */
const NEAR = 80;
/** Unheard text higher than this (px) is folded to two lines, so that the heard text stays in view. */
const FOLDED = 64;
/** In a reply longer than the view, the spoken word stays at this share of the view's height. */
const SPOKEN_AT = 0.6;
/** Space (px) above the end of the heard part, where that is at the top of the view. */
const SPACE = 8;

export class Transcript {
  /** @param {HTMLElement} list @param {HTMLElement} scroll its scroll container @param {HTMLElement} welcome */
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

  /** @param {{role: string, content: string}[]} history from the service, after a reload */
  restore(history) {
    for (const { role, content } of history) {
      if (role === "user") this.add("you", content);
      else if (role === "assistant") this.add("reply", content);
    }
  }

  /** Show the partial transcript; `said()` replaces it. */
  partly(content) {
    this.hearing ??= this.add("you partial", "");
    this.put(this.hearing, content || "…");
  }

  /** @param {string} content @param {string | null} language ISO 639-1, for screen readers */
  said(content, language) {
    this.hearing ??= this.add("you", "");
    this.language = language ?? "";
    this.hearing.querySelector("p").lang = this.language;
    this.hearing.classList.remove("partial");
    this.put(this.hearing, content || text("nothingSaid"));
    this.hearing = null;
  }

  /** Remove the partial transcript: the utterance was ignored. */
  unsaid() {
    this.hearing?.remove();
    this.hearing = null;
    this.welcome.hidden = this.list.childElementCount > 0;
  }

  /** Begin a turn: the text that follows is its reply. */
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

  /** @param {number} samples of the reply played so far */
  played(samples) {
    if (!this.reply || this.reply.over) return;
    const before = this.reply.words.spoken;
    if (this.reply.words.heardAt(samples) !== before) this.show(this.reply.words.spoken);
  }

  /** End the reply: all of it was played. */
  completed(timings) {
    this.end(this.reply?.words.points.length ?? 0, timings);
  }

  /** End the reply: only `heard` was heard. */
  interrupted(heard, timings) {
    const place = this.reply?.words.endOf(heard) ?? 0;
    const cut = this.reply && place < this.reply.words.points.length;
    this.end(place, timings, cut ? "interrupted" : "");
  }

  /** End the reply: the turn failed. The sound received so far is still played. @param {string} message in the page's language */
  failed(message, timings) {
    this.end(this.reply?.words.points.length ?? 0, timings);
    const words = text("trouble_turn", { message });
    if (this.reply) this.reply.entry.append(part("div", "failure", words));
    else this.add("note failure", words);
    this.follow();
  }

  /** Note under the reply that a language model would help. @param {() => void} opened how to get one is wanted */
  suggest(opened) {
    const line = part("div", "suggestion", `${text("modelHelps")} `);
    const button = part("button", "", text("howToUpgrade"));
    button.type = "button";
    button.addEventListener("click", opened);
    line.append(button);
    this.reply?.entry.append(line);
    this.follow();
  }

  /** Correct the heard text of an interrupted reply to the service's history. */
  corrected(heard) {
    const reply = this.reply;
    if (!reply?.over || !reply.entry.classList.contains("interrupted")) return;
    const place = reply.words.endOf(heard);
    this.show(place, place < reply.words.points.length ? "interrupted" : "");
  }

  /** End the reply: the connection was lost. */
  broken() {
    this.unsaid();
    if (this.reply && !this.reply.over) this.end(this.reply.words.spoken, {}, "broken");
  }

  get empty() {
    return this.list.childElementCount === 0;
  }

  /** Note that the service has forgotten the conversation shown here. */
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

  /** @private Whether the reader has not scrolled away. */
  following() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroll;
    return Math.abs(scrollTop - this.placed) < NEAR || scrollHeight - scrollTop - clientHeight < NEAR;
  }

  /** @private Scroll to the end, but not past the spoken word, nor past the end of an interrupted reply's heard part. */
  follow() {
    const { scrollHeight, clientHeight } = this.scroll;
    const { entry, over } = this.reply ?? {};
    let place = scrollHeight - clientHeight;
    if (over === false) place = Math.min(place, this.lineOf(".coming", 0) - SPOKEN_AT * clientHeight);
    else if (entry?.matches(".interrupted:last-child")) place = Math.min(place, this.lineOf(".heard", -1) - SPACE);
    this.scroll.scrollTop = place;
    this.placed = this.scroll.scrollTop;
  }

  /** @private @returns {number} distance of a line of the reply's part from the top of the transcript; Infinity: no line */
  lineOf(part, number) {
    const line = [...(this.reply.entry.querySelector(part)?.getClientRects() ?? [])].at(number);
    return line ? line.top - this.scroll.getBoundingClientRect().top + this.scroll.scrollTop : Infinity;
  }
}

/** Fold long unheard text to two lines, with a button that unfolds it. */
function fold(unheard) {
  if (unheard.getBoundingClientRect().height <= FOLDED) return;
  const button = part("button", "unfold", "…");
  button.type = "button";
  button.ariaLabel = text("wholeRest");
  button.addEventListener("click", () => {
    unheard.classList.remove("folded");
    unheard.tabIndex = -1;
    unheard.focus(); // the button is about to be removed
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
