/** The view of Talk: button, level, state, errors and transcript. */

import { Transcript } from "./transcript.js";
import { ErrorNotice } from "./error-notice.js";
import { shareOf } from "./level.js";
import { capitalised, languageName, notUnderstood } from "./languages.js";
import { markLive } from "./tabs.js";
import { text } from "./texts.js";

/** At most this many languages are named. */
const NAMED = 3;
const find = (id) => document.getElementById(id);

export class TalkView {
  constructor() {
    this.section = find("talk");
    this.press = find("press");
    this.meter = find("level");
    this.halo = this.section.querySelector(".halo");
    this.transcript = new Transcript(find("turns"), find("scroll"), find("welcome"));
    this.trouble = new ErrorNotice(find("trouble"), find("trouble-words"), find("trouble-action"));
    this.shown = "";
  }

  onType(typed) {
    find("typing").addEventListener("submit", (event) => {
      event.preventDefault();
      const words = find("words").value.trim();
      if (words) typed(words);
      find("words").value = "";
    });
    find("words").disabled = false; // until now the browser would send the form itself, and lose the words
  }

  /** Show words that could not be sent in the field for typing. @param {string} words */
  keepUnsent(words) {
    find("words").value ||= words;
  }

  onNew(pressed) {
    find("new").addEventListener("click", () => {
      this.closeSettings();
      pressed();
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (!find("settings").contains(target)) find("settings").open = false;
    });
  }

  /** @param {() => void} quiet stops the reply @param {() => void} deaf switches the microphone off */
  onStop(quiet, deaf) {
    find("hush").addEventListener("click", quiet);
    find("live").addEventListener("click", deaf);
  }

  /** @returns {boolean} whether the settings were open */
  closeSettings() {
    const settings = find("settings");
    if (!settings.open) return false;
    if (settings.contains(document.activeElement)) settings.querySelector("summary").focus();
    settings.open = false;
    return true;
  }

  /** Show example sentences; a click sends one as if it were typed. */
  offer(sentences, chosen) {
    const items = sentences.map((sentence) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = sentence;
      button.addEventListener("click", () => {
        this.press.focus(); // this button is about to be removed
        chosen(sentence);
      });
      item.append(button);
      return item;
    });
    find("examples").replaceChildren(...items);
  }

  /** Warn if the user's language is not among the known ones. @param {string[]} known @param {string} [chosen] */
  warn(known, chosen) {
    const code = notUnderstood(known, chosen);
    const languages = known.map(languageName).join(", ");
    const name = known.length > NAMED ? "notUnderstood" : "onlyUnderstood";
    find("lacking").textContent = code && capitalised(text(name, { language: languageName(code), languages }));
    find("lacking").hidden = !code;
  }

  /** Announce an event to screen readers. */
  announce(name, values = {}) {
    find("announcer").textContent = text(name, values);
  }

  /** @param {number} rms of the microphone's sound, 0 to 1 */
  level(rms) {
    const share = shareOf(rms);
    const level = share.toFixed(3);
    this.halo.style.setProperty("--level", level); // not on the section, whose every descendant would inherit it
    this.meter.style.setProperty("--level", level);
    this.meter.setAttribute("aria-valuenow", String(Math.round(share * 100)));
  }

  /** @param {number} rms of the played sound */
  loudness(rms) {
    this.halo.style.setProperty("--loudness", shareOf(rms).toFixed(3));
  }

  /**
   * @param {{on: boolean, opening: boolean, phase: string, held: boolean, link: string, via: string, holding: boolean, push: boolean, phrase: string}} now
   *   phrase: the wake word that the service waits for; "" if it listens
   */
  show({ on, opening, phase, held, link = "idle", via, holding, push, phrase }) {
    const waiting = opening || (on && link !== "open");
    const resting = waiting ? "starting" : push ? "ready" : on ? "listening" : "off";
    const state = phase === "rest" ? (push && holding ? "hearing" : resting) : held ? "held" : phase;
    const asleep = state === "listening" && phrase;
    const words = asleep ? "asleep" : state === "speaking" && (!on || push) ? "answering" : state;
    this.section.dataset.state = state;
    find("state").textContent = text(`state_${words}`, { phrase });
    const name = push ? "hold" : on || opening ? "stop" : "talk";
    find("press-name").textContent = text(`press_${name}`);
    // A button that changes its name (Talk, Stop) has no pressed state: screen readers would announce both.
    if (push) this.press.setAttribute("aria-pressed", String(Boolean(holding)));
    else this.press.removeAttribute("aria-pressed");
    this.press.dataset.shows = name;
    const silent = !["thinking", "speaking"].includes(phase);
    if (silent && document.activeElement === find("hush")) this.press.focus(); // a hidden button would lose the focus
    find("hush").hidden = silent;
    if (on === find("live").hidden) {
      find("live").hidden = !on;
      markLive(on);
    }
    find("link").dataset.link = link;
    find("link-words").textContent = text(via ? `link_${via}` : `link_${link}`);
    if (state !== this.shown && ["off", "listening", "ready"].includes(state) && phase === "rest" && this.shown) {
      if (!["hearing", "thinking", "speaking", "held"].includes(this.shown)) this.announce(`state_${words}`, { phrase });
    }
    this.shown = state;
  }
}
