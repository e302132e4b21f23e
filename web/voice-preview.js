/** The button that plays a sentence in the chosen voice. */

import { follow } from "./devices.js";
import { errorOf } from "./jobs/service.js";
import { withKey } from "./key.js";
import { explained, explains, language, text } from "./texts.js";

const ENGLISH = "Good morning. This is how I sound.";

export class VoicePreview {
  /** @param {HTMLButtonElement} button @param {HTMLElement} trouble @param {HTMLSelectElement} voice @param {() => string} key */
  constructor(button, trouble, voice, key) {
    [this.button, this.trouble, this.voice, this.key] = [button, trouble, voice, key];
    /** Languages of the speech engine; empty: unknown. @type {string[]} */
    this.languages = [];
    /** The request whose sound the player holds, because the browser did not play it without another press. */
    this.held = "";
    this.player = new Audio();
    follow(this.player);
    for (const end of ["ended", "pause", "error"]) this.player.addEventListener(end, () => this.show(false));
    button.addEventListener("click", () => (this.asking || !this.player.paused ? this.stop() : this.play()));
    voice.addEventListener("change", () => this.stop());
    document.getElementById("settings").addEventListener("toggle", () => this.stop());
  }

  /** @private */
  stop() {
    this.asking?.abort();
    this.asking = null;
    this.player.pause();
    this.show(false);
  }

  /** @private */
  async play() {
    this.trouble.textContent = "";
    const asking = (this.asking = new AbortController());
    this.show(true);
    const own = !this.languages.length || this.languages.includes(language);
    const input = own ? text("voiceSentence") : ENGLISH;
    const body = JSON.stringify({ input, voice: this.voice.value, language: own ? language : "en" });
    try {
      if (this.held !== body) await this.load(body, asking);
      if (asking !== this.asking) return;
      this.held = body;
      await this.player.play();
      this.held = "";
    } catch (error) {
      if (asking !== this.asking) return;
      const waits = error.name === "NotAllowedError"; // it took too long after the press
      if (!waits) this.held = "";
      const known = ["key", "key_needed"].includes(error.code) ? text(`trouble_${error.code}`) : "";
      this.trouble.textContent = known || (explains(error.code) ? explained(error.code, error.message) : text(waits ? "voiceReady" : "voiceFailed"));
      this.show(false);
    }
    if (asking === this.asking) this.asking = null;
  }

  /** @private @param {string} body of the request @param {AbortController} asking */
  async load(body, asking) {
    const headers = { ...withKey(this.key()), "Content-Type": "application/json" };
    const url = new URL("v1/audio/speech", document.baseURI);
    const answer = await fetch(url, { method: "POST", headers, body, signal: asking.signal });
    if (!answer.ok) throw errorOf(answer.status, await answer.text(), this.key());
    const sound = await answer.blob();
    if (asking !== this.asking) return;
    URL.revokeObjectURL(this.player.src);
    this.player.src = URL.createObjectURL(sound);
  }

  /** @private */
  show(playing) {
    this.button.textContent = text(playing ? "press_stop" : "voicePlay");
  }
}
