/** What can be done with the turns shown: hear a reply again; of the last turn, retry it, or edit the question. */

import { text } from "../texts.js";
import { part } from "./history.js";

export class TurnTools {
  /**
   * @param {HTMLElement} list of the turns @param {import("./replay.js").Replay} replay
   * @param {(words?: string) => void} retry asks for another reply, to other words if they are given
   * @param {(words: string) => void} unsent takes words that were being edited when a turn began
   */
  constructor(list, replay, retry, unsent) {
    this.list = list;
    this.replay = replay;
    this.retry = retry;
    this.unsent = unsent;
    /** Ends the editing of the question. */
    this.close = () => {};
  }

  /** Remove the tools: a turn is running. */
  hide() {
    this.replay.stop();
    this.close();
    for (const tools of this.list.querySelectorAll(".turn-tools")) tools.remove();
  }

  /** Offer the tools. @param {boolean} connected whether a retry can be sent */
  show(connected) {
    this.hide();
    const replies = [...this.list.querySelectorAll(":scope > .reply:not(.speaking)")];
    for (const reply of replies) {
      const words = reply.querySelector("p");
      this.row(reply).append(this.replay.offer(wordsOf(words), words.lang));
    }
    const asked = [...this.list.querySelectorAll(":scope > .you:not(.partial)")].at(-1);
    if (!asked || !connected) return;
    const again = this.button("retryTurn", () => this.retry());
    const last = replies.at(-1);
    const after = last && asked.compareDocumentPosition(last) & Node.DOCUMENT_POSITION_FOLLOWING;
    if (after) last.querySelector(".turn-tools").append(again);
    this.row(asked).append(this.button("editQuestion", () => this.edit(asked)), ...(after ? [] : [again]));
  }

  /** Remove the last question and all after it: the retried turn follows. */
  cut() {
    const asked = [...this.list.querySelectorAll(":scope > .you:not(.partial)")].at(-1);
    while (asked?.nextElementSibling) asked.nextElementSibling.remove();
    asked?.remove();
  }

  /** @private */
  edit(asked) {
    this.hide();
    const words = asked.querySelector("p");
    const form = part("form", "typing turn-edit", "");
    const input = document.createElement("input");
    input.maxLength = 8000;
    input.value = words.textContent;
    input.ariaLabel = text("editQuestion");
    const send = part("button", "", text("send"));
    const cancel = this.button("editCancel", () => done());
    this.close = () => {
      this.close = () => {};
      const typed = input.value.trim();
      if (typed !== words.textContent.trim()) this.unsent(typed);
      form.remove();
      words.hidden = false;
    };
    const done = () => {
      input.value = words.textContent;
      this.show(true);
    };
    form.append(input, send, cancel);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const asks = input.value.trim();
      done();
      if (asks) this.retry(asks);
    });
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      done();
    });
    words.hidden = true;
    words.after(form);
    input.focus();
  }

  /** @private */
  row(entry) {
    const tools = part("div", "turn-tools", "");
    entry.append(tools);
    return tools;
  }

  /** @private */
  button(name, act) {
    const button = part("button", "", text(name));
    button.type = "button";
    button.addEventListener("click", act);
    return button;
  }
}

/** @param {HTMLElement} words of a reply @returns {string} without the marks between them */
function wordsOf(words) {
  const parts = [...words.querySelectorAll(".heard, .coming, .unheard")].map(({ textContent }) => textContent);
  return (parts.join(" ") || words.textContent).trim();
}
