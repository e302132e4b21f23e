/** A job's name, tags and pin, to be changed above its transcript; and when the service will delete it. */

import { text } from "../texts.js";
import { element } from "../jobs/row.js";
import { audioDeletion, deletion } from "./library.js";

const MAX_NAME = 255;
const MAX_TAG = 50;

export class Shelf {
  /**
   * @param {HTMLElement} box @param {HTMLElement} heading with the name
   * @param {import("../jobs/service.js").Service} service
   * @param {object} told callbacks
   * @param {(job: object) => void} told.changed
   * @param {(error: Error) => void} told.trouble
   */
  constructor(box, heading, service, told) {
    this.heading = heading;
    this.service = service;
    this.told = told;
    this.job = null;
    this.rename = this.button("renameJob", () => this.editName());
    this.pin = this.button("pinJob", () => this.send({ pinned: !this.job.pinned }));
    this.tags = element("span", "tags");
    this.adding = element("form", "add-tag");
    const input = element("input");
    Object.assign(input, { maxLength: MAX_TAG, placeholder: text("addTag"), autocomplete: "off" });
    input.setAttribute("aria-label", text("addTag"));
    input.setAttribute("list", "known-tags");
    input.pattern = '[^"\\\\]*';
    this.adding.append(input);
    this.adding.addEventListener("submit", (event) => {
      event.preventDefault();
      const tag = input.value.trim();
      input.value = "";
      if (tag) this.send({ tags: [...this.job.tags, tag] });
    });
    this.kept = element("p", "kept");
    const row = element("div", "shelf-row");
    row.append(this.rename, this.pin, this.tags, this.adding);
    box.append(row, this.kept);
    this.box = box;
  }

  /** @param {object} job */
  show(job) {
    const same = this.job?.job_id === job.job_id && String(this.job.tags) === String(job.tags);
    if (this.job?.job_id !== job.job_id) this.endName();
    this.job = job;
    this.pin.textContent = text(job.pinned ? "unpinJob" : "pinJob");
    this.pin.toggleAttribute("data-pressed", job.pinned);
    this.kept.textContent = [deletion(job), audioDeletion(job)].filter(Boolean).join(" · ");
    this.kept.hidden = !this.kept.textContent;
    if (!same) this.tags.replaceChildren(...job.tags.map((tag) => this.tag(tag)));
  }

  /** @private */
  tag(name) {
    const made = element("span", "tag", name);
    const remove = element("button", "", "×");
    remove.type = "button";
    remove.setAttribute("aria-label", text("removeTag", { tag: name }));
    remove.addEventListener("click", () => this.send({ tags: this.job.tags.filter((tag) => tag !== name) }));
    made.append(remove);
    return made;
  }

  /** @private */
  editName() {
    if (this.input) return this.endName();
    const input = (this.input = element("input", "new-name"));
    Object.assign(input, { value: this.job.filename, maxLength: MAX_NAME });
    input.setAttribute("aria-label", text("renameJob"));
    input.addEventListener("keydown", ({ key }) => {
      if (key === "Escape") this.endName();
      if (key === "Enter") input.blur();
    });
    input.addEventListener("blur", () => {
      const name = input.value.trim();
      const changed = this.input === input && name && name !== this.job.filename;
      this.endName();
      if (changed) this.send({ filename: name });
    });
    this.heading.hidden = true;
    this.heading.after(input);
    const dot = input.value.lastIndexOf(".");
    input.focus();
    input.setSelectionRange(0, dot > 0 ? dot : input.value.length);
  }

  /** @private */
  endName() {
    const { input } = this;
    this.input = null;
    input?.remove();
    this.heading.hidden = false;
  }

  /** @param {object} changes of the job */
  async send(changes) {
    try {
      const job = await this.service.send("PATCH", `jobs/${this.job.job_id}`, changes);
      this.told.changed(job);
    } catch (error) {
      this.told.trouble(error);
    }
  }

  /** @private */
  button(name, act) {
    const made = element("button", "plain", text(name));
    made.type = "button";
    // The field must not lose the focus first: its blur ends the renaming.
    made.addEventListener("mousedown", (event) => event.preventDefault());
    made.addEventListener("click", act);
    return made;
  }
}
