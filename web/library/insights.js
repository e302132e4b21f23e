/** What the language model writes about the open transcript: title, summary, action items, chapters, translations and
 * answers. Times in brackets play the recording from there. */

import { fillLanguages, languageName } from "../languages.js";
import { explained, text } from "../texts.js";
import { element } from "../jobs/row.js";
import { library } from "./library.js";

const KINDS = ["title", "summary", "actions", "chapters"];
/** Interval between looks at unfinished insights. */
const LOOK_MS = 1500;
/** The user's own prompts, by kind. */
const STORE = "parley-prompts";
/** [12:34], (1:02:03) or a range of such times, of which the start is played. */
const TIME = /[[(](?:(\d{1,2}):)?(\d{1,2}):(\d{2})(?:\s*[-–—]\s*[\d:]+)?[\])]/g;

export class Insights {
  /**
   * @param {HTMLElement} box @param {import("../jobs/service.js").Service} service
   * @param {object} told callbacks
   * @param {(seconds: number) => void} told.play
   * @param {(name: string) => void} told.rename
   * @param {(error: Error) => void} told.trouble
   */
  constructor(box, service, told) {
    this.box = box;
    this.service = service;
    this.told = told;
    this.id = "";
    this.list = box.querySelector(".insight-list");
    this.actions = box.querySelector(".insight-actions");
    this.actions.append(...KINDS.map((kind) => this.button(`insight_${kind}`, () => this.write({ kind }))));
    this.language = box.querySelector("select");
    fillLanguages(this.language);
    this.language.options[0].remove(); // "detected"
    this.form("translate", () => ({ kind: "translation", language: this.language.value }));
    const question = box.querySelector("input");
    this.form("ask", () => {
      const asked = question.value.trim();
      question.value = "";
      return asked && { kind: "answer", question: asked };
    });
    this.prompts = box.querySelector(".insight-prompts");
  }

  /** @param {object} job with a transcript */
  async open(job) {
    this.stem = job.filename.replace(/(\.[^.]*)$/, "");
    this.suffix = job.filename.slice(this.stem.length);
    if (this.id === job.job_id) return;
    this.id = job.job_id;
    this.box.hidden = true;
    this.shown = "";
    this.insights = null;
    await this.look();
  }

  close() {
    this.id = "";
    this.box.hidden = true;
    clearTimeout(this.looking);
  }

  /** @private */
  async look() {
    const { id } = this;
    clearTimeout(this.looking);
    try {
      const { insights } = await this.service.json(`jobs/${id}/insights`);
      if (id !== this.id) return;
      this.insights = insights;
      this.render();
      const open = insights.some(({ status }) => ["queued", "running"].includes(status));
      if (open) this.looking = setTimeout(() => this.look(), LOOK_MS);
    } catch (error) {
      if (id === this.id) this.told.trouble(error);
    }
  }

  /** Show what was loaded last. */
  render() {
    const { insights } = this;
    const { language_model: model } = library();
    if (!this.id || !insights) return;
    this.box.hidden = !model && !insights.length;
    this.box.querySelector(".insight-controls").hidden = !model;
    if (model && !this.prompts.childElementCount) this.showPrompts();
    // Replaced only if something changed: a button in it can have the focus.
    const state = JSON.stringify([model, insights]);
    if (state === this.shown) return;
    this.shown = state;
    this.list.replaceChildren(...insights.toReversed().map((insight) => this.card(insight)));
  }

  /** @private */
  card(insight) {
    const { kind, status, text: words, question, language, error, progress } = insight;
    const card = element("article", "insight");
    card.dataset.state = status;
    const named = kind === "translation" ? text("insightTranslated", { language: languageName(language) }) : text(`insight_${kind}`);
    const head = element("div", "insight-head");
    head.append(element("h3", "", question ?? named));
    if (kind === "title" && words) {
      const name = words.replace(/\s+/g, " ").slice(0, 200);
      head.append(this.button("insightUse", () => this.told.rename(name + this.suffix)));
    }
    if (words) head.append(this.copy(words));
    head.append(this.button("deleteJob", () => this.remove(insight.insight_id)));
    card.append(head);
    const waits = { queued: library().language_model ? "insightQueued" : "insightNoModel", running: "insightRunning" }[status];
    if (waits) card.append(element("p", "nothing", text(waits, { percent: Math.floor(progress) })));
    if (error) card.append(element("p", "error", explained(error.code, error.message)));
    if (words) card.append(this.words(words));
    return card;
  }

  /** The text with its times as buttons. @private */
  words(words) {
    const made = element("div", "insight-text");
    for (const line of words.split("\n")) {
      if (!line.trim()) continue;
      const heading = /^#+\s/.test(line);
      const paragraph = element("p", heading ? "insight-heading" : "");
      const plain = line.replace(/^#+\s+/, "").replace(/^\s*[*+-]\s+/, "• ").replace(/\*\*|__/g, "");
      let at = 0;
      for (const match of plain.matchAll(TIME)) {
        const [whole, hours = "0", minutes, seconds] = match;
        const button = element("button", "time", whole.slice(1, -1));
        button.type = "button";
        button.setAttribute("aria-label", text("playFrom", { time: button.textContent }));
        button.addEventListener("click", () =>
          this.told.play(3600 * Number(hours) + 60 * Number(minutes) + Number(seconds)),
        );
        paragraph.append(plain.slice(at, match.index), button);
        at = match.index + whole.length;
      }
      paragraph.append(plain.slice(at));
      made.append(paragraph);
    }
    return made;
  }

  /** @private */
  copy(words) {
    const button = this.button("copyShort", async () => {
      await navigator.clipboard.writeText(words);
      button.textContent = text("copied");
      setTimeout(() => (button.textContent = text("copyShort")), 2000);
    });
    button.hidden = !navigator.clipboard;
    return button;
  }

  /** @private */
  async write(wanted) {
    const prompt = read()[wanted.kind];
    try {
      await this.service.send("POST", `jobs/${this.id}/insights`, { ...wanted, ...(prompt && { prompt }) });
      await this.look();
    } catch (error) {
      this.told.trouble(error);
    }
  }

  /** @private */
  async remove(id) {
    try {
      await this.service.ask(`jobs/${this.id}/insights/${id}`, { method: "DELETE" });
      await this.look();
    } catch (error) {
      this.told.trouble(error);
    }
  }

  /** The instruction of each kind, to be changed; kept in this browser. @private */
  showPrompts() {
    const { prompts } = library();
    for (const [kind, standard] of Object.entries(prompts)) {
      const label = element("label");
      const field = element("textarea");
      Object.assign(field, { value: read()[kind] ?? standard, rows: 2, maxLength: 2000 });
      field.addEventListener("change", () => {
        const own = field.value.trim();
        const { [kind]: _, ...others } = read();
        const changed = own && own !== standard ? { ...others, [kind]: own } : others;
        localStorage.setItem(STORE, JSON.stringify(changed));
        if (!own) field.value = standard;
      });
      label.append(element("span", "", text(`insight_${kind}`)), field);
      this.prompts.append(label);
    }
  }

  /** @private */
  form(name, wanted) {
    this.box.querySelector(`.insight-${name}`).addEventListener("submit", (event) => {
      event.preventDefault();
      const asked = wanted();
      if (asked) this.write(asked);
    });
  }

  /** @private */
  button(name, act) {
    const made = element("button", "plain", text(name));
    made.type = "button";
    made.addEventListener("click", act);
    return made;
  }
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) ?? {};
  } catch {
    return {};
  }
}
