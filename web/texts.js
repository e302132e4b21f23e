/**
 * The page's texts; the browser's preference decides on their language. A file in texts/, named by the language's code
 * and with the same names as en.js, adds a language.
 */

const known = document.documentElement.dataset.languages.split(" ");

/** Code of the page's language. */
export const language =
  navigator.languages.map((tag) => tag.split("-")[0].toLowerCase()).find((code) => known.includes(code)) ?? "en";

const { texts } = await import(`./texts/${language}.js`);

/**
 * @param {string} name of a text
 * @param {Record<string, string | number>} values for its {placeholders}
 */
export function text(name, values = {}) {
  const found = texts[name];
  if (found === undefined) throw new Error(`no text ${name}`);
  return found.replace(/\{(\w+)\}/g, (_, place) => String(values[place]));
}

/** @param {string} name @returns {boolean} whether this text exists */
export const hasText = (name) => name in texts;

/** @param {string} code of an error of the service @returns {boolean} whether the page's language has a text for it */
export const explains = (code) => Object.hasOwn(texts.errors, code);

/**
 * @param {string} code of an error of the service @param {string} message of the service, in English
 * @returns {string} the error in the page's language, if it has one for this code; the message has more details
 */
export const explained = (code, message) => (explains(code) ? texts.errors[code].replace("{message}", () => message) : message);

/** Format a number in the page's language with this many decimals. */
export const number = (value, decimals) =>
  value.toLocaleString(language, { minimumFractionDigits: decimals, maximumFractionDigits: decimals });

/** The example sentences in the page's language. */
export const examples = () => texts.examples_list;

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
