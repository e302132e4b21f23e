/** Conversations as files, and as the history for a new session. */

import { language, text } from "../texts.js";
import { title } from "./store.js";

/** Marks the heard part of an interrupted reply, as in the service's history. */
export const INTERRUPTED = " …";
/** Limits of the protocol's `restore`. */
const MOST_MESSAGES = 200;
const MOST_CHARS = 8000;
/** A message of a data channel has at most 64 KB, and the service gives the language model less than this. */
const MOST_BYTES = 48_000;
const encoder = new TextEncoder();

/** @typedef {import("./store.js").Kept} Kept */

/** @param {number} at ms since 1970 */
export const when = (at) => new Date(at).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });

/** @param {import("./store.js").Said} said @returns {string} what was said, or what was heard */
export const heard = ({ content, rest }) => (rest ? `${content}${INTERRUPTED}` : content);

const speaker = ({ role }) => text(role === "user" ? "you" : "assistant");

/** @type {Record<string, {ending: string, kind: string, write: (kept: Kept) => string}>} */
export const FORMATS = {
  Markdown: {
    ending: "md",
    kind: "text/markdown",
    write: (kept) =>
      [`# ${title(kept)}`, when(kept.began), ...kept.messages.map((said) => `**${speaker(said)}:** ${heard(said)}`)].join("\n\n") + "\n",
  },
  Text: {
    ending: "txt",
    kind: "text/plain",
    write: (kept) => [when(kept.began), ...kept.messages.map((said) => `${speaker(said)}: ${heard(said)}`)].join("\n") + "\n",
  },
  JSON: {
    ending: "json",
    kind: "application/json",
    write: ({ began, changed, persona, messages }) => {
      const at = (ms) => new Date(ms).toISOString();
      return JSON.stringify({ began: at(began), changed: at(changed), persona, messages }, null, 1) + "\n";
    },
  },
};

/** Download a conversation. @param {Kept} kept @param {string} format */
export function download(kept, format) {
  const { ending, kind, write } = FORMATS[format];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([write(kept)], { type: kind }));
  const name = title(kept).replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60);
  link.download = `${name || "parley"}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {Kept} kept @returns {{role: string, content: string}[]} the newest messages that `restore` takes */
export function history({ messages }) {
  const told = [];
  let room = MOST_BYTES;
  for (const said of messages.toReversed()) {
    if (!said.content.trim()) continue; // nothing of it was heard
    const message = { role: said.role, content: heard(said).slice(-MOST_CHARS) };
    room -= encoder.encode(JSON.stringify(message)).length + 1;
    if (room < 0 || told.length === MOST_MESSAGES) break;
    told.unshift(message);
  }
  return told;
}
