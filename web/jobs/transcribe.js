/** The Transcribe tab: uploads, the list of jobs, and one open result. */

import { explained, text } from "../texts.js";
import { ErrorNotice } from "../error-notice.js";
import { SearchHits } from "../library/hits.js";
import { library, loadLibrary } from "../library/library.js";
import { Selection, saveBlob } from "../library/selection.js";
import { RecordingPanel } from "../recording/panel.js";
import { UploadForm } from "./upload-form.js";
import { JobList, PASSING } from "./list.js";
import { ResultView } from "./result.js";
import { Row, shownJob, shownUpload } from "./row.js";
import { newKey, Service } from "./service.js";
import { Upload, Uploads } from "./upload.js";

const find = (id) => document.getElementById(id);
const TAB = "#transcribe";
/** Errors that another key can fix. */
const OF_KEYS = ["key", "key_needed", "jobs_right"];
/** Delay between the last key press and the search, in ms. */
const TYPING_MS = 300;

export class Transcribe {
  /** @param {import("../sign-in.js").SignIn} signIn */
  constructor(signIn) {
    this.signIn = signIn;
    this.service = new Service(() => signIn.key);
    this.trouble = new ErrorNotice(find("jobs-trouble"), find("jobs-trouble-words"), find("jobs-trouble-action"));
    this.form = new UploadForm((files) => this.take(files), (url) => this.fetch(url));
    /** Of the service; empty: unknown. @type {{file_bytes?: number, file_seconds?: number}} */
    this.limits = {};
    this.uploads = new Uploads(this.service, {
      changed: () => this.showUploads(),
      made: (upload, jobs) => {
        if (upload.kept) this.recording.sent(upload.kept);
        this.made(jobs);
      },
      removed: (upload) => upload.kept && this.recording.unsent(upload.kept),
      limits: () => this.limits,
    });
    this.recording = new RecordingPanel({
      send: (file, kept) => this.uploads.add(new Upload(file, this.form.fields, kept)),
      fill: (url) => this.form.setUrl(url),
      limits: () => this.limits,
      announce: (name, values) => this.announce(name, values),
    });
    this.list = new JobList(this.service, {
      changed: () => this.showJobs(),
      moved: (job) => this.moved(job),
      trouble: (error) => this.tell(error),
    });
    this.result = new ResultView(this.service, {
      trouble: (error) => this.tell(error),
      announce: (name, values) => this.announce(name, values),
      made: async (jobs) => {
        await this.made(jobs);
        location.hash = `${TAB}/${jobs[0].job_id}`;
      },
      arranged: (job) => this.arranged(job),
    });
    this.hits = new SearchHits(find("hits"), this.service, {
      opened: (id, seconds) => {
        this.result.from = { id, seconds };
        location.hash = `${TAB}/${id}`;
        this.result.playFrom();
      },
      trouble: (error) => this.tell(error),
    });
    this.selection = new Selection(find("selection"), find("choose-jobs"), find("jobs"), this.service, {
      shown: () => this.list.jobs.keys(),
      deleted: (ids) => {
        if (ids.includes(this.result.id)) location.hash = TAB;
        for (const id of ids) this.list.forget(id);
        this.list.refresh();
      },
      trouble: (error) => this.tell(error),
    });
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    this.uploadRows = new Map();

    find("older").addEventListener("click", () => this.list.more());
    find("back").addEventListener("click", () => (location.hash = TAB));
    find("jobs-search").addEventListener("input", ({ target }) => {
      clearTimeout(this.typing);
      this.typing = setTimeout(async () => {
        const wanted = target.value.trim();
        await Promise.all([this.list.find(wanted), this.hits.find(wanted)]);
        if (wanted) target.closest(".jobs-head").scrollIntoView({ block: "start" }); // what is found is below it
      }, TYPING_MS);
    });
    find("jobs-filter").addEventListener("change", ({ target }) => {
      const [kind, value] = JSON.parse(target.value || "[]");
      this.list.choose(kind ? { [kind]: value } : {});
    });
    signIn.addEventListener("change", () => this.visible && this.begin());
    window.addEventListener("hashchange", () => this.route());
    document.addEventListener("visibilitychange", () => this.route());
    this.route();
  }

  /** @private */
  get visible() {
    return !find("transcribe").hidden && document.visibilityState === "visible";
  }

  /** Follow the address: the tab, and the job in it. @private */
  route() {
    const [tab, id = ""] = location.hash.split("/");
    if (!this.visible) return this.list.rest();
    this.list.read = tab === TAB ? id : ""; // at /ui without a name
    this.result.open(this.list.read);
    this.begin();
  }

  /** @private */
  async begin() {
    this.showLibrary();
    await this.list.refresh();
    try {
      this.form.setModels((await this.service.json("models")).models);
    } catch {
      // The list has reported the error.
    }
  }

  /** Take in a job whose name, tags or pin have changed. @private */
  async arranged(job) {
    this.list.note(job);
    this.result.note(job);
    await this.showLibrary();
  }

  /** The filter by tags and pins. @private */
  async showLibrary() {
    try {
      const { tags } = await loadLibrary(this.service);
      const names = Object.keys(tags);
      find("known-tags").replaceChildren(...names.map((name) => new Option(name)));
      const filter = find("jobs-filter");
      const { value } = filter;
      const option = (label, ...chosen) => new Option(label, chosen.length ? JSON.stringify(chosen) : "");
      const options = names.map((name) => option(`${name} (${tags[name]})`, "tag", name));
      filter.replaceChildren(option(text("allTags")), option(text("pinnedOnly"), "pinned", "true"), ...options);
      filter.value = value;
      if (filter.selectedIndex < 0) {
        filter.selectedIndex = 0; // the last job with this tag has lost it
        this.list.choose({});
      }
      this.showJobs();
      this.result.insights.render();
    } catch {
      // The list reports the error.
    }
  }

  // --- user actions ---

  /** @private */
  take(files) {
    for (const file of files) this.uploads.add(new Upload(file, this.form.fields));
  }

  /** @private */
  async fetch(url) {
    // The same address again after an error is the same request.
    if (this.asked?.url !== url) this.asked = { url, key: newKey() };
    const headers = { "Idempotency-Key": this.asked.key };
    const button = find("url-send");
    button.disabled = true;
    try {
      const job = await this.service.send("POST", "api/v1/upload/url", { url, ...this.form.wishes }, headers);
      this.asked = null;
      this.form.clearUrl();
      this.trouble.hide();
      await this.made([{ ...job, filename: url }]);
    } catch (error) {
      this.tell(error);
    } finally {
      button.disabled = false;
    }
  }

  /** @private */
  async act(action, job) {
    try {
      if (action === "deleteJob") {
        await this.service.ask(`jobs/${job.job_id}`, { method: "DELETE" });
        if (this.result.id === job.job_id) location.hash = TAB;
        this.list.forget(job.job_id);
      } else {
        const verb = action === "cancelJob" ? "cancel" : "retry";
        this.list.note(await this.service.json(`jobs/${job.job_id}/${verb}`, { method: "POST" }));
      }
    } catch (error) {
      this.tell(error);
    }
    this.list.refresh();
  }

  /** @private */
  actUpload(action, upload) {
    if (action === "retryJob") this.uploads.retry(upload);
    else if (action === "saveRecording") saveBlob(upload.file, upload.file.name);
    else this.uploads.remove(upload);
  }

  // --- events ---

  /** @private */
  async made(jobs) {
    for (const { filename: name } of jobs) this.announce("announceAdded", { name });
    // A single job is opened, unless another is open.
    const alone = jobs.length === 1 && !this.uploads.busy && !this.result.id && wide();
    this.showUploads();
    await this.list.refresh();
    if (alone && this.visible) location.hash = `${TAB}/${jobs[0].job_id}`;
  }

  /** @private */
  moved(job) {
    this.result.note(job);
    const { filename: name, status, error } = job;
    if (status === "completed") this.announce("announceDone", { name });
    if (status === "failed") this.announce("announceFailed", { name, message: error ? explained(error.code, error.message) : "" });
  }

  /** @private */
  tell(error) {
    if (!error) return this.trouble.hide(...PASSING, ...OF_KEYS);
    const { code } = error;
    const ask = OF_KEYS.includes(code) && { name: "signIn", act: () => this.signIn.ask(code) };
    this.trouble.show(error, PASSING.includes(code) ? { name: "tryNow", act: () => this.begin() } : ask || undefined);
  }

  /** For screen readers. @private */
  announce(name, values) {
    find("announcer").textContent = text(name, values);
  }

  // --- view ---

  /** @private */
  showUploads() {
    const { list } = this.uploads;
    for (const upload of list) {
      let row = this.uploadRows.get(upload);
      if (!row) {
        row = new Row({ acted: (action) => this.actUpload(action, upload) });
        this.uploadRows.set(upload, row);
        find("uploads").append(row.element);
      }
      row.show(shownUpload(upload));
    }
    for (const [upload, row] of this.uploadRows) {
      if (list.includes(upload)) continue;
      row.element.remove();
      this.uploadRows.delete(upload);
    }
    this.showEmpty();
  }

  /** @private */
  showJobs() {
    const { jobs, counts, cursor, search } = this.list;
    for (const [id, row] of this.rows) {
      if (jobs.has(id)) continue;
      row.element.remove();
      this.rows.delete(id);
    }
    let place = find("jobs").firstElementChild;
    for (const job of jobs.values()) {
      const row = this.row(job.job_id);
      row.show(shownJob(job));
      row.current = job.job_id === this.result.id;
      // Move a row only if it is out of place, so that the focus is kept.
      if (row.element === place) place = place.nextElementSibling;
      else find("jobs").insertBefore(row.element, place);
    }
    const reading = jobs.get(this.result.id);
    if (reading) this.result.note(reading);
    const { queued, processing } = counts;
    find("counts").textContent = queued + processing ? text("counts", { queued, processing }) : "";
    this.selection.keep((id) => jobs.has(id));
    find("older").hidden = !cursor;
    find("older").textContent = text(search ? "searchOn" : "older");
    this.showEmpty();
  }

  /** @private */
  showEmpty() {
    const { jobs, search, loaded } = this.list;
    const empty = loaded && !jobs.size && !this.uploads.list.length;
    const filtered = Object.keys(this.list.filter).length > 0;
    find("no-jobs").textContent = text(search ? "nothingFound" : filtered ? "nothingChosen" : "nothingYet", { search });
    find("no-jobs").hidden = !empty;
    find("jobs-search").hidden = empty && !search && !filtered;
    find("choose-jobs").hidden = !jobs.size;
    const pinned = [...jobs.values()].some((job) => job.pinned);
    find("jobs-filter").hidden = !filtered && !pinned && !Object.keys(library().tags).length;
    if (!jobs.size && this.selection.on) this.selection.turn(false);
  }

  /** @private */
  row(id) {
    let row = this.rows.get(id);
    if (!row) {
      row = new Row({
        id,
        opened: () => (location.hash = `${TAB}/${id}`),
        acted: (action) => this.act(action, this.list.jobs.get(id)),
      });
      this.rows.set(id, row);
    }
    return row;
  }
}

/** Whether list and transcript are side by side. */
const wide = () => matchMedia("(min-width: 56rem)").matches;
