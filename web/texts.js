/** The page's texts in English, Portuguese and Spanish; the browser's preference decides. */

import { en } from "./texts-en.js";
import { es } from "./texts-es.js";
import { pt } from "./texts-pt.js";

const TEXTS = { en, pt, es };

/** Code of the page's language. */
export const language =
  navigator.languages.map((tag) => tag.split("-")[0].toLowerCase()).find((code) => code in TEXTS) ?? "en";

/**
 * @param {string} name of a text
 * @param {Record<string, string | number>} values for its {placeholders}
 */
export function text(name, values = {}) {
  const found = TEXTS[language][name] ?? en[name];
  if (found === undefined) throw new Error(`no text ${name}`);
  return found.replace(/\{(\w+)\}/g, (_, place) => String(values[place]));
}

/** @param {string} name @returns {boolean} whether this text exists */
export const hasText = (name) => name in en;

/**
 * @param {string} code of an error of the service @param {string} message of the service, in English
 * @returns {string} the error in the page's language, if it has one for this code; the message has more details
 */
export const explained = (code, message) => (language !== "en" && TEXTS[language].errors[code]) || message;

/** Format a number in the page's language with this many decimals. */
export const number = (value, decimals) =>
  value.toLocaleString(language, { minimumFractionDigits: decimals, maximumFractionDigits: decimals });

/** The example sentences in the page's language. */
export const examples = () => TEXTS[language].examples_list;

/** @param {Document} document whose elements name their texts in data-text, data-label and data-placeholder */
export function translate(document) {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
  }
  for (const element of document.querySelectorAll("[data-placeholder]")) {
    element.placeholder = text(element.dataset.placeholder);
  }
}
