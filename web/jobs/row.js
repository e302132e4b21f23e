/** One row of the list: name, progress and actions. */

import { deletion } from "../library/library.js";
import { explained, text } from "../texts.js";
import { clock, moment } from "./formats.js";

/** How long a button for an irreversible action asks for confirmation. */
const SURE_MS = 4000;

/** A job's fields for a row. */
export function shownJob(job) {
  const percent = Math.floor(job.progress);
  const again = job.status === "queued" && job.error;
  const words = [
    text(again ? "job_again" : `job_${job.status}`, { percent }),
    job.seconds_left && text("timeLeftShort", { time: clock(job.seconds_left) }),
    job.duration && clock(job.duration),
    moment(job.created_at),
    job.pinned && text("pinned"),
    deletion(job),
  ];
  return {
    name: job.filename,
    state: job.status,
    words: words.filter(Boolean).join(" · "),
    percent: job.status === "processing" ? percent : null,
    tags: job.tags,
    error: job.error ? explained(job.error.code, job.error.message) : "",
    actions: {
      queued: ["cancelJob"],
      processing: ["cancelJob"],
      failed: ["retryJob", "deleteJob"],
      cancelled: ["retryJob", "deleteJob"],
      expired: ["retryJob", "deleteJob"],
    }[job.status] ?? ["deleteJob"],
  };
}

/** At most this many skipped names are shown. */
const NAMES = 5;

/** An upload's fields for a row, also of an archive with skipped files. */
export function shownUpload(upload) {
  if (upload.state === "partly") {
    const names = upload.skipped.slice(0, NAMES).join(", ") + (upload.skipped.length > NAMES ? ", …" : "");
    return { name: upload.name, state: "partly", words: text("leftOut", { names }), percent: null, error: "", actions: ["dismiss"] };
  }
  const percent = Math.floor(100 * upload.share);
  const name = { waits: "job_waits", sending: percent < 100 ? "job_uploading" : "job_sent" }[upload.state];
  const error = upload.error && (explained(upload.error.code, upload.error.message) || text(`trouble_${upload.error.code}`));
  return {
    name: upload.name,
    state: upload.state === "failed" ? "failed" : "uploading",
    words: text(name ?? "job_failed", { percent }),
    percent: upload.state === "sending" ? percent : null,
    error: error ?? "",
    actions: upload.state === "failed" ? failedActions(upload) : ["cancelJob"],
  };
}

/** A recording can be saved, because it is nowhere else. */
const failedActions = ({ refused, kept }) =>
  [!refused && "retryJob", kept && "saveRecording", "dismiss"].filter(Boolean);

export class Row {
  /** @param {{opened?: () => void, acted: (action: string) => void, id?: string}} told callbacks, and a job's id */
  constructor({ opened, acted, id = "" }) {
    this.acted = acted;
    this.element = element("li", "job");
    this.open = element(opened ? "button" : "div", "open");
    if (opened) {
      this.open.type = "button";
      this.open.addEventListener("click", opened);
    }
    this.name = element("span", "name");
    this.words = element("span", "words");
    this.tags = element("span", "row-tags");
    this.open.append(this.name, this.words, this.tags);
    this.bar = element("div", "progress");
    this.bar.setAttribute("role", "progressbar");
    this.bar.append(element("span", "done"));
    this.error = element("p", "error");
    this.buttons = element("div", "actions");
    this.element.append(this.open, this.buttons, this.bar, this.error);
    if (id) {
      this.chosen = element("input", "chosen");
      Object.assign(this.chosen, { type: "checkbox", value: id });
      this.element.prepend(this.chosen);
    }
    this.actions = "";
  }

  /** @param {ReturnType<typeof shownJob>} now */
  show({ name, state, words, percent, error, actions, tags = [] }) {
    this.chosen?.setAttribute("aria-label", text("chooseThis", { name }));
    if (this.tagged !== String(tags)) {
      this.tagged = String(tags);
      this.tags.replaceChildren(...tags.map((tag) => element("span", "tag", tag)));
    }
    this.element.dataset.state = state;
    if (this.name.textContent !== name) this.name.textContent = this.name.title = name;
    if (this.words.textContent !== words) this.words.textContent = words;
    this.bar.hidden = percent === null;
    if (percent !== null) {
      this.bar.setAttribute("aria-label", text("progressOf", { name }));
      this.bar.setAttribute("aria-valuenow", String(percent));
      this.bar.style.setProperty("--done", String(percent / 100));
    }
    this.error.hidden = !error;
    this.error.textContent = error;
    this.offer(actions, name);
  }

  /** Whether this job's result is open. */
  set current(is) {
    if (is) this.open.setAttribute("aria-current", "true");
    else this.open.removeAttribute("aria-current");
  }

  /** Replace the buttons only if they differ: one of them can have the focus. @private */
  offer(actions, name) {
    if (this.actions === actions.join()) return;
    const focused = this.buttons.contains(document.activeElement);
    this.actions = actions.join();
    this.buttons.replaceChildren(...actions.map((action) => this.button(action, name)));
    if (focused) (this.buttons.firstElementChild ?? this.open).focus();
  }

  /** @private */
  button(action, name) {
    const button = element("button", action);
    button.type = "button";
    const label = (which) => {
      button.textContent = text(which);
      button.setAttribute("aria-label", text("forThis", { action: text(which), name }));
    };
    label(action);
    let sure = action !== "deleteJob";
    button.addEventListener("click", () => {
      if (sure) return this.acted(action);
      sure = true;
      label("deleteSure");
      setTimeout(() => {
        sure = false;
        label(action);
      }, SURE_MS);
    });
    return button;
  }
}

export function element(tag, name = "", content = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (content) made.textContent = content;
  return made;
}
