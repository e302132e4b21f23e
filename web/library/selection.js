/** Several jobs at once: choose them in the list, then download or delete them together. */

import { text } from "../texts.js";
import { element } from "../jobs/row.js";

/** At most this many jobs in one request. */
const MOST = 500;
/** How long the button for deletion asks for confirmation. */
const SURE_MS = 4000;
export const FORMATS = ["txt", "docx", "pdf", "md", "srt", "vtt", "ttml", "json"];

/** Layout of downloaded subtitles: two lines of 42 characters, at most 7 s, readable at 17 characters a second. */
export const SUBTITLES = "line_width=42&max_lines=2&max_cue_s=7&max_chars_per_s=17";
const LAID_OUT = ["srt", "vtt", "ttml"];
/** The query of a download in this format. */
export const formatQuery = (kind) => `format=${kind}${LAID_OUT.includes(kind) ? `&${SUBTITLES}` : ""}`;

export class Selection {
  /**
   * @param {HTMLElement} bar @param {HTMLButtonElement} begin @param {HTMLElement} list of jobs
   * @param {import("../jobs/service.js").Service} service
   * @param {object} told callbacks
   * @param {() => Iterable<string>} told.shown the ids in the list
   * @param {(ids: string[]) => void} told.deleted
   * @param {(error: Error) => void} told.trouble
   */
  constructor(bar, begin, list, service, told) {
    this.bar = bar;
    this.begin = begin;
    this.list = list;
    this.service = service;
    this.told = told;
    /** @type {Set<string>} */
    this.ids = new Set();
    this.count = element("output");
    this.all = this.button("chooseAll", () => this.choose([...told.shown()].slice(0, MOST)));
    this.format = element("select");
    this.format.setAttribute("aria-label", text("formatLabel"));
    this.format.append(...FORMATS.map((kind) => new Option(kind.toUpperCase(), kind)));
    this.save = this.button("download", () => this.download());
    this.gone = this.button("deleteJob", () => this.delete());
    bar.append(this.count, this.all, this.format, this.save, this.gone);
    begin.addEventListener("click", () => this.turn(!this.on));
    list.addEventListener("change", ({ target }) => {
      if (!target.matches(".chosen")) return;
      if (target.checked) this.ids.add(target.value);
      else this.ids.delete(target.value);
      this.show();
    });
  }

  get on() {
    return this.begin.hasAttribute("data-pressed");
  }

  /** @param {boolean} on whether jobs can be chosen */
  turn(on) {
    this.begin.toggleAttribute("data-pressed", on);
    this.begin.textContent = text(on ? "chooseEnd" : "chooseJobs");
    this.bar.hidden = !on;
    this.list.classList.toggle("choosing", on);
    this.choose([]);
  }

  /** Keep only chosen jobs that still exist. @param {(id: string) => boolean} exists */
  keep(exists) {
    const before = this.ids.size;
    this.ids = new Set([...this.ids].filter(exists));
    if (before !== this.ids.size) this.show();
  }

  /** @private */
  choose(ids) {
    this.ids = new Set(ids);
    for (const box of this.list.querySelectorAll(".chosen")) box.checked = this.ids.has(box.value);
    this.show();
  }

  /** @private */
  show() {
    this.count.textContent = text("chosen", { count: this.ids.size });
    for (const control of [this.save, this.gone]) control.disabled = !this.ids.size;
    this.unsure();
  }

  /** @private */
  async download() {
    const kind = this.format.value;
    this.save.disabled = true;
    try {
      const options = {
        method: "POST",
        body: JSON.stringify({ ids: [...this.ids].slice(0, MOST), format: kind }),
        headers: { "Content-Type": "application/json" },
      };
      const answer = await this.service.ask(`library/download?${formatQuery(kind)}`, options);
      saveBlob(await answer.blob(), "transcripts.zip");
    } catch (error) {
      this.told.trouble(error);
    }
    this.show();
  }

  /** @private */
  async delete() {
    if (!this.sure) {
      this.sure = setTimeout(() => this.unsure(), SURE_MS);
      this.gone.textContent = text("deleteSure");
      return;
    }
    this.unsure();
    try {
      const { deleted } = await this.service.send("POST", "library/delete", { ids: [...this.ids].slice(0, MOST) });
      this.turn(false);
      this.told.deleted(deleted);
    } catch (error) {
      this.told.trouble(error);
    }
  }

  /** @private */
  unsure() {
    clearTimeout(this.sure);
    this.sure = 0;
    this.gone.textContent = text("deleteJob");
  }

  /** @private */
  button(name, act) {
    const made = element("button", "plain", text(name));
    made.type = "button";
    made.addEventListener("click", act);
    return made;
  }
}

/** Save a file that was fetched. */
export function saveBlob(blob, name) {
  const made = element("a");
  made.href = URL.createObjectURL(blob);
  made.download = name;
  made.click();
  setTimeout(() => URL.revokeObjectURL(made.href), 10_000);
}
