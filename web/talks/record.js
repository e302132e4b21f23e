/** Writes the running conversation into the store: the user's words, and of each reply what was heard. */

import { INTERRUPTED } from "./exports.js";

/** The conversation of this tab, which a reloaded page resumes. */
const NOW = "parley.talk-now";

export class TalkRecord {
  /** @param {import("./store.js").TalkStore} store */
  constructor(store) {
    this.store = store;
    this.kept = store.get(sessionStorage.getItem(NOW)) ?? store.begin();
    this.reply = "";
    /** Whether the next words of the user replace the last ones. */
    this.retries = false;
  }

  /** Begin another conversation. @param {import("./store.js").Kept} [kept] continue this one */
  begin(kept = this.store.begin()) {
    this.kept = kept;
    this.reply = "";
    this.retries = false;
    sessionStorage.setItem(NOW, kept.id);
  }

  /**
   * @param {{session: string, recorded: boolean, resumed: boolean, persona: string, history: {role: string, content: string}[]}} started
   * @param {boolean} empty whether the page shows no conversation yet
   */
  started({ session, recorded, resumed, history }, empty) {
    if (!resumed && empty && this.kept.messages.length && !this.continues) this.begin();
    this.continues = false;
    sessionStorage.setItem(NOW, this.kept.id);
    if (recorded && !this.kept.recorded.includes(session)) this.kept.recorded.push(session);
    if (!resumed) return;
    if (!this.kept.messages.length) this.kept.messages = history.map(({ role, content }) => ({ role, content: plain(content) }));
    else this.settle(history);
    this.store.put(this.kept);
  }

  /** Take over what the service knows of a reply during which the connection was lost. @private */
  settle(history) {
    const last = history.at(-1);
    const own = this.kept.messages.at(-1);
    if (last?.role !== "assistant") return;
    if (own.role === "user" && history.at(-2)?.content === own.content) this.add({ role: "assistant", content: plain(last.content) });
    if (!own.rest || own.role !== "assistant") return;
    const whole = own.content + own.rest;
    const heard = plain(last.content);
    if (whole.startsWith(heard)) Object.assign(own, { content: heard, rest: whole.slice(heard.length) });
  }

  /**
   * @param {{type: string}} event from the protocol, or connection_lost
   * @param {string} heard the part of the running reply that this page has played
   */
  happened(event, heard) {
    switch (event.type) {
      case "turn_started":
        this.reply = "";
        break;
      case "transcript_final":
        if (this.retries) this.cut();
        if (event.text) this.add({ role: "user", content: event.text, ...(event.language && { language: event.language }) });
        break;
      case "reply_delta":
        this.reply += event.text;
        break;
      case "turn_completed":
        this.replied(event.reply.trim(), "");
        break;
      case "turn_interrupted":
        this.interrupted(event.heard_text);
        break;
      case "heard_corrected":
        this.corrected(event.heard_text);
        break;
      case "turn_failed":
        this.interrupted(heard);
        break;
      case "connection_lost":
        this.retries = false;
        if (this.reply) this.interrupted(heard);
        break;
    }
  }

  /** Remove the last words of the user and all after them. @private */
  cut() {
    this.retries = false;
    const at = this.kept.messages.findLastIndex(({ role }) => role === "user");
    if (at >= 0) this.kept.messages.splice(at);
  }

  /** @private */
  interrupted(heard) {
    const whole = this.reply.trimStart();
    this.replied(heard, whole.startsWith(heard) ? whole.slice(heard.length) : "");
  }

  /** @private */
  corrected(heard) {
    const last = this.kept.messages.at(-1);
    if (last?.role !== "assistant") return;
    const whole = last.content + (last.rest ?? "");
    if (!whole.startsWith(heard)) return;
    Object.assign(last, { content: heard, rest: whole.slice(heard.length) });
    this.store.put(this.kept);
  }

  /** @private */
  replied(content, rest) {
    this.reply = "";
    if (content || rest) this.add({ role: "assistant", content, ...(rest.trim() && { rest }) });
  }

  /** @private */
  add(said) {
    this.kept.messages.push(said);
    this.kept.changed = Date.now();
    this.store.put(this.kept);
  }
}

/** @param {string} content of a message in the service's history */
const plain = (content) => (content.endsWith(INTERRUPTED) ? content.slice(0, -INTERRUPTED.length) : content);
