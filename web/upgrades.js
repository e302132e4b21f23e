/** Better models in the card about basic mode: a download with progress, or the command for it; Ollama's models. */

import { size } from "./jobs/formats.js";
import { element } from "./jobs/row.js";
import { errorOf } from "./jobs/service.js";
import { withKey } from "./key.js";
import { explained, explains, hasText, text } from "./texts.js";

/** Interval at which a download's progress is asked for, and the same after a failure, in ms. */
const AGAIN_MS = 1000;
const RETRY_MS = 3000;
const RUNNING = ["waiting", "downloading"];

export class Upgrades {
  /** @param {HTMLElement} box */
  constructor(box) {
    this.box = box;
    /** Rows with what they show, a model's state, and the bar of a download. @type {Map<string, object>} */
    this.rows = new Map();
  }

  /** Show what can be installed. Without the permission nothing is shown. @param {string} key */
  async look(key) {
    this.key = key;
    clearTimeout(this.timer);
    try {
      const found = await this.ask("upgrades");
      if (key === this.key) this.show(found);
    } catch (error) {
      if (key !== this.key) return;
      const refused = ["key", "key_needed", "jobs_right"].includes(error.code);
      if (!refused && this.running) this.timer = setTimeout(() => this.look(key), RETRY_MS); // the download goes on
      else this.keep([]);
    }
  }

  /** @private */
  async ask(path, method = "GET") {
    const { key } = this;
    const answer = await fetch(new URL(path, document.baseURI), { method, headers: withKey(key), cache: "no-store" });
    if (!answer.ok) throw errorOf(answer.status, await answer.text(), key);
    return answer.json();
  }

  /** Whether a download waits or runs. @private */
  get running() {
    return [...this.rows.values()].some(({ state }) => RUNNING.includes(state));
  }

  /** @private */
  show({ models, can_install: can, command, ollama }) {
    clearTimeout(this.timer);
    this.keep([...models.map(({ name }) => name), ...(ollama.length ? ["ollama"] : [])]);
    for (const model of models) this.showModel(model, can, command);
    if (ollama.length) {
      this.fill(this.row("ollama"), ollama.join(), () => {
        const words = element("span", "", text("upgradeOllama", { models: ollama.join(", ") }));
        return [words, ...copied(`LLAMA_MODEL=${ollama[0]}`)];
      });
    }
    if (this.running) this.timer = setTimeout(() => this.look(this.key), AGAIN_MS);
  }

  /** @private */
  showModel(model, can, command) {
    const { name, state, done, total, message } = model;
    const row = this.row(name);
    this.fill(row, JSON.stringify([state, message, can, command]), () => this.parts(row, model, can, command));
    if (RUNNING.includes(state)) {
      const percent = total ? Math.floor((100 * done) / total) : 0;
      row.bar.setAttribute("aria-valuenow", String(percent));
      row.bar.style.setProperty("--done", String(percent / 100));
      row.percent.textContent = `${percent} %`;
    }
    if (RUNNING.includes(row.state) && !RUNNING.includes(state)) announce(name, state === "installed", message);
    row.state = state;
  }

  /** Remove all rows but these. @private */
  keep(names) {
    for (const [name, { box }] of this.rows) {
      if (names.includes(name)) continue;
      box.remove();
      this.rows.delete(name);
    }
  }

  /** @private */
  row(name) {
    if (!this.rows.has(name)) {
      const box = element("li");
      box.tabIndex = -1;
      this.rows.set(name, { box });
      this.box.append(box);
    }
    return this.rows.get(name);
  }

  /** Replace a row's content only if it differs: a button of it can have the focus, which then stays in the row. @private */
  fill(row, shown, parts) {
    if (row.shown === shown) return;
    const focused = row.box.contains(document.activeElement);
    row.shown = shown;
    row.box.replaceChildren(...parts());
    if (focused) (row.box.querySelector("button") ?? row.box).focus();
  }

  /** @private @returns {Node[]} */
  parts(row, { name, size: bytes, licence, state, message }, can, command) {
    const what = hasText(`upgrade_${name}`) ? text(`upgrade_${name}`) : name;
    const words = element("span", "", `${what} (${[name, size(bytes), licence].join(", ")})`);
    if (state === "installed") return [words, element("b", "", text("upgradeInstalled"))];
    if (RUNNING.includes(state)) {
      row.percent = element("span", "took");
      row.bar = element("div", "progress");
      row.bar.setAttribute("role", "progressbar");
      row.bar.setAttribute("aria-label", text("progressOf", { name }));
      row.bar.append(element("span", "done"));
      return [words, row.percent, row.bar];
    }
    const trouble = element("p", "wanted", message && text("trouble_other", { message }));
    trouble.setAttribute("role", "status");
    if (!can) return [words, ...copied(`${command} ${name}`), trouble];
    return [words, this.button(name, message ? "upgradeAgain" : "upgradeDownload", trouble), trouble];
  }

  /** @private */
  button(name, label, trouble) {
    const button = element("button", "plain", text(label));
    button.type = "button";
    button.setAttribute("aria-label", text("forThis", { action: text(label), name }));
    let asking = false; // a disabled button would lose the focus
    button.addEventListener("click", async () => {
      if (asking) return;
      asking = true;
      try {
        this.show(await this.ask(`upgrades/${name}`, "POST"));
      } catch (error) {
        trouble.textContent = reason(error);
      }
      asking = false;
    });
    return button;
  }
}

/** @param {Error} error of a request, or of the network @returns {string} */
function reason({ code, message }) {
  if (!code) return text("trouble_away");
  if (code === "jobs_right") return text("upgradeRefused");
  if (["key", "key_needed"].includes(code)) return text(`trouble_${code}`);
  return explains(code) ? explained(code, message) : text("trouble_other", { message });
}

/** For screen readers. */
function announce(name, installed, message) {
  const words = installed ? `${name}: ${text("upgradeInstalled")}` : text("announceFailed", { name, message });
  document.getElementById("announcer").textContent = words;
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
