/** The engine of each stage, from /health, and what the basic ones cannot do. */

import { languageName, notUnderstood } from "./languages.js";
import { text } from "./texts.js";
import { Upgrades } from "./upgrades.js";

/** The engines that need no model: each has a text of its limits, basic_STAGE. */
const BASIC = ["sphinx", "builtin", "espeak"];
const STORE = "parley.basic-closed";
const find = (id) => document.getElementById(id);
/** Opens the card about basic engines, once there is one. */
let openCard = () => {};
export const showLimitsCard = () => openCard();
const upgrades = new Upgrades(find("upgrades"));

/**
 * @param {HTMLElement} list @param {string} key the service lists its engines for valid keys only
 * @param {object | undefined} health see `healthOf`
 * @param {(phrases: Record<string, string>, languages: string[], more: {limits: object, spoken: string[],
 *   speakers?: {available: boolean, command: string | null}, fallbacks: string[], records: boolean}) => void} told
 *   takes the wake words (name → phrase), the languages of the recogniser and of the voice (empty: unknown), the limits
 *   of the service, whether it can tell speakers apart, the replies to what needs a language model, and whether it records
 */
export function showEngines(list, key, health, told) {
  if (!health) return; // the conversation reports that the service does not respond
  const { engines = [], wake_words, limits, speakers, fallbacks, records } = health;
  const languages = (wanted) => engines.find(({ stage }) => stage === wanted)?.languages ?? [];
  told(wake_words ?? {}, languages("stt"), { limits: limits ?? {}, spoken: languages("tts"), speakers, fallbacks: fallbacks ?? [], records: records ?? false });
  list.replaceChildren(...engines.map(item));
  showLimits(list, engines, key);
}

function item({ stage, engine, model, device, source, licence }) {
  const entry = document.createElement("li");
  const name = document.createElement("span");
  name.className = "stage";
  name.textContent = text(`engine_${stage}`);
  const what = document.createElement("span");
  what.textContent = [engine, model, device, source, licence].filter(Boolean).join(" · ");
  entry.append(name, " ", what);
  return entry;
}

/** Show the card about basic engines and an unknown language, or, once it was closed, a button that shows it again. */
function showLimits(list, engines, key) {
  const lines = engines.flatMap(limits);
  const spoken = engines.find(({ stage }) => stage === "stt")?.languages ?? [];
  const lacking = notUnderstood(spoken) && text("basicLanguage", { languages: spoken.map(languageName).join(", ") });
  if (lacking) lines.unshift(line(lacking));
  const files = find("basic-files");
  files.textContent = engines.some(({ engine }) => engine === "sphinx") ? text("basic_stt") : lacking;
  files.hidden = !files.textContent;
  const card = find("basic");
  find("basic-list").replaceChildren(...lines);
  if (!lines.length) return;
  upgrades.look(key);
  const opener = document.createElement("button");
  opener.type = "button";
  opener.textContent = text("basicShow");
  const entry = document.createElement("li");
  entry.append(opener);
  list.append(entry);
  const show = (open) => {
    card.hidden = !open;
    entry.hidden = open;
    if (open) localStorage.removeItem(STORE);
    else localStorage.setItem(STORE, "1");
  };
  opener.onclick = () => {
    show(true);
    if (!card.checkVisibility()) find("scroll").append(card); // during a conversation the welcome is hidden
    card.scrollIntoView({ block: "nearest" });
    find("basic-close").focus();
  };
  openCard = opener.onclick;
  find("basic-close").onclick = () => show(false);
  show(!localStorage.getItem(STORE));
}

/** @returns {HTMLElement[]} the limits of an engine, with the ways to a better one */
function limits({ stage, engine, model, notes }) {
  const basic = BASIC.includes(engine);
  if (!basic && !notes?.length) return [];
  const words = basic ? text(`basic_${stage}`) : `${text(`engine_${stage}`)}: ${engine}, ${model}.`;
  return [line(words, notes)];
}

function line(words, notes) {
  const entry = document.createElement("li");
  if (!notes?.length) {
    entry.textContent = words;
    return entry;
  }
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = `${words} ${text("howToUpgrade")}`;
  details.append(
    summary,
    ...notes.map((note) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = note;
      return paragraph;
    }),
  );
  entry.append(details);
  return entry;
}
