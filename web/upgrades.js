/** Better models in the card about basic mode: a download with progress, or the command for it; Ollama's models. */

import { size } from "./jobs/formats.js";
import { element } from "./jobs/row.js";
import { errorOf } from "./jobs/service.js";
import { withKey } from "./key.js";
import { explained, hasText, text } from "./texts.js";

/** Interval at which a download's progress is asked for, in ms. */
const AGAIN_MS = 1000;

export class Upgrades {
  /** @param {HTMLElement} box */
  constructor(box) {
    this.box = box;
    /** @type {Map<string, HTMLElement>} */
    this.rows = new Map();
  }

  /** Show what can be installed. Without the permission nothing is shown. @param {string} key */
  async look(key) {
    this.key = key;
    clearTimeout(this.timer);
    try {
      this.show(await this.ask("upgrades"));
    } catch {
      this.box.replaceChildren();
      this.rows.clear();
    }
  }

  /** @private */
  async ask(path, method = "GET") {
    const headers = withKey(this.key);
    const answer = await fetch(new URL(path, document.baseURI), { method, headers, cache: "no-store" });
    if (!answer.ok) throw errorOf(answer.status, await answer.text(), this.key);
    return answer.json();
  }

  /** @private */
  show({ models, can_install: can, command, ollama }) {
    for (const model of models) this.row(model.name).replaceChildren(...this.parts(model, can, command));
    if (ollama.length) {
      const words = element("span", "", text("upgradeOllama", { models: ollama.join(", ") }));
      this.row("ollama").replaceChildren(words, ...copied(`LLAMA_MODEL=${ollama[0]}`));
    }
    if (models.some(({ state }) => ["waiting", "downloading"].includes(state))) {
      this.timer = setTimeout(() => this.look(this.key), AGAIN_MS);
    }
  }

  /** @private */
  row(name) {
    if (!this.rows.has(name)) {
      this.rows.set(name, element("li"));
      this.box.append(this.rows.get(name));
    }
    return this.rows.get(name);
  }

  /** @private @returns {Node[]} */
  parts({ name, size: bytes, licence, state, done, total, message }, can, command) {
    const what = hasText(`upgrade_${name}`) ? text(`upgrade_${name}`) : name;
    const words = element("span", "", `${what} (${[name, size(bytes), licence].join(", ")})`);
    if (state === "installed") return [words, element("b", "", text("upgradeInstalled"))];
    if (["waiting", "downloading"].includes(state)) {
      const bar = element("div", "progress");
      const percent = total ? Math.floor((100 * done) / total) : 0;
      bar.setAttribute("role", "progressbar");
      bar.setAttribute("aria-label", text("progressOf", { name }));
      bar.setAttribute("aria-valuenow", String(percent));
      bar.style.setProperty("--done", String(percent / 100));
      bar.append(element("span", "done"));
      return [words, element("span", "took", `${percent} %`), bar];
    }
    const parts = can ? [words, this.button(name, message ? "upgradeAgain" : "upgradeDownload")] : [words, ...copied(`${command} ${name}`)];
    if (message) parts.push(element("p", "wanted", message));
    return parts;
  }

  /** @private */
  button(name, label) {
    const button = element("button", "plain", text(label));
    button.type = "button";
    button.setAttribute("aria-label", text("forThis", { action: text(label), name }));
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        this.show(await this.ask(`upgrades/${name}`, "POST"));
      } catch (error) {
        button.disabled = false;
        button.after(element("p", "wanted", explained(error.code, error.message)));
      }
    });
    return button;
  }
}

/** A command, and a button that copies it. @param {string} command @returns {Node[]} */
function copied(command) {
  const code = element("code", "", command);
  if (!navigator.clipboard) return [code];
  const button = element("button", "plain", text("copyShort"));
  button.type = "button";
  button.setAttribute("aria-label", text("forThis", { action: text("copyShort"), name: command }));
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(command);
    button.textContent = text("copied");
  });
  return [code, button];
}
