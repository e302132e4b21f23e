/** "Transcribe again with …": another job for the same recording, with other options. */

import { element } from "../jobs/row.js";
import { offerLanguages } from "../jobs/upload-form.js";
import { text } from "../texts.js";

const find = (id) => document.getElementById(id);

export class Again {
  /**
   * @param {import("../jobs/service.js").Service} service
   * @param {object} told callbacks
   * @param {(job: {job_id: string, filename: string}) => void} told.made
   * @param {(error: Error) => void} told.trouble
   */
  constructor(service, told) {
    this.service = service;
    this.told = told;
    this.box = find("again");
    this.box.addEventListener("toggle", () => this.box.open && this.fill());
  }

  /** @param {object} job that can be transcribed again */
  open(job) {
    if (this.job?.job_id !== job.job_id) this.box.open = false;
    this.job = job;
    this.box.hidden = !job.size || !["completed", "failed", "cancelled", "expired"].includes(job.status);
  }

  /** Hide it until a job is open. */
  close() {
    this.box.hidden = true;
    this.box.open = false;
  }

  /** The fields are those of the upload form, with the options of this job. @private */
  fill() {
    this.form?.remove();
    this.form = find("job-options").cloneNode(true);
    this.form.removeAttribute("id");
    const { language, model_id: model, diarize, speakers } = this.form.elements;
    const known = [...model.options].some(({ value }) => value === this.job.model_id);
    model.value = known ? this.job.model_id : "";
    offerLanguages(this.form);
    const before = this.job.language ?? "auto";
    language.value = [...language.options].some(({ value }) => value === before) ? before : "auto";
    model.addEventListener("change", () => offerLanguages(this.form));
    diarize.checked = this.job.diarize && !diarize.disabled;
    speakers.value = "";
    const shown = () => (speakers.closest("label").hidden = !diarize.checked);
    diarize.addEventListener("change", shown);
    shown();
    const send = element("button", "primary", text("againSend"));
    send.type = "submit";
    this.form.append(send);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send(send);
    });
    this.box.append(this.form);
  }

  /** @private */
  async send(button) {
    const { language, model_id: model, diarize, speakers } = this.form.elements;
    const count = diarize.checked && Number(speakers.value);
    const options = {
      ...(language.value !== "auto" && { language: language.value }),
      ...(model.value && { model_id: model.value }),
      diarize: diarize.checked,
      ...(count && { min_speakers: count, max_speakers: count }),
    };
    button.disabled = true;
    try {
      const made = await this.service.send("POST", `jobs/${this.job.job_id}/again`, options);
      this.box.open = false;
      this.told.made(made);
    } catch (error) {
      this.told.trouble(error);
    } finally {
      button.disabled = false;
    }
  }
}
