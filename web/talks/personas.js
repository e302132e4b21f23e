/** The choice of a persona, of the service or of the user, and of the language model where there are several. */

import { withKey } from "../key.js";
import { text } from "../texts.js";
import { part } from "./history.js";

/** Key of the choice in the browser's storage. Users would lose their choice if it changed. */
const CHOSEN = "parley.manner";
const OWN = "parley.personas";
const OWN_PREFIX = "own:";
const MOST = 50;
/** Errors that a persona can cause. */
const OF_PERSONAS = ["unknown_persona", "unknown_model", "unknown_voice"];

const find = (id) => document.getElementById(id);

/**
 * @typedef {{id: string, name: string, description?: string, voice: string, language: string, llm_model: string,
 *   temperature: number | null, system?: string}} Persona system: only of the user's own
 */

export class Personas {
  /** @param {() => void} changed another persona or model is chosen, or the chosen one has changed */
  constructor(changed) {
    this.changed = changed;
    /** @type {Persona[]} of the service */
    this.served = [];
    this.own = read(OWN, []).filter((one) => one?.id && one.name).slice(0, MOST);
    const { persona = "", model = "" } = read(CHOSEN, {});
    this.chosen = String(persona);
    this.model = String(model);
    this.models = [];
    this.form = find("persona-form");
    this.select = find("persona");
    this.select.addEventListener("change", () => this.choose(this.select.value, this.model));
    find("llm-model").addEventListener("change", ({ target }) => this.choose(this.chosen, target.value));
    find("personas-edit").addEventListener("click", () => this.edit());
    find("personas-close").addEventListener("click", () => find("personas").close());
    find("persona-new").addEventListener("click", () => this.fill(null));
    find("persona-delete").addEventListener("click", () => this.remove());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
    this.fillSelects();
  }

  /** The chosen persona. @returns {Persona | null} */
  get persona() {
    if (this.chosen.startsWith(OWN_PREFIX)) return this.own.find(({ id }) => OWN_PREFIX + id === this.chosen) ?? null;
    return this.served.find(({ id }) => id === this.chosen) ?? null;
  }

  /**
   * @param {Record<string, unknown>} wishes the user's other settings; a persona replaces those that it sets
   * @returns {Record<string, unknown>} the fields of the protocol, without the system prompt
   */
  apply(wishes) {
    const { persona } = this;
    const asked = { ...wishes, persona: "" };
    if (persona?.voice) delete asked.voice;
    if (persona?.language) delete asked.language;
    if (persona && "system" in persona) {
      for (const name of ["voice", "language", "llm_model"]) if (persona[name]) asked[name] = persona[name];
      if (persona.temperature !== null) asked.temperature = persona.temperature;
    } else if (persona) asked.persona = persona.id;
    if (this.model) asked.llm_model = this.model;
    return asked;
  }

  /** The system prompt of the user's own persona. @returns {Record<string, string>} */
  get system() {
    return this.persona && "system" in this.persona ? { system: this.persona.system } : {};
  }

  /** Fetch what the service offers. @param {string} key */
  async load(key) {
    const before = this.persona;
    const [personas, models] = await Promise.all(["personas", "llm-models"].map((path) => asked(path, key)));
    this.served = personas?.personas ?? [];
    this.models = models?.models ?? [];
    this.usual = models?.default ?? "";
    this.fillSelects();
    if (this.persona && !before) this.changed(); // the connection can be older than the list
  }

  /**
   * Forget what the service does not have, or it would refuse all other settings, too.
   *
   * @param {string} code of its error @returns {boolean} whether the choice was the cause
   */
  forget(code) {
    const { chosen, model, persona } = this;
    if (code === "unknown_model" && model) this.choose(chosen, "");
    else if (chosen && OF_PERSONAS.includes(code) && (code !== "unknown_voice" || persona?.voice)) this.choose("", model);
    else return false;
    this.fillSelects();
    return true;
  }

  /** Choose that of a conversation again, if it still exists. @param {string} [id] undefined: it is not known */
  resume(id) {
    const known = id === "" || this.served.some((one) => one.id === id) || this.own.some((one) => OWN_PREFIX + one.id === id);
    if (known && id !== this.chosen) this.choose(id, this.model);
    this.fillSelects();
  }

  /** @private */
  choose(persona, model) {
    this.chosen = persona;
    this.model = model;
    localStorage.setItem(CHOSEN, JSON.stringify({ persona, model }));
    this.changed();
  }

  /** @private */
  fillSelects() {
    const option = ({ id, name, description = "" }, prefix = "") => {
      const made = new Option(name, prefix + id);
      made.title = description;
      return made;
    };
    const own = this.own.map((one) => option(one, OWN_PREFIX));
    this.select.replaceChildren(new Option(text("personaUsual"), ""), ...this.served.map((one) => option(one)), ...own);
    this.select.value = this.persona ? this.chosen : "";
    this.select.hidden = this.select.options.length < 2;
    const model = find("llm-model");
    const usual = this.usual ? text("modelUsual", { model: this.usual }) : text("modelDefault");
    model.replaceChildren(new Option(usual, ""), ...this.models.filter((name) => name !== this.usual).map((name) => new Option(name, name)));
    model.value = this.models.includes(this.model) ? this.model : "";
    model.hidden = this.models.length < 2;
  }

  // --- the user's own ---

  /** @private */
  edit() {
    const { elements } = this.form;
    for (const name of ["voice", "language"]) {
      const options = [...find(name).options].filter(({ value }) => value !== "auto");
      elements[name].replaceChildren(new Option(text("asInSettings"), ""), ...options.map(({ text: shown, value }) => new Option(shown, value)));
    }
    elements.llm_model.replaceChildren(new Option(text("modelDefault"), ""), ...this.models.map((name) => new Option(name, name)));
    find("persona-model").hidden = this.models.length < 2;
    this.fill(this.own.find(({ id }) => OWN_PREFIX + id === this.chosen) ?? null);
    find("personas").showModal();
  }

  /** @private @param {Persona | null} persona null: a new one */
  fill(persona) {
    this.edited = persona;
    const { elements } = this.form;
    this.form.reset();
    for (const name of ["name", "system", "voice", "language", "llm_model", "temperature"]) elements[name].value = persona?.[name] ?? "";
    find("persona-delete").hidden = !persona;
    find("persona-said").textContent = "";
    this.showOwn();
    elements.name.focus();
  }

  /** @private */
  showOwn() {
    const items = this.own.map((one) => {
      const item = document.createElement("li");
      const button = part("button", "plain", one.name);
      button.type = "button";
      if (one === this.edited) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => this.fill(one));
      item.append(button);
      return item;
    });
    find("personas-own").replaceChildren(...items);
  }

  /** @private */
  save() {
    const { elements } = this.form;
    const value = (name) => elements[name].value.trim();
    if (!this.edited && this.own.length >= MOST) {
      find("persona-said").textContent = text("personasMany", { count: MOST });
      return;
    }
    const persona = this.edited ?? { id: `${Date.now()}-${this.own.length}` };
    const { temperature } = elements;
    Object.assign(persona, {
      name: value("name"),
      system: value("system"),
      voice: value("voice"),
      language: value("language"),
      llm_model: value("llm_model"),
      temperature: temperature.value === "" ? null : temperature.valueAsNumber,
    });
    if (!this.edited) this.own.push(persona);
    this.edited = persona;
    this.keep();
    this.choose(OWN_PREFIX + persona.id, this.model);
    this.fillSelects();
    this.showOwn();
    find("persona-delete").hidden = false;
    find("persona-said").textContent = text("personaSaved", { name: persona.name });
  }

  /** @private */
  remove() {
    this.own = this.own.filter((one) => one !== this.edited);
    this.keep();
    if (OWN_PREFIX + this.edited.id === this.chosen) this.choose("", this.model);
    this.fillSelects();
    this.fill(null);
  }

  /** @private */
  keep() {
    localStorage.setItem(OWN, JSON.stringify(this.own));
  }
}

async function asked(path, key) {
  try {
    const answer = await fetch(new URL(path, document.baseURI), { headers: withKey(key) });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null; // no response: the conversation reports it
  }
}

function read(key, usual) {
  try {
    const found = JSON.parse(localStorage.getItem(key)) ?? usual;
    return Array.isArray(found) === Array.isArray(usual) ? found : usual;
  } catch {
    return usual;
  }
}
