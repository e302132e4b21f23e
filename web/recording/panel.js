/** Recording in the page: the controls, and what was recorded or shared and is not yet sent. */

import { clock, size } from "../jobs/formats.js";
import { Row } from "../jobs/row.js";
import { newKey } from "../jobs/service.js";
import { saveBlob } from "../library/selection.js";
import { markLive } from "../tabs.js";
import { text } from "../texts.js";
import { Recorder, canRecord, canShare } from "./recorder.js";
import { dropShared, sharedFiles } from "./shared.js";
import * as store from "./store.js";

const find = (id) => document.getElementById(id);
/** The service's limit where it does not report one, in seconds: the default of MAX_FILE_SECONDS. */
const LONGEST_S = 21_600;
/** Bytes and seconds that a recording stays below the service's limits. */
const SPARE_BYTES = 1 << 18;
const SPARE_S = 1;
/** The time left is shown in the last minutes. */
const SOON_S = 600;

export class RecordingPanel {
  /**
   * @param {object} told callbacks
   * @param {(file: File, kept?: string) => void} told.send transcribe a file; kept: the id of a recording
   * @param {(url: string) => void} told.fill an address was shared
   * @param {() => {file_seconds?: number, file_bytes?: number}} told.limits of the service; empty: unknown
   * @param {(name: string, values?: object) => void} told.announce
   */
  constructor(told) {
    this.told = told;
    /** @type {Recorder | null} */
    this.recorder = null;
    /** Recordings of this tab that are being made or sent: id → end of their use. @type {Map<string, () => Promise<void>>} */
    this.busy = new Map();
    /** Id of a recording that the browser could not keep. */
    this.unkept = "";
    /** Sound of recordings of this tab, also where the browser stores nothing. @type {Map<string, Blob[]>} */
    this.chunks = new Map();
    find("record").hidden = !canRecord();
    const sources = { microphone: "sourceMicrophone", ...(canShare() && { shared: "sourceShared", both: "sourceBoth" }) };
    find("record-source").replaceChildren(...Object.entries(sources).map(([value, name]) => new Option(text(name), value)));
    find("record-source").hidden = !canRecord() || Object.keys(sources).length < 2;
    find("record").addEventListener("click", () => this.start());
    find("record-pause").addEventListener("click", () => this.pause());
    find("record-stop").addEventListener("click", () => this.recorder?.stop());
    window.addEventListener("beforeunload", (event) => {
      if (this.recorder || this.unkept) event.preventDefault();
    });
    document.addEventListener("visibilitychange", () => this.stayAwake());
    this.showKept();
    this.showShared();
  }

  /** A recording was sent: nothing of it is needed here. @param {string} id */
  async sent(id) {
    await this.release(id);
    this.chunks.delete(id);
    if (this.unkept === id) this.unkept = "";
    await store.forget(id).catch(() => {}); // the browser stores nothing
    this.showKept();
  }

  /** A recording's upload was cancelled or dismissed: offer it again. @param {string} id */
  async unsent(id) {
    await this.release(id);
    this.showKept();
  }

  // --- recording ---

  /** @private */
  async start() {
    if (this.recorder || this.asking) return;
    const { value } = find("record-source");
    this.asking = true;
    this.trouble("");
    try {
      const sources = { microphone: value !== "shared", shared: value !== "microphone" };
      this.recorder = await Recorder.start(sources, {
        chunk: (chunk) => this.keep(chunk),
        tick: (seconds, level) => this.tick(seconds, level),
        lost: (all) => this.trouble(all ? "record_lost" : "record_lost_part"),
        ended: () => this.ended(),
      });
    } catch (error) {
      if (error.code !== "not_shared") this.trouble(`record_${error.code ?? "failed"}`);
      return;
    } finally {
      this.asking = false;
    }
    const { type, ending } = this.recorder;
    const begun = Date.now();
    const name = `${text("recordName", { date: stamp(new Date(begun)) })}.${ending}`;
    this.kept = { id: newKey(), name, type, begun, seconds: 0, bytes: 0 };
    this.chunks.set(this.kept.id, []);
    this.busy.set(this.kept.id, store.use(this.kept.id));
    markLive(true, "recording");
    this.told.announce("announceRecording");
    this.stayAwake();
    this.show();
    find("record-stop").focus();
  }

  /** @private */
  pause() {
    if (!this.recorder) return;
    if (this.recorder.paused) this.recorder.resume();
    else this.recorder.pause();
    this.show();
  }

  /** @private */
  async keep(chunk) {
    const { kept } = this;
    const chunks = this.chunks.get(kept.id);
    chunks.push(chunk);
    kept.bytes += chunk.size;
    const { file_bytes: most = Infinity } = this.told.limits();
    if (kept.bytes > most - SPARE_BYTES) this.full();
    try {
      await store.append({ ...kept }, chunks.length, chunk);
    } catch {
      if (!this.chunks.has(kept.id)) return; // sent in the meantime
      this.unkept = kept.id;
      this.trouble("recordNotKept");
    }
  }

  /** @private */
  tick(seconds, level) {
    this.kept.seconds = seconds;
    const { file_seconds: most = LONGEST_S } = this.told.limits();
    const left = most - SPARE_S - seconds;
    if (left <= 0) this.full();
    find("record-time").textContent = clock(seconds);
    find("record-left").textContent = left < SOON_S ? text("recordLeft", { time: clock(Math.max(0, left)) }) : "";
    find("record-level").style.setProperty("--level", level.toFixed(3));
    find("record-level").setAttribute("aria-valuenow", String(Math.round(level * 100)));
  }

  /** @private */
  full() {
    if (!this.recorder) return;
    this.trouble("recordFull");
    this.recorder.stop();
  }

  /** @private */
  ended() {
    const { kept } = this;
    this.recorder = null;
    this.kept = null;
    this.awake?.release().catch(() => {});
    markLive(false, "recording");
    const focused = find("record-live").contains(document.activeElement);
    this.show();
    if (focused) find("record").focus();
    if (kept.bytes) this.told.send(this.file(kept, this.chunks.get(kept.id)), kept.id);
    else this.sent(kept.id);
  }

  /** @private */
  file({ name, type, begun }, chunks) {
    return new File(chunks, name, { type, lastModified: begun });
  }

  /** Phones stop recording when their screen goes off. @private */
  async stayAwake() {
    if (!this.recorder || document.visibilityState !== "visible") return;
    this.awake = await navigator.wakeLock?.request("screen").catch(() => undefined);
  }

  // --- recordings that are not sent, and shared files ---

  /** @private */
  async showKept() {
    const rows = (await store.left()).filter(({ id }) => !this.busy.has(id)).map((kept) => {
      const row = new Row({ acted: (action) => this.act(action, kept) });
      const words = [clock(kept.seconds), size(kept.bytes), text("recordNotSent")].join(" · ");
      row.show({ name: kept.name, state: "kept", words, percent: null, error: "", actions: ["sendRecording", "saveRecording", "deleteJob"] });
      return row.element;
    });
    find("kept").replaceChildren(...rows);
  }

  /** @private */
  async act(action, kept) {
    if (action === "deleteJob") return this.sent(kept.id);
    const file = this.file(kept, this.chunks.get(kept.id) ?? (await store.chunksOf(kept.id)));
    if (action === "saveRecording") return saveBlob(file, file.name);
    this.busy.set(kept.id, store.use(kept.id));
    this.told.send(file, kept.id);
    this.showKept();
  }

  /** Offer files that another program shared. They are not sent by themselves: any page can post to that address. @private */
  async showShared() {
    const { files, url } = await sharedFiles();
    if (url) this.told.fill(url);
    const rows = files.map(({ file, request }) => {
      const row = new Row({
        acted: (action) => {
          row.element.remove();
          if (action === "sendRecording") this.told.send(file);
          dropShared(request);
        },
      });
      const words = [size(file.size), text("sharedFile")].join(" · ");
      row.show({ name: file.name, state: "kept", words, percent: null, error: "", actions: ["sendRecording", "dismiss"] });
      return row.element;
    });
    find("shared").replaceChildren(...rows);
  }

  // --- view ---

  /** @private */
  show() {
    const live = Boolean(this.recorder);
    const paused = live && this.recorder.paused;
    find("record-idle").hidden = live;
    find("record-live").hidden = find("recording-mark").hidden = !live;
    find("record-live").dataset.paused = String(paused);
    find("record-state").textContent = text(paused ? "recordingPaused" : "recordingNow");
    find("record-pause").textContent = text(paused ? "recordResume" : "recordPause");
  }

  /** @private @param {string} name of a text; "" for none */
  trouble(name) {
    find("record-trouble").textContent = name && text(name);
    find("record-trouble").hidden = !name;
  }

  /** @private */
  async release(id) {
    await this.busy.get(id)?.();
    this.busy.delete(id);
  }
}

/** 2026-11-29 22.15: sorts by time, and is a file's name on every system. */
function stamp(at) {
  const two = (number) => String(number).padStart(2, "0");
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  return `${day} ${two(at.getHours())}.${two(at.getMinutes())}`;
}
