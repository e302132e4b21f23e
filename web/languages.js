/** The languages to choose from: the page's own first, then the others, sorted by their translated names. */

import { language as pageLanguage, text } from "./texts.js";

const LANGUAGES = (
  "en pt es ar bg ca cs da de el fa fi fr he hi hr hu id it ja ko lt lv ms nl no pl ro ru sk sl sr sv sw ta th tr uk " +
  "ur vi zh"
).split(" ");
const FIRST = 3;

/** @param {unknown} code @returns {boolean} whether it can be chosen */
export const isLanguage = (code) => LANGUAGES.includes(code);

/** @param {string} code with or without a region @param {string[]} known codes; empty: unknown, so all are in it */
export const among = (code, known) => !known.length || known.some((one) => plain(one) === plain(code));

/**
 * @param {string[]} known languages of the recogniser; empty: unknown @param {string} chosen by the user, or "auto"
 * @returns {string} the user's language if the recogniser lacks it: the chosen one, or the browser's first; else ""
 */
export function notUnderstood(known, chosen = "auto") {
  const wanted = chosen === "auto" ? (navigator.languages[0] ?? pageLanguage) : chosen;
  return among(wanted, known) ? "" : plain(wanted);
}

const plain = (code) => code.split("-")[0].toLowerCase();

/**
 * @param {HTMLSelectElement} select filled with "auto" first; its choice stays if it can
 * @param {string[]} known languages of the recogniser; empty: unknown
 * @param {string[]} spoken languages of the voice; empty: unknown
 */
export function fillLanguages(select, known = [], spoken = []) {
  const chosen = select.value;
  const codes = LANGUAGES.filter((code) => among(code, known));
  const named = (code) => {
    const language = languageName(code);
    return capitalised(among(code, spoken) ? language : text("languageUnvoiced", { language }));
  };
  const options = codes.map((code) => new Option(named(code), code));
  const others = options.splice(codes.filter((code) => LANGUAGES.indexOf(code) < FIRST).length).sort((one, other) => one.text.localeCompare(other.text, pageLanguage));
  select.replaceChildren(new Option(text("auto"), "auto"), ...options, ...others);
  select.value = codes.includes(chosen) ? chosen : "auto";
}

/**
 * The name of a language as it is written inside a sentence: "português", but "Portuguese".
 * @param {string} code ISO 639-1
 */
export const languageName = (code) => names.of(code) ?? code;

/** The same text as it is written at the start of a sentence or on its own. */
export const capitalised = (words) => words.charAt(0).toLocaleUpperCase(pageLanguage) + words.slice(1);

const names = new Intl.DisplayNames([pageLanguage], { type: "language" });
