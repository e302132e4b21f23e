/** Speaks an earlier reply again: the service's voice reads its text. One at a time. */

import { follow } from "../devices.js";
import { withKey } from "../key.js";
import { text } from "../texts.js";

/** Longest text that the service reads at once. */
const MOST_CHARS = 4096;

export class Replay {
  /** @param {() => {key: string, voice: string}} choices @param {() => void} failed */
  constructor(choices, failed) {
    this.choices = choices;
    this.failed = failed;
    /** @type {HTMLButtonElement | null} */
    this.button = null;
    this.player = new Audio();
    follow(this.player);
    this.player.addEventListener("ended", () => this.stop());
    this.player.addEventListener("error", () => {
      if (this.player.getAttribute("src")) this.fail();
    });
  }

  /** @param {string} words @param {string} language ISO 639-1, or "" @returns {HTMLButtonElement} starts and stops */
  offer(words, language = "") {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "hear-again";
    button.textContent = text("hearAgain");
    button.addEventListener("click", () => {
      if (this.button === button) this.stop();
      else this.start(button, words, language);
    });
    return button;
  }

  /** @private */
  async start(button, words, language) {
    this.stop();
    this.button = button;
    button.textContent = text("press_stop");
    const { key, voice } = this.choices();
    const body = { input: words.slice(0, MOST_CHARS), response_format: "mp3", ...(voice && { voice }), ...(language && { language }) };
    this.request = new AbortController();
    try {
      const answer = await fetch(new URL("v1/audio/speech", document.baseURI), {
        method: "POST",
        headers: { "Content-Type": "application/json", ...withKey(key) },
        body: JSON.stringify(body),
        signal: this.request.signal,
      });
      if (!answer.ok) throw new Error(String(answer.status));
      const sound = await answer.blob();
      if (this.button !== button) return; // stopped meanwhile
      this.player.src = URL.createObjectURL(sound);
      await this.player.play();
    } catch {
      if (this.button === button) this.fail();
    }
  }

  /** @private */
  fail() {
    this.stop();
    this.failed();
  }

  stop() {
    this.request?.abort();
    this.player.pause();
    if (this.player.getAttribute("src")) {
      URL.revokeObjectURL(this.player.src);
      this.player.removeAttribute("src");
    }
    if (this.button) this.button.textContent = text("hearAgain");
    this.button = null;
  }
}
