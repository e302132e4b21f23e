/** The speakers of a transcript: their names, merging them, and voices that are remembered for the next recording. */

import { element } from "../jobs/row.js";
import { text } from "../texts.js";

const find = (id) => document.getElementById(id);

export class Speakers {
  /**
   * @param {import("../jobs/service.js").Service} service
   * @param {import("./document.js").TranscriptDocument} transcript
   * @param {object} told callbacks
   * @param {(speaker: string) => number} told.color
   * @param {(error: Error) => void} told.trouble
   * @param {(name: string, values?: object) => void} told.announce
   */
  constructor(service, transcript, told) {
    this.service = service;
    this.transcript = transcript;
    this.told = told;
    this.suggested = new Map();
    find("voices").addEventListener("toggle", () => find("voices").open && this.list());
    const dialog = find("consent");
    find("consent-form").addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      this.remember(this.asked);
    });
    find("consent-cancel").addEventListener("click", () => dialog.close());
  }

  /** Another transcript is open. */
  open() {
    this.suggested.clear();
    this.shown = "";
    find("voices").open = false;
    this.show();
    this.suggest();
  }

  /** The name of a speaker, or "Speaker A". */
  nameOf(speaker) {
    return this.transcript.names[speaker] || (/^[A-Z]{1,3}$/.test(speaker) ? text("speakerUnnamed", { speaker }) : speaker);
  }

  /** Show the speakers, unless they are the same as before: a field can have the focus. */
  show() {
    const { speakers, names } = this.transcript;
    find("speakers").hidden = speakers.length === 0;
    const now = JSON.stringify([speakers, speakers.map((one) => [names[one], this.suggested.get(one)])]);
    if (now === this.shown) return;
    this.shown = now;
    find("speaker-list").replaceChildren(...speakers.map((speaker) => this.speaker(speaker, speakers)));
  }

  /** @private */
  speaker(speaker, speakers) {
    const box = element("div", "speaker-row");
    box.dataset.color = String(this.told.color(speaker));
    const label = element("label");
    const input = element("input");
    const { names } = this.transcript;
    input.maxLength = 100;
    input.autocomplete = "off";
    input.value = names[speaker] ?? "";
    input.placeholder = text("speakerUnnamed", { speaker });
    input.setAttribute("aria-label", text("speakerName", { speaker: input.placeholder }));
    input.addEventListener("change", () => this.name(speaker, input.value.trim()));
    input.addEventListener("keydown", ({ key }) => {
      if (key === "Enter") input.blur();
    });
    label.append(element("span", "swatch"), input);
    box.append(label);
    const suggestion = this.suggested.get(speaker);
    if (suggestion && !names[speaker]) {
      const accept = this.button("suggestion", text("speakerSuggested", { name: suggestion }));
      accept.addEventListener("click", () => this.name(speaker, suggestion));
      box.append(accept);
    }
    if (names[speaker]) {
      const remember = this.button("text-link", text("voiceRemember"));
      remember.setAttribute("aria-label", text("forThis", { action: text("voiceRemember"), name: names[speaker] }));
      remember.addEventListener("click", () => this.ask(speaker));
      box.append(remember);
    }
    if (speakers.length > 1) box.append(...this.merging(speaker, speakers));
    return box;
  }

  /** @private */
  merging(speaker, speakers) {
    const select = element("select");
    const name = this.nameOf(speaker);
    select.setAttribute("aria-label", text("speakerSame", { name }));
    const others = speakers.filter((one) => one !== speaker);
    select.append(new Option(text("speakerSameAs"), ""), ...others.map((one) => new Option(this.nameOf(one), one)));
    const merge = this.button("text-link", text("speakerMerge"));
    merge.setAttribute("aria-label", text("speakerSame", { name }));
    merge.hidden = true;
    select.addEventListener("change", () => (merge.hidden = !select.value));
    merge.addEventListener("click", () => {
      const into = select.value;
      this.transcript.edit(() => [{ op: "merge_speakers", speaker, into }]);
    });
    return [select, merge];
  }

  /** @private */
  button(kind, words) {
    const made = element("button", kind, words);
    made.type = "button";
    return made;
  }

  /** @private */
  name(speaker, name) {
    if (name === (this.transcript.names[speaker] ?? "")) return;
    this.transcript.edit(() => [{ op: "name", speaker, name: name || null }]);
  }

  /** Ask the service for names by voice. Without remembered voices it returns none at once. @private */
  async suggest() {
    const { id, speakers, names } = this.transcript;
    if (speakers.every((one) => names[one])) return;
    try {
      const { suggestions } = await this.service.json(`jobs/${id}/voiceprints`);
      if (id !== this.transcript.id) return;
      for (const { speaker, name } of suggestions) this.suggested.set(speaker, name);
      this.show();
    } catch {
      // The transcript can be read without them.
    }
  }

  /** @private */
  ask(speaker) {
    this.asked = speaker;
    find("consent-words").textContent = text("consentWords", { name: this.nameOf(speaker) });
    find("consent-given").checked = false;
    find("consent").showModal();
  }

  /** @private */
  async remember(speaker) {
    const name = this.nameOf(speaker);
    try {
      await this.service.send("POST", `jobs/${this.transcript.id}/voiceprints`, { speaker, name, consent: true });
      this.told.announce("voiceRemembered", { name });
      find("voices").open = true;
      await this.list();
    } catch (error) {
      this.told.trouble(error);
    }
  }

  /** @private */
  async list() {
    try {
      const { voiceprints } = await this.service.json("voiceprints");
      const rows = voiceprints.map(({ id, name }) => {
        const row = element("li", "", name);
        const forget = this.button("text-link", text("voiceForget"));
        forget.setAttribute("aria-label", text("forThis", { action: text("voiceForget"), name }));
        forget.addEventListener("click", async () => {
          try {
            await this.service.ask(`voiceprints/${id}`, { method: "DELETE" });
          } catch (error) {
            this.told.trouble(error);
          }
          await this.list();
        });
        row.append(forget);
        return row;
      });
      find("voice-list").replaceChildren(...(rows.length ? rows : [element("li", "", text("voicesNone"))]));
    } catch (error) {
      this.told.trouble(error);
    }
  }
}
