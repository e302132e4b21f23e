/** The recording's player. With a key, the recording is fetched first, because players cannot send keys. */

import { follow } from "../devices.js";
import { text } from "../texts.js";
import { size } from "./formats.js";

/** With a key, larger recordings are fetched only when the user asks for them. */
const AT_ONCE = 20 * 2 ** 20;

export class Sound {
  /**
   * @param {HTMLAudioElement} player @param {HTMLButtonElement} load @param {HTMLElement} failed
   * @param {import("./service.js").Service} service
   * @param {(seconds: number) => void} at called with the current time on each animation frame while playing
   */
  constructor(player, load, failed, service, at) {
    this.player = player;
    this.load = load;
    this.failed = failed;
    this.service = service;
    this.id = "";
    this.blob = "";
    follow(player);
    const step = () => {
      at(player.currentTime);
      if (!player.paused) requestAnimationFrame(step);
    };
    player.addEventListener("play", step);
    player.addEventListener("seeked", () => at(player.currentTime));
    player.addEventListener("error", () => {
      if (!player.getAttribute("src")) return;
      failed.hidden = false;
      player.hidden = true;
    });
    load.addEventListener("click", () => this.fetch());
  }

  /** @param {{job_id: string, size: number | null}} job undefined: close */
  open(job) {
    if (job?.job_id === this.id) return;
    this.close();
    if (!job?.size) return; // the service has not fetched it yet
    this.id = job.job_id;
    if (!this.service.key()) this.source(this.service.url(`jobs/${this.id}/file`));
    else if (job.size <= AT_ONCE) this.fetch();
    else {
      this.load.textContent = text("loadSound", { size: size(job.size) });
      this.load.hidden = false;
    }
  }

  close() {
    this.id = "";
    this.wanted = null;
    this.player.pause();
    this.player.removeAttribute("src");
    this.player.load();
    this.player.hidden = this.load.hidden = this.failed.hidden = true;
    if (this.blob) URL.revokeObjectURL(this.blob);
    this.blob = "";
  }

  /** @param {number} seconds into the recording */
  async play(seconds) {
    if (!this.player.getAttribute("src")) {
      this.wanted = seconds;
      if (!this.load.hidden) this.fetch();
      return;
    }
    this.player.currentTime = seconds;
    await this.player.play().catch(() => {}); // the `error` event reports the reason
  }

  /** @private */
  async fetch() {
    const { id } = this;
    this.load.disabled = true;
    try {
      const blob = await (await this.service.ask(`jobs/${id}/file`)).blob();
      if (id !== this.id) return;
      this.blob = URL.createObjectURL(blob);
      this.load.hidden = true;
      this.source(this.blob);
      if (typeof this.wanted === "number") this.play(this.wanted);
    } catch {
      if (id === this.id) this.failed.hidden = false;
    } finally {
      this.load.disabled = false;
    }
  }

  /** @private */
  source(address) {
    this.player.src = address;
    this.player.hidden = false;
  }
}
