/** The upload form: files chosen, dropped (folders, too) or pasted, addresses, and the job options. */

import { fillLanguages, isLanguage } from "../languages.js";
import { text } from "../texts.js";

const find = (id) => document.getElementById(id);
const STORE = "parley.transcribe";
/** Largest number of speakers to choose from. */
const MOST = 8;

/**
 * Offer the languages that the form's model understands; all where they are unknown.
 * @param {HTMLFormElement} form the upload form or a copy of it
 */
export function offerLanguages(form) {
  const { language, model_id } = form.elements;
  const { languages } = model_id.selectedOptions[0].dataset;
  fillLanguages(language, languages ? languages.split(" ") : []);
}

export class UploadForm {
  /** @param {(files: File[]) => void} files @param {(url: string) => void} url */
  constructor(files, url) {
    this.form = find("job-options");
    this.models = [];
    this.fill(read());
    this.form.addEventListener("change", ({ target }) => {
      if (target === this.form.elements.model_id) offerLanguages(this.form);
      this.keep();
    });
    this.form.addEventListener("submit", (event) => event.preventDefault());

    find("choose").addEventListener("click", () => find("files").click());
    find("files").addEventListener("change", ({ target }) => {
      if (target.files.length) files([...target.files]);
      target.value = ""; // so that the same file can be chosen again
    });
    find("by-url").addEventListener("submit", (event) => {
      event.preventDefault();
      const wanted = find("url").value.trim();
      if (wanted) url(wanted);
    });
    this.takeDrops(find("transcribe"), files, url);
    document.addEventListener("paste", (event) => {
      const typing = event.target.closest?.("input, textarea");
      if (find("transcribe").hidden || typing || !event.clipboardData.files.length) return;
      event.preventDefault();
      files([...event.clipboardData.files]);
    });
  }

  /** The options as form fields. */
  get fields() {
    const { language, model_id, diarize, speakers } = this.form.elements;
    return {
      ...(language.value !== "auto" && { language: language.value }),
      ...(model_id.value && { model_id: model_id.value }),
      ...(diarize.checked && { diarize: "true" }),
      ...(diarize.checked && speakers.value && { min_speakers: speakers.value, max_speakers: speakers.value }),
    };
  }

  /** The options as JSON. */
  get wishes() {
    const { diarize, min_speakers: least, max_speakers: most, ...others } = this.fields;
    return { ...others, ...(diarize && { diarize: true }), ...(least && { min_speakers: +least, max_speakers: +most }) };
  }

  /**
   * @param {{id: string, description?: string, default?: boolean, languages?: string[]}[]} listed models that a job can
   *   name; no languages: unknown
   */
  setModels(listed) {
    const own = listed.find((model) => model.default);
    const models = listed.filter((model) => model !== own);
    const select = this.form.elements.model_id;
    const before = select.value || read().model_id || "";
    const option = (name, id, { description = "", languages = [] } = {}) => {
      const made = new Option(name, id);
      made.title = description;
      made.dataset.languages = languages.join(" ");
      return made;
    };
    const first = option(own ? text("modelNamed", { model: own.id }) : text("modelLoaded"), "", { languages: own?.languages });
    select.replaceChildren(first, ...models.map((model) => option(model.id, model.id, model)));
    select.value = models.some(({ id }) => id === before) ? before : "";
    select.closest("label").hidden = models.length === 0;
    offerLanguages(this.form);
    this.summarise();
  }

  /** Offer to tell speakers apart only where the service can. @param {{available: boolean, command: string | null}} [speakers] */
  setSpeakers({ available, command } = { available: true, command: null }) {
    const { diarize, speakers } = this.form.elements;
    diarize.disabled = !available;
    diarize.checked = available && Boolean(read().diarize);
    speakers.closest("label").hidden = !diarize.checked;
    const words = diarize.closest("label").querySelector("small");
    words.textContent = available ? text("diarizeMore") : text("diarizeMissing", { command });
    this.summarise();
  }

  /** Fill in an address. */
  setUrl(url) {
    find("url").value = url;
  }

  /** Clear the address after it was submitted. */
  clearUrl() {
    find("url").value = "";
  }

  /** @private */
  fill({ language, diarize, speakers }) {
    const form = this.form.elements;
    fillLanguages(form.language);
    form.language.value = isLanguage(language) ? language : "auto";
    const numbers = Array.from({ length: MOST }, (_, index) => new Option(String(index + 1), String(index + 1)));
    form.speakers.replaceChildren(new Option(text("speakersAny"), ""), ...numbers);
    form.speakers.value = numbers.some(({ value }) => value === speakers) ? speakers : "";
    form.diarize.checked = Boolean(diarize);
    this.setModels([]);
    form.speakers.closest("label").hidden = !form.diarize.checked;
  }

  /** @private */
  keep() {
    const { language, model_id, diarize, speakers } = this.form.elements;
    const wanted = diarize.disabled ? Boolean(read().diarize) : diarize.checked;
    const kept = { language: language.value, model_id: model_id.value, diarize: wanted, speakers: speakers.value };
    localStorage.setItem(STORE, JSON.stringify(kept));
    speakers.closest("label").hidden = !diarize.checked;
    this.summarise();
  }

  /** Show the chosen options in the summary line. @private */
  summarise() {
    const { language, model_id, diarize, speakers } = this.form.elements;
    const chosen = [
      language.value !== "auto" && language.selectedOptions[0].text,
      model_id.value,
      diarize.checked && text("diarize") + (speakers.value ? ` (${speakers.value})` : ""),
    ].filter(Boolean);
    find("options-summary").textContent = chosen.length
      ? text("optionsChosen", { chosen: chosen.join(", ") })
      : text("options");
  }

  /** @private */
  takeDrops(section, files, url) {
    const takes = ({ dataTransfer }) => dataTransfer.types.some((type) => type === "Files" || type === "text/uri-list");
    let depth = 0; // enter and leave fire for each element inside
    const over = (now) => {
      depth = now;
      section.classList.toggle("dropping", depth > 0);
    };
    section.addEventListener("dragenter", (event) => takes(event) && over(depth + 1));
    section.addEventListener("dragleave", (event) => takes(event) && over(Math.max(0, depth - 1)));
    section.addEventListener("dragover", (event) => {
      if (takes(event)) event.preventDefault();
    });
    section.addEventListener("drop", async (event) => {
      if (!takes(event)) return;
      event.preventDefault();
      over(0);
      const link = event.dataTransfer.getData("text/uri-list").split("\n").find((line) => line && !line.startsWith("#"));
      const found = await filesOf(event.dataTransfer);
      if (found.length) files(found);
      else if (link) url(link.trim());
    });
  }
}

/** All files of a drop, including those in folders, without hidden ones. @returns {Promise<File[]>} */
async function filesOf(transfer) {
  // Read at once: the items are gone after the first await.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some(({ isDirectory }) => isDirectory)) return [...transfer.files];
  const found = await Promise.all(entries.map(inside));
  return found.flat().filter(({ name }) => !name.startsWith("."));
}

async function inside(entry) {
  if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed)); // a hundred at a time
    if (!some.length) return (await Promise.all(found.map(inside))).flat();
    found.push(...some);
  }
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) ?? {};
  } catch {
    return {};
  }
}
