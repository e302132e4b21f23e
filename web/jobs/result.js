/** One job: its progress and, at the end, transcript, sound and downloads. */

import { Again } from "../documents/again.js";
import { PlayerControls } from "../documents/controls.js";
import { TranscriptDocument } from "../documents/document.js";
import { ParagraphEditor } from "../documents/editor.js";
import { History } from "../documents/history.js";
import { copyTool, editTool } from "../documents/paragraph-tools.js";
import { Speakers } from "../documents/speakers.js";
import { ErrorNotice } from "../error-notice.js";
import { languageName } from "../languages.js";
import { Insights } from "../library/insights.js";
import { FORMATS, formatQuery, saveBlob } from "../library/selection.js";
import { Shelf } from "../library/shelf.js";
import { explained, text } from "../texts.js";
import { TranscriptSearch } from "./transcript-search.js";
import { clock } from "./formats.js";
import { element, shownJob } from "./row.js";
import { Sound } from "./sound.js";
import { TranscriptView } from "./transcript.js";

const find = (id) => document.getElementById(id);
/** After the reader has scrolled, the transcript does not follow the sound for this time. */
const SCROLLED_MS = 4000;

export class ResultView {
  /**
   * @param {import("./service.js").Service} service
   * @param {object} told callbacks
   * @param {(error: Error) => void} told.trouble
   * @param {(name: string, values?: object) => void} told.announce
   * @param {(jobs: object[]) => void} told.made
   * @param {(job: object) => void} told.arranged the name, the tags or the pin of the job have changed
   */
  constructor(service, told) {
    this.service = service;
    this.told = told;
    this.box = find("result");
    this.id = "";
    this.scrolledAt = 0;
    const tools = () => [editTool((button) => this.editor.open(button)), copyTool((button) => this.copy(button))];
    this.transcript = new TranscriptView(find("transcript"), (seconds) => this.sound.play(seconds), tools);
    this.notice = new ErrorNotice(find("result-trouble"), find("result-trouble-words"), find("result-trouble-action"));
    const trouble = (error) => this.notice.show(error);
    this.document = new TranscriptDocument(service, {
      changed: () => this.changed(),
      reload: () => this.refresh(),
      trouble,
    });
    this.speakers = new Speakers(service, this.document, {
      trouble,
      announce: told.announce,
      color: (speaker) => this.transcript.color(speaker),
    });
    this.nameOf = (speaker) => this.speakers.nameOf(speaker);
    this.history = new History(service, this.document, trouble);
    this.controls = new PlayerControls(find("player"), service);
    this.editor = new ParagraphEditor(this.transcript, this.document, {
      nameOf: this.nameOf,
      playing: () => this.controls.toggle(),
      quiet: () => find("player").pause(),
    });
    this.again = new Again(service, { trouble, made: (job) => told.made([job]) });
    this.search = new TranscriptSearch(find("finding"), find("transcript"));
    this.sound = new Sound(find("player"), find("load-sound"), find("no-sound"), service, (seconds) => this.heard(seconds));
    this.shelf = new Shelf(find("shelf"), find("result-name"), service, { changed: told.arranged, trouble: told.trouble });
    this.insights = new Insights(find("insights"), service, {
      play: (seconds) => this.sound.play(seconds),
      rename: (filename) => this.shelf.send({ filename }),
      trouble: told.trouble,
    });
    for (const kind of ["wheel", "touchmove"]) {
      find("result-scroll").addEventListener(kind, () => (this.scrolledAt = Date.now()), { passive: true });
    }
    find("copy").hidden = !navigator.clipboard;
    find("copy").addEventListener("click", async () => {
      await navigator.clipboard.writeText(this.plain());
      told.announce("copied");
      find("copy").textContent = text("copied");
      setTimeout(() => (find("copy").textContent = text("copy")), 2000);
    });
  }

  /** @param {string} id of the job to open; "" for none */
  async open(id) {
    if (id === this.id) return;
    this.editor.save();
    this.notice.hide();
    this.id = id;
    this.result = null;
    this.ended = false;
    this.sound.close();
    this.again.close();
    this.insights.close();
    find("shelf").hidden = true;
    this.box.hidden = !id;
    find("pick").hidden = Boolean(id);
    find("transcribe").classList.toggle("reading", Boolean(id));
    find("result-body").hidden = true;
    find("result-about").textContent = find("result-name").textContent = find("result-state").textContent = "";
    if (id) await this.refresh();
  }

  /** Take in a job's new state. */
  async note(job) {
    if (job.job_id !== this.id) return;
    this.show(job);
    if (this.ended && !this.result) await this.refresh();
  }

  /** Load the job with its result, which lists and events lack. @private */
  async refresh() {
    const { id } = this;
    if (this.asking === id) return;
    this.asking = id;
    try {
      const job = await this.service.json(`jobs/${id}`);
      this.asking = "";
      if (id === this.id) this.show(job);
      // The job ended during the request: load again for its result.
      if (id === this.id && this.ended && job.status !== "completed") await this.refresh();
    } catch (error) {
      this.asking = "";
      if (id !== this.id) return;
      find("result-state").textContent = error.code === "job_not_found" ? explained(error.code, error.message) : "";
      this.told.trouble(error);
    }
  }

  /** @private */
  show(job) {
    this.job = job;
    if (job.status === "completed") this.ended = true;
    find("result-name").textContent = job.filename;
    this.sound.open(job);
    this.shelf.show(job);
    find("shelf").hidden = false;
    const state = find("result-state");
    const { percent, error } = shownJob(job);
    state.dataset.state = job.status;
    const words = { queued: "waitingFor", processing: "workingOn" }[job.status] ?? `job_${job.status}`;
    const left = job.seconds_left ? text("timeLeft", { time: clock(job.seconds_left) }) : "";
    state.textContent = [text(words), left, error].filter(Boolean).join(" ");
    state.hidden = job.status === "completed";
    const bar = find("result-progress");
    bar.hidden = percent === null;
    bar.setAttribute("aria-label", text("progressOf", { name: job.filename }));
    bar.setAttribute("aria-valuenow", String(percent ?? 0));
    bar.style.setProperty("--done", String((percent ?? 0) / 100));
    if (job.result && job.result !== this.result) this.showResult(job);
    find("partial").textContent = job.partial ? `… ${job.partial} …` : "";
    find("partial").hidden = !job.partial;
    this.about(job);
    this.again.open(job);
    this.controls.open(job, Boolean(job.size) && job.status === "completed");
    find("result-body").hidden = !this.result;
  }

  /** @private */
  about({ duration, attempts, source_url: url }) {
    const { result } = this;
    const told = [
      duration && text("aboutDuration", { duration: clock(duration) }),
      result?.language && languageName(result.language),
      result?.engine && text("aboutEngine", { engine: result.engine }),
      attempts > 1 && text("aboutAttempt", { number: attempts }),
      url,
    ];
    find("result-about").textContent = told.filter(Boolean).join(" · ");
  }

  /** @private */
  showResult(job) {
    this.result = job.result;
    this.document.open(job);
    this.transcript.show(job.result, this.nameOf);
    if (!job.result.segments.length) find("transcript").append(element("p", "nothing", text("nothingHeard")));
    this.search.reset();
    this.speakers.open();
    this.history.open();
    if (!find("downloads").childElementCount) find("downloads").append(...FORMATS.map((kind) => this.downloadLink(kind)));
    for (const link of find("downloads").children) link.href = this.service.url(this.downloadPath(link.dataset.kind));
    this.insights.open(job);
    this.playFrom();
  }

  /** Play from the place that the user chose before the job was open. */
  playFrom() {
    if (!this.from || this.from.id !== this.id || !this.result) return;
    const { seconds } = this.from;
    this.from = null;
    this.sound.play(seconds);
    const [word] = [...find("transcript").querySelectorAll("[data-at]")].filter(({ dataset }) => Number(dataset.at) >= seconds);
    word?.scrollIntoView({ block: "center" });
  }

  /** The transcript was edited. @private */
  changed() {
    this.transcript.update(this.document.segments, this.nameOf);
    this.editor.check();
    this.notice.hide();
    this.search.forget();
    this.speakers.show();
    this.history.show();
    for (const link of find("downloads").children) link.href = this.service.url(this.downloadPath(link.dataset.kind));
  }

  /** Copy one paragraph. @private */
  async copy(button) {
    await navigator.clipboard.writeText(plain(button.closest(".paragraph")));
    this.told.announce("copied");
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 2000);
  }

  /** @private */
  heard(seconds) {
    const word = this.transcript.mark(seconds);
    if (!word || find("player").paused || Date.now() - this.scrolledAt < SCROLLED_MS) return;
    const view = find("result-scroll").getBoundingClientRect();
    const place = word.getBoundingClientRect();
    if (place.top < view.top + 40 || place.bottom > view.bottom - 40) word.scrollIntoView({ block: "center" });
  }

  /** The text to copy: paragraphs with speakers. @private */
  plain() {
    return [...find("transcript").querySelectorAll(".paragraph")].map(plain).join("\n\n");
  }

  /** @private */
  downloadPath(kind) {
    return `jobs/${this.id}/download?${formatQuery(kind)}`;
  }

  /** A plain link; with a key, which a link cannot send, the file is fetched first. @private */
  downloadLink(kind) {
    const link = element("a", "plain", kind.toUpperCase());
    link.dataset.kind = kind;
    link.download = "";
    link.setAttribute("aria-label", `${text("download")} ${kind.toUpperCase()}`);
    link.addEventListener("click", async (event) => {
      if (!this.service.key() && kind !== "pdf") return; // a PDF can be refused, which a plain link would not show
      event.preventDefault();
      try {
        const blob = await (await this.service.ask(this.downloadPath(kind))).blob();
        saveBlob(blob, `${this.job.filename.replace(/\.[^.]*$/, "")}.${kind}`);
      } catch (error) {
        this.told.trouble(error);
      }
    });
    return link;
  }
}

/** The text of a paragraph's element, with its speaker. */
function plain(paragraph) {
  return [paragraph.querySelector(".who")?.textContent, paragraph.querySelector("p").textContent].filter(Boolean).join(": ");
}
