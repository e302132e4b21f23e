/** Uploads: one after the other, each with its progress, which `fetch` does not report. */

import { refusalOf } from "./file-check.js";
import { errorOf, newKey, ServiceError } from "./service.js";

let count = 0;
/** The service's reason for skipping files that desktops add (.DS_Store, …): these are not worth a message. */
const HIDDEN = "a hidden file";

/** One file. `state`: waits, sending, sent, partly (an archive with files that are not recordings), failed. */
export class Upload {
  /**
   * @param {File} file @param {Record<string, string>} fields of the form
   * @param {string} kept id of a recording or a shared file that this browser keeps until it is sent; "" for a file
   */
  constructor(file, fields, kept = "") {
    this.id = `upload-${++count}`;
    this.file = file;
    this.fields = fields;
    this.kept = kept;
    this.key = kept || newKey(); // a recording that was sent before the page was closed is not run twice
    this.state = "waits";
    this.share = 0;
    /** @type {ServiceError | null} */
    this.error = null;
    /** Whether the service would refuse the file each time. */
    this.refused = false;
    /** @type {string[]} names of files in an archive that are not recordings */
    this.skipped = [];
  }

  get name() {
    return this.file.name;
  }
}

export class Uploads {
  /**
   * @param {import("./service.js").Service} service
   * @param {object} told callbacks
   * @param {(upload: Upload) => void} told.changed
   * @param {(upload: Upload, made: {job_id: string, filename: string}[]) => void} told.made
   * @param {(upload: Upload) => void} told.removed cancelled or dismissed
   * @param {() => {file_bytes?: number}} told.limits of the service; empty: unknown
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
    upload.error = refusalOf(upload.file, this.told.limits());
    upload.refused = Boolean(upload.error);
    if (upload.refused) upload.state = "failed";
    this.told.changed(upload);
    this.next();
  }

  /** Retry a failed upload with the same key, so that an upload that did arrive is not run twice. */
  retry(upload) {
    upload.state = "waits";
    upload.error = null;
    this.told.changed(upload);
    this.next();
  }

  /** @param {Upload} upload to cancel or dismiss */
  remove(upload) {
    this.list = this.list.filter((one) => one !== upload);
    if (upload.state === "sending") this.request?.abort();
    this.told.changed(upload);
    this.told.removed(upload);
    this.next();
  }

  /** Whether uploads are waiting, running or failed. */
  get busy() {
    return this.list.some(({ state }) => state !== "partly");
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
      // Files skipped in an archive are shown until the user dismisses the row.
      upload.state = upload.skipped.length ? "partly" : "sent";
      if (upload.state === "sent") this.list = this.list.filter((one) => one !== upload);
      this.told.made(upload, jobs);
    } catch (error) {
      upload.state = "failed";
      upload.error = error;
      if (error.code === "idempotency_key_reused") upload.key = newKey(); // sent before, with other options
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
