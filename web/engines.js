/** The engine of each stage, from /health, and how to get a better one. */

import { withKey } from "./key.js";
import { text } from "./texts.js";

/**
 * @param {HTMLElement} list @param {string} key the service lists its engines for valid keys only
 * @param {(phrases: Record<string, string>) => void} wakes takes the wake words: name → phrase
 */
export async function showEngines(list, key, wakes) {
  let engines, wake_words;
  try {
    const answer = await fetch(new URL("health", document.baseURI), { cache: "no-store", headers: withKey(key) });
    ({ engines, wake_words } = await answer.json());
  } catch {
    return; // the conversation reports that the service does not respond
  }
  wakes(wake_words ?? {});
  list.replaceChildren(...(engines ?? []).map(item));
}

function item({ stage, engine, model, device, source, licence, notes }) {
  const entry = document.createElement("li");
  const name = document.createElement("span");
  name.className = "stage";
  name.textContent = text(`engine_${stage}`);
  const what = document.createElement("span");
  what.textContent = [engine, model, device, source, licence].filter(Boolean).join(" · ");
  entry.append(name, " ", what);
  if (notes?.length) entry.append(whyNotBetter(notes));
  return entry;
}

function whyNotBetter(notes) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = text("whyNotBetter");
  details.append(
    summary,
    ...notes.map((note) => {
      const line = document.createElement("p");
      line.textContent = note;
      return line;
    }),
  );
  return details;
}
