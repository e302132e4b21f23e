/** The notice that a conversation is recorded, and the button that stops recording and erases it. */

import { text } from "./texts.js";

export class KeptConversations {
  /** @param {HTMLElement} notice a paragraph and a button @param {() => string} key */
  constructor(notice, key) {
    this.notice = notice;
    this.words = notice.querySelector("p");
    this.button = notice.querySelector("button");
    this.key = key;
    this.button.addEventListener("click", () => this.erase());
  }

  /** @param {{session: string, recorded: boolean}} started the first event of a conversation */
  show({ session, recorded }) {
    if (session === this.erased) return; // the service has stopped recording it
    this.session = session;
    this.notice.hidden = !recorded;
    this.words.textContent = text("recorded");
    this.button.hidden = this.button.disabled = false;
  }

  /** @private */
  async erase() {
    this.button.disabled = true;
    const key = this.key();
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    try {
      const url = new URL(`recordings/${this.session}`, document.baseURI);
      const { status } = await fetch(url, { method: "DELETE", headers });
      if (status !== 204) throw new Error(String(status));
      this.erased = this.session;
      this.words.textContent = text("recordedErased");
      this.button.hidden = true;
    } catch {
      this.words.textContent = text("recordedFailed");
      this.button.disabled = false;
    }
  }
}
