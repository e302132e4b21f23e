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
/** The service's limit where it does not report one, in seconds. */
const LONGEST_S = 21_600;
/** Bytes and seconds that a recording stays below the service's limits. */
const SPARE_BYTES = 1 << 18;
const SPARE_S = 1;
/** The time left is shown in the last minutes. */
const SOON_S = 600;

export class RecordingPanel {
  /**
   * @param {object} told callbacks
   * @param {(file: File, kept: string) => void} told.send transcribe a recording or a shared file with this id
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
    /** Recordings that only this tab has, because the browser could not keep them. @type {Map<string, store.Kept>} */
    this.unkept = new Map();
    /** Sound of recordings of this tab, also where the browser stores nothing. @type {Map<string, Blob[]>} */
    this.chunks = new Map();
    /** Shared files that this browser has. @type {Map<string, {file: File, request: Request}>} */
    this.shared = new Map();
    /** Rows of each list. @type {Map<string, Map<string, Row>>} */
    this.rows = new Map([["kept", new Map()], ["shared", new Map()]]);
    /** Number of the latest look into each list. @type {Record<string, number>} */
    this.looks = { kept: 0, shared: 0 };
    find("record").hidden = !canRecord();
    const sources = { microphone: "sourceMicrophone", ...(canShare() && { shared: "sourceShared", both: "sourceBoth" }) };
    find("record-source").replaceChildren(...Object.entries(sources).map(([value, name]) => new Option(text(name), value)));
    find("record-source").hidden = !canRecord() || Object.keys(sources).length < 2;
    find("record").addEventListener("click", () => this.start());
    find("record-pause").addEventListener("click", () => this.pause());
    find("record-stop").addEventListener("click", () => this.recorder?.stop());
    window.addEventListener("beforeunload", (event) => {
      if (this.recorder || this.unkept.size) event.preventDefault();
    });
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState !== "visible") return;
      this.stayAwake();
      this.look(); // another tab may have sent or kept one
    });
    this.look();
  }

  /** A recording or a shared file was sent: nothing of it is needed here. @param {string} id */
  async sent(id) {
    this.chunks.delete(id);
    if (this.unkept.delete(id) && this.troubled === "recordNotKept") this.trouble("");
    const { request } = this.shared.get(id) ?? {};
    await (request ? dropShared(request) : store.forget(id)).catch(() => {}); // the browser stores nothing
    this.shared.delete(id);
    await this.unsent(id);
  }

  /** An upload was cancelled or dismissed: offer the recording or the file again. @param {string} id */
  async unsent(id) {
    await this.busy.get(id)?.();
    this.busy.delete(id);
    this.look();
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
        chunk: (chunk, seconds) => this.keep(chunk, seconds),
        tick: (seconds, level) => this.tick(seconds, level),
        lost: (all) => this.trouble(all ? "record_lost" : "record_lost_part"),
        silenced: (is) => {
          if (is) this.trouble("record_silenced");
          else if (this.troubled === "record_silenced") this.trouble("");
        },
        ended: () => this.ended(),
      });
    } catch (error) {
      const code = typeof error.code === "string" ? error.code : "failed"; // a browser's own error has a number
      if (code !== "not_shared") this.trouble(`record_${code}`);
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
    navigator.storage?.persist?.().catch(() => {}); // otherwise a browser may remove it when its disk is full
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
  async keep(chunk, seconds) {
    const { kept } = this;
    kept.seconds = seconds;
    const chunks = this.chunks.get(kept.id);
    chunks.push(chunk);
    kept.bytes += chunk.size;
    if (kept.bytes > this.most.bytes || seconds >= this.most.seconds) this.full(); // `tick` is rare in a hidden tab
    try {
      await store.append({ ...kept }, chunks.length, chunk);
    } catch {
      if (!this.chunks.has(kept.id)) return; // sent in the meantime
      if (this.unkept.has(kept.id)) return;
      this.unkept.set(kept.id, kept);
      this.trouble("recordNotKept");
    }
  }

  /** At most this is recorded. @private */
  get most() {
    const { file_bytes: bytes = Infinity, file_seconds: seconds = LONGEST_S } = this.told.limits();
    return { bytes: bytes - SPARE_BYTES, seconds: seconds - SPARE_S };
  }

  /** @private */
  tick(seconds, level) {
    this.kept.seconds = seconds;
    const left = this.most.seconds - seconds;
    if (left <= 0) this.full();
    find("record-time").textContent = clock(seconds);
    find("record-left").textContent = left < SOON_S ? text("recordLeft", { time: clock(Math.max(0, left)) }) : "";
    find("record-level").style.setProperty("--level", level.toFixed(3));
    find("record-level").setAttribute("aria-valuenow", String(Math.round(level * 100)));
  }

  /** @private */
  full() {
    if (!this.recorder.active) return;
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
    this.recorder.wake();
    this.awake = await navigator.wakeLock?.request("screen").catch(() => undefined);
  }

  // --- recordings that are not sent, and shared files ---

  /** @private */
  look() {
    this.showKept();
    this.showShared();
  }

  /** @private */
  async showKept() {
    const look = ++this.looks.kept;
    const stored = await store.left();
    if (look !== this.looks.kept) return; // a later look knows more
    const all = new Map([...stored, ...this.unkept.values()].map((kept) => [kept.id, kept]));
    const actions = ["sendRecording", "saveRecording", "deleteJob"];
    this.arrange("kept", [...all.values()], ({ name, seconds, bytes }) => {
      const words = [clock(seconds), size(bytes), text("recordNotSent")].join(" · ");
      return { name, words, actions };
    });
  }

  /** Offer files that another program shared. They are not sent by themselves: any page can post to that address. @private */
  async showShared() {
    const look = ++this.looks.shared;
    const { files, url } = await sharedFiles();
    if (url) this.told.fill(url);
    if (look !== this.looks.shared) return;
    for (const one of files) this.shared.set(one.id, one);
    this.arrange("shared", files, ({ file }) => {
      const words = [size(file.size), text("sharedFile")].join(" · ");
      return { name: file.name, words, actions: ["sendRecording", "dismiss"] };
    });
  }

  /** Show a row for each that is not being made or sent. Rows stay, so that the focus does. @private */
  arrange(list, items, shown) {
    const box = find(list);
    const rows = this.rows.get(list);
    const focused = box.contains(document.activeElement);
    const wanted = new Map(items.filter(({ id }) => !this.busy.has(id)).map((item) => [item.id, item]));
    for (const [id, row] of rows) {
      if (wanted.has(id)) continue;
      row.element.remove();
      rows.delete(id);
    }
    let place = box.firstElementChild;
    for (const [id, item] of wanted) {
      if (!rows.has(id)) rows.set(id, new Row({ acted: (action) => this.act(action, id) }));
      const row = rows.get(id);
      row.item = item;
      row.show({ state: "kept", percent: null, error: "", ...shown(item) });
      if (row.element === place) place = place.nextElementSibling;
      else box.insertBefore(row.element, place);
    }
    if (focused && !box.contains(document.activeElement)) (box.querySelector("button") ?? find("choose")).focus();
  }

  /** @private */
  async act(action, id) {
    if (["deleteJob", "dismiss"].includes(action)) return this.sent(id);
    const file = await this.fileOf(id);
    if (!file || this.busy.has(id)) return this.look(); // another tab has sent it
    if (action === "saveRecording") return saveBlob(file, file.name);
    this.busy.set(id, store.use(id));
    this.told.send(file, id);
    this.look();
  }

  /** @private @returns {Promise<File | null>} null: it is no longer here */
  async fileOf(id) {
    if (this.shared.has(id)) return this.shared.get(id).file;
    const kept = this.rows.get("kept").get(id)?.item;
    const chunks = this.chunks.get(id) ?? (await store.chunksOf(id).catch(() => []));
    return kept && chunks.length ? this.file(kept, chunks) : null;
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
    this.troubled = name;
    find("record-trouble").textContent = name && text(name);
    find("record-trouble").hidden = !name;
  }

}

/** 2026-11-29 22.15: sorts by time, and is a file's name on every system. */
function stamp(at) {
  const two = (number) => String(number).padStart(2, "0");
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  return `${day} ${two(at.getHours())}.${two(at.getMinutes())}`;
}
