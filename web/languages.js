/** The languages to choose from: the page's own first, then the others, sorted by their translated names. */

import { language as pageLanguage, text } from "./texts.js";

const LANGUAGES = (
  "en pt es ar bg ca cs da de el fa fi fr he hi hr hu id it ja ko lt lv ms nl no pl ro ru sk sl sr sv sw ta th tr uk " +
  "ur vi zh"
).split(" ");
const FIRST = 3;

/** @param {unknown} code @returns {boolean} whether it can be chosen */
export const isLanguage = (code) => LANGUAGES.includes(code);

/**
 * @param {HTMLSelectElement} select filled with "auto" first; its choice stays if it can
 * @param {string[]} known languages of the recogniser; empty: unknown
 */
export function fillLanguages(select, known = []) {
  const chosen = select.value;
  const codes = LANGUAGES.filter((code) => !known.length || known.includes(code));
  const options = codes.map((code) => new Option(languageName(code), code));
  const others = options.splice(codes.filter((code) => LANGUAGES.indexOf(code) < FIRST).length).sort((one, other) => one.text.localeCompare(other.text, pageLanguage));
  select.replaceChildren(new Option(text("auto"), "auto"), ...options, ...others);
  select.value = codes.includes(chosen) ? chosen : "auto";
}

/** @param {string} code ISO 639-1 */
export function languageName(code) {
  const name = names.of(code) ?? code;
  return name.charAt(0).toLocaleUpperCase(pageLanguage) + name.slice(1);
}

const names = new Intl.DisplayNames([pageLanguage], { type: "language" });
