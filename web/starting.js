/** The card that shows how far the service has loaded its models, for a page that is opened meanwhile. */

import { size } from "./jobs/formats.js";
import { element } from "./jobs/row.js";
import { sendable, withKey } from "./key.js";
import { text } from "./texts.js";

const AGAIN_MS = 1000;
/** After this time without a response the page starts as it is, and reports what fails. */
const TIMEOUT_MS = 5000;
const card = document.getElementById("starting");
const list = document.getElementById("starting-steps");

/**
 * Wait until the service is ready, and show its progress until then. Does not fail.
 * @param {() => string} key the access key, "" for none
 * @returns {Promise<object | undefined>} see `healthOf`
 */
export async function untilStarted(key) {
  let health = await healthOf(key());
  if (health?.status !== "starting") return health;
  const others = document.querySelectorAll("main, #settings");
  const show = (starting) => {
    others.forEach((one) => (one.hidden = starting));
    card.hidden = !starting;
  };
  show(true);
  document.getElementById("announcer").textContent = `${text("starting")}. ${text("startingMore")}`;
  while (health?.status === "starting") {
    const running = (health.loading ?? []).filter(({ done, total }) => !total || done < total);
    list.replaceChildren(...running.map(item));
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    health = await healthOf(key());
  }
  show(false);
  document.getElementById("announcer").textContent = "";
  return health;
}

/** @param {string} key @returns {Promise<object | undefined>} the state of the service; undefined if it does not respond */
export async function healthOf(key) {
  const options = { cache: "no-store", headers: sendable(key) ? withKey(key) : {}, signal: AbortSignal.timeout(TIMEOUT_MS) };
  try {
    const answer = await fetch(new URL("health", document.baseURI), options);
    return await answer.json();
  } catch {
    return undefined;
  }
}

function item({ step, model, done, total, stage }) {
  const entry = element("li");
  const words = text(step === "download" ? "startDownload" : "startLoad", { model });
  entry.append(element("span", "", stage ? `${text(`engine_${stage}`)}: ${words}` : words));
  if (total) {
    const bar = element("div", "progress");
    bar.setAttribute("role", "progressbar");
    bar.setAttribute("aria-label", text("progressOf", { name: model }));
    bar.setAttribute("aria-valuenow", String(Math.floor((100 * done) / total)));
    const filled = element("span", "done");
    filled.style.setProperty("--done", String(done / total));
    bar.append(filled);
    entry.append(element("span", "took", text("doneOf", { done: size(done), total: size(total) })), bar);
  }
  return entry;
}
