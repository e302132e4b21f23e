/** Files on their way to the service: one after the other, each with its progress. `fetch` tells none. */

import { errorOf, newKey, ServiceError } from "./service.js";

let count = 0;
/** What the service calls what desktops put beside the files: nobody misses that. */
const HIDDEN = "a hidden file";

/** One file. `state`: waits, sending, sent, partly (an archive with things in it that are no recordings), failed. */
export class Upload {
  /** @param {File} file @param {Record<string, string>} fields of the form */
  constructor(file, fields) {
    this.id = `upload-${++count}`;
    this.file = file;
    this.fields = fields;
    this.key = newKey();
    this.state = "waits";
    this.share = 0;
    /** @type {ServiceError | null} */
    this.error = null;
    /** @type {string[]} names in an archive that are no recordings */
    this.skipped = [];
  }

  get name() {
    return this.file.name;
  }
}

export class Uploads {
  /**
   * @param {import("./service.js").Service} service
   * @param {object} told
   * @param {(upload: Upload) => void} told.changed
   * @param {(upload: Upload, made: {job_id: string, filename: string}[]) => void} told.made
   */
  constructor(service, told) {
    this.service = service;
    this.told = told;
    /** @type {Upload[]} */
    this.list = [];
    /** @type {XMLHttpRequest | null} */
    this.request = null;
    window.addEventListener("beforeunload", (event) => {
      if (this.list.some(({ state }) => ["waits", "sending"].includes(state))) event.preventDefault();
    });
  }

  /** @param {Upload} upload */
  add(upload) {
    this.list.push(upload);
    this.told.changed(upload);
    this.next();
  }

  /** Again, after it failed: with the same key, so that what arrived after all is not done twice. */
  retry(upload) {
    upload.state = "waits";
    upload.error = null;
    this.told.changed(upload);
    this.next();
  }

  /** @param {Upload} upload that is not wanted any more */
  remove(upload) {
    this.list = this.list.filter((one) => one !== upload);
    if (this.sending === upload) this.request?.abort();
    this.told.changed(upload);
    this.next();
  }

  /** Whether there is more to send, or to decide. */
  get busy() {
    return this.list.some(({ state }) => state !== "partly");
  }

  /** @private */
  get sending() {
    return this.list.find(({ state }) => state === "sending");
  }

  /** @private */
  async next() {
    const upload = this.list.find(({ state }) => state === "waits");
    if (!upload || this.request) return;
    upload.state = "sending";
    upload.share = 0;
    try {
      const { jobs, skipped = [] } = await this.send(upload);
      upload.skipped = skipped.filter(({ reason }) => reason !== HIDDEN).map(({ filename }) => filename.replace(/^[^/]*\//, ""));
      // What was left out of an archive is told until it is dismissed.
      upload.state = upload.skipped.length ? "partly" : "sent";
      if (upload.state === "sent") this.list = this.list.filter((one) => one !== upload);
      this.told.made(upload, jobs);
    } catch (error) {
      upload.state = "failed";
      upload.error = error;
      if (this.list.includes(upload)) this.told.changed(upload);
    }
    this.request = null;
    this.next();
  }

  /** @private */
  send(upload) {
    const form = new FormData();
    for (const [name, value] of Object.entries(upload.fields)) form.append(name, value);
    form.append("files", upload.file, upload.file.name);
    return new Promise((done, failed) => {
      const request = (this.request = new XMLHttpRequest());
      request.open("POST", this.service.url("jobs"));
      for (const [name, value] of Object.entries(this.service.headers)) request.setRequestHeader(name, value);
      request.setRequestHeader("Idempotency-Key", upload.key);
      request.upload.onprogress = ({ loaded, total }) => {
        upload.share = total ? loaded / total : 0;
        this.told.changed(upload);
      };
      request.onload = () => {
        if (request.status === 202) done(JSON.parse(request.responseText));
        else failed(errorOf(request.status, request.responseText, this.service.key()));
      };
      request.onerror = request.onabort = () => failed(new ServiceError("away"));
      request.send(form);
    });
  }
}
