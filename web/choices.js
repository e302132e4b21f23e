/** The user's settings: voice, language, mode and colours. They are kept in this browser. */

import { fillLanguages, isLanguage } from "./languages.js";
import { text } from "./texts.js";

const STORE = "parley.choices";

export class Choices {
  /** @param {HTMLFormElement} form @param {(name: string) => void} changed called with the name of the changed field */
  constructor(form, changed) {
    this.form = form;
    const kept = read();
    fillLanguages(form.elements.language);
    form.elements.language.value = isLanguage(kept.language) ? kept.language : "auto";
    form.elements.push.checked = Boolean(kept.push);
    form.elements.loudspeaker.checked = Boolean(kept.loudspeaker);
    form.elements.theme.value = kept.theme ?? "";
    this.voice = String(kept.voice ?? "");
    /** Name of the wake word; "" to listen always. */
    this.wake = String(kept.wake ?? "");
    /** Wake words of the service, name → phrase. @type {Record<string, string>} */
    this.phrases = {};
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", ({ target }) => {
      if (target.name === "voice") this.voice = target.value;
      if (target.name === "wake") this.wake = target.value;
      this.keep();
      paint();
      changed(target.name);
    });
  }

  get push() {
    return this.form.elements.push.checked;
  }

  /** The fields of the protocol's `configure` message. */
  get wishes() {
    return {
      ...(this.voice && { voice: this.voice }),
      language: this.language,
      options: {
        turn_detection: !this.push,
        half_duplex: this.form.elements.loudspeaker.checked,
        wake_word: this.phrases[this.wake] ? this.wake : "",
      },
    };
  }

  /** The same settings as query parameters of a new connection. */
  get query() {
    const { options, ...others } = this.wishes;
    return Object.fromEntries(Object.entries({ ...others, ...options }).map(([name, value]) => [name, String(value)]));
  }

  get language() {
    return this.form.elements.language.value;
  }

  /** @param {{id: string, name: string, description?: string, default?: boolean}[]} voices */
  setVoices(voices) {
    const select = this.form.elements.voice;
    select.replaceChildren(
      ...voices.map(({ id, name, description }) => {
        const option = new Option(name, id);
        if (description) option.title = description;
        return option;
      }),
    );
    const known = voices.some(({ id }) => id === this.voice);
    if (!known) this.voice = "";
    select.value = known ? this.voice : (voices.find((voice) => voice.default) ?? voices[0])?.id ?? "";
  }

  /** @param {Record<string, string>} phrases wake words of the service, name → phrase */
  setWakeWords(phrases) {
    this.phrases = phrases;
    const select = this.form.elements.wake;
    const names = Object.entries(phrases).map(([name, phrase]) => new Option(phrase, name));
    select.replaceChildren(new Option(text("wakeNone"), ""), ...names);
    select.value = phrases[this.wake] ? this.wake : "";
    document.getElementById("wake-choice").hidden = !names.length;
  }

  /** @param {string[]} languages of the recogniser @param {string[]} spoken those of the voice; empty: unknown */
  setLanguages(languages, spoken) {
    fillLanguages(this.form.elements.language, languages, spoken);
  }

  /** Forget the chosen voice: the service no longer has it. */
  forgetVoice() {
    this.voice = "";
    this.keep();
  }

  keep() {
    const { push, loudspeaker, theme } = this.form.elements;
    const { voice, language, wake } = this;
    const kept = { voice, language, wake, push: push.checked, loudspeaker: loudspeaker.checked, theme: theme.value };
    localStorage.setItem(STORE, JSON.stringify(kept));
  }
}

/** Apply the colours that the user has chosen. */
export function paint() {
  document.documentElement.dataset.theme = read().theme ?? "";
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) ?? {};
  } catch {
    return {};
  }
}
