/** The list of kept conversations: search, read, hear again, export, continue, delete. */

import { withKey } from "../key.js";
import { text } from "../texts.js";
import { FORMATS, download, when } from "./exports.js";
import { title } from "./store.js";

const find = (id) => document.getElementById(id);

/** @typedef {import("./store.js").Kept} Kept */

export class TalkHistory {
  /**
   * @param {import("./store.js").TalkStore} store @param {import("./replay.js").Replay} replay
   * @param {object} told callbacks
   * @param {(kept: Kept) => void} told.continued @param {(id: string) => void} told.removed "" for all
   * @param {() => string} told.key
   */
  constructor(store, replay, told) {
    this.store = store;
    this.replay = replay;
    this.told = told;
    this.dialog = find("talks");
    /** @type {Kept | null} */
    this.open = null;
    find("talks-open").addEventListener("click", () => this.show());
    find("talks-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => this.replay.stop());
    find("talks-search").addEventListener("input", () => this.list());
    find("talks-keep").addEventListener("change", ({ target }) => {
      this.store.on = target.checked;
    });
    find("talks-record").addEventListener("change", ({ target }) => {
      find("may-record").hidden = true;
      this.store.recordable = target.checked; // from the next connection on; the notice erases the present one
    });
    for (const [id, may] of [["may-record-yes", true], ["may-record-no", false]]) {
      find(id).addEventListener("click", () => {
        this.store.recordable = may;
        find("may-record").hidden = true;
      });
    }
    find("talk-back").addEventListener("click", () => this.read(null));
    find("talk-continue").addEventListener("click", () => {
      const kept = this.open;
      this.dialog.close();
      told.continued(kept);
    });
    find("talk-erase").addEventListener("click", () => this.erase());
    confirmed(find("talk-delete"), "deleteJob", () => this.remove(this.open));
    confirmed(find("talks-clear"), "talksClear", () => {
      this.store.clear();
      told.removed("");
      this.read(null);
    });
    const formats = Object.keys(FORMATS).map((format) => {
      const button = part("button", "plain", format);
      button.type = "button";
      button.ariaLabel = text("forThis", { action: text("download"), name: format });
      button.addEventListener("click", () => download(this.open, format));
      return button;
    });
    find("talk-formats").replaceChildren(...formats);
  }

  /** Ask for consent, if the user has not decided yet. @param {boolean} records whether the service records */
  askToRecord(records) {
    find("may-record").hidden = !records || this.store.decided;
  }

  show() {
    find("talks-keep").checked = this.store.on;
    find("talks-record").checked = this.store.recordable;
    find("talks-search").value = "";
    this.read(null);
    this.dialog.showModal();
  }

  /** @private */
  list() {
    const wanted = folded(find("talks-search").value.trim());
    const all = this.store.list();
    const found = all.map((kept) => ({ kept, hit: hit(kept, wanted) })).filter(({ hit }) => hit !== undefined);
    const items = found.map(({ kept, hit }) => {
      const item = document.createElement("li");
      const button = part("button", "talk-item", "");
      button.type = "button";
      button.append(part("b", "", title(kept)), part("small", "", when(kept.changed)));
      if (hit) button.append(part("span", "talk-hit", hit));
      button.addEventListener("click", () => this.read(kept));
      item.append(button);
      return item;
    });
    find("talks-items").replaceChildren(...items);
    find("talks-none").hidden = items.length > 0;
    find("talks-none").textContent = text(all.length ? "talksNotFound" : this.store.on ? "talksNone" : "talksOff");
    find("talks-clear").hidden = !all.length;
  }

  /** @private @param {Kept | null} kept null: show the list */
  read(kept) {
    this.replay.stop();
    this.open = kept;
    find("talks-list").hidden = Boolean(kept);
    find("talk-read").hidden = !kept;
    if (!kept) {
      this.list();
      return;
    }
    find("talk-title").textContent = title(kept);
    find("talk-about").textContent = [when(kept.began), kept.persona].filter(Boolean).join(" · ");
    find("talk-recorded").hidden = !kept.recorded.length;
    find("talk-recorded-words").textContent = text("talkRecorded");
    find("talk-erase").hidden = false;
    find("talk-turns").replaceChildren(...kept.messages.map((said) => this.entry(said)));
    find("talk-read").scrollTop = 0;
    find("talk-title").focus();
  }

  /** @private */
  entry({ role, content, rest, language }) {
    const entry = part("li", role === "user" ? "you" : "reply", "");
    const words = part("p", "", content);
    if (language) words.lang = language;
    if (rest) words.append(" ", part("span", "mark", `${text("interrupted")} `), part("s", "unheard", rest.trim()));
    entry.append(part("span", "speaker", text(role === "user" ? "you" : "assistant")), words);
    if (role === "assistant") entry.append(this.replay.offer(content + (rest ?? "")));
    return entry;
  }

  /** @private */
  remove({ id }) {
    this.store.remove(id);
    this.told.removed(id);
    this.read(null);
    find("talks-search").focus(); // the pressed button is gone
  }

  /** Erase what the service has kept of this conversation (docs/operations.md). @private */
  async erase() {
    const kept = this.open;
    let how = "recordedFailed";
    try {
      const headers = withKey(this.told.key());
      for (const session of [...kept.recorded]) {
        const { status } = await fetch(new URL(`recordings/${session}`, document.baseURI), { method: "DELETE", headers });
        if (status !== 204) throw new Error(String(status));
        kept.recorded = kept.recorded.filter((one) => one !== session);
      }
      how = "recordedErased";
    } catch {
      // no response, or refused: the words say it
    }
    this.store.put(kept);
    find("talk-erase").hidden = !kept.recorded.length;
    find("talk-recorded-words").textContent = text(how);
  }
}

/** @param {string} wanted folded @returns {string | undefined} the words around it; "" if nothing is wanted */
function hit(kept, wanted) {
  if (!wanted) return "";
  for (const { content, rest = "" } of kept.messages) {
    const whole = content + rest;
    const at = folded(whole).indexOf(wanted);
    if (at >= 0) return `${at > 30 ? "…" : ""}${whole.slice(Math.max(0, at - 30), at + 90)}`;
  }
  return undefined;
}

/** @param {string} words @returns {string} without case and accents, of the same length */
const folded = (words) => [...words].map((one) => one.normalize("NFD")[0].toLowerCase().slice(0, one.length).padEnd(one.length)).join("");

/** Do something at the second press. */
function confirmed(button, name, act) {
  button.addEventListener("click", () => {
    if (button.dataset.sure) act();
    button.dataset.sure = button.dataset.sure ? "" : "1";
    button.textContent = text(button.dataset.sure ? "deleteSure" : name);
  });
  button.addEventListener("blur", () => {
    button.dataset.sure = "";
    button.textContent = text(name);
  });
}

export function part(tag, name, content) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (content) made.textContent = content;
  return made;
}
