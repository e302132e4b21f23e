/** Undo, redo, and the list of a transcript's versions, the first of which is the recogniser's. */

import { moment } from "../jobs/formats.js";
import { element } from "../jobs/row.js";
import { text } from "../texts.js";

const find = (id) => document.getElementById(id);

export class History {
  /**
   * @param {import("../jobs/service.js").Service} service
   * @param {import("./document.js").TranscriptDocument} transcript
   * @param {(error: Error) => void} trouble
   */
  constructor(service, transcript, trouble) {
    this.service = service;
    this.transcript = transcript;
    this.trouble = trouble;
    find("undo").addEventListener("click", () => transcript.undo());
    find("redo").addEventListener("click", () => transcript.redo());
    find("versions").addEventListener("toggle", () => find("versions").open && this.list());
    document.addEventListener("keydown", (event) => this.key(event));
  }

  /** Another transcript is open. */
  open() {
    find("versions").open = false;
    this.show();
  }

  /** The transcript has changed. */
  show() {
    find("undo").disabled = !this.transcript.past.length;
    find("redo").disabled = !this.transcript.future.length;
    find("versions").hidden = !this.transcript.version;
    if (find("versions").open) this.list();
  }

  /** @private */
  async list() {
    const { id } = this.transcript;
    try {
      const { versions } = await this.service.json(`jobs/${id}/versions`);
      if (id !== this.transcript.id) return;
      const original = { version: 0, operations: [] };
      find("version-list").replaceChildren(...[...versions, original].map((one) => this.row(one)));
    } catch (error) {
      this.trouble(error);
    }
  }

  /** @private */
  row({ version, created_at: at, author, operations, restored }) {
    const what = version
      ? operations.map((one) => text(`operation_${one}`, { version: restored ?? 0 })).join(", ")
      : text("versionFirst");
    const row = element("li");
    row.append(element("span", "", [at && moment(at), author, what].filter(Boolean).join(" · ")));
    if (version === this.transcript.version) {
      row.append(element("b", "", text("versionNow")));
      return row;
    }
    const button = element("button", "text-link", text("versionRestore"));
    button.type = "button";
    button.setAttribute("aria-label", text("versionRestoreThis", { version }));
    button.addEventListener("click", () => this.transcript.restore(version));
    row.append(button);
    return row;
  }

  /** Ctrl+Z and Ctrl+Shift+Z, outside of text fields, which have their own. @private */
  key(event) {
    const command = event.ctrlKey || event.metaKey;
    const field = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (!command || event.altKey || field || !find("undo").checkVisibility()) return;
    const key = event.key.toLowerCase();
    if (key === "z" && !event.shiftKey) this.transcript.undo();
    else if ((key === "z" && event.shiftKey) || key === "y") this.transcript.redo();
    else return;
    event.preventDefault();
  }
}
