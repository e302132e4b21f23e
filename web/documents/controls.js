/** The player's controls: play, five seconds back and ahead, speed, and the outline of the recording to choose a time. */

import { clock } from "../jobs/formats.js";
import { text } from "../texts.js";

const find = (id) => document.getElementById(id);
const STEP_S = 5;
const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2];
const STORE = "parley.speed";
/** Where the arrow keys have a meaning of their own, and where the space bar has. */
const ARROWS = "input, textarea, select, [contenteditable], dialog";
const SPACE = `${ARROWS}, button, summary`;

export class PlayerControls {
  /** @param {HTMLAudioElement} player @param {import("../jobs/service.js").Service} service */
  constructor(player, service) {
    this.player = player;
    this.service = service;
    this.slider = find("waveform");
    this.canvas = this.slider.querySelector("canvas");
    this.id = "";
    this.peaks = [];
    this.duration = 0;
    find("play").addEventListener("click", () => this.toggle());
    find("back-5").addEventListener("click", () => this.move(-STEP_S));
    find("ahead-5").addEventListener("click", () => this.move(STEP_S));
    const speed = find("speed");
    speed.replaceChildren(...SPEEDS.map((one) => new Option(`${one.toLocaleString()}×`, String(one))));
    speed.value = SPEEDS.includes(Number(localStorage.getItem(STORE))) ? localStorage.getItem(STORE) : "1";
    speed.addEventListener("change", () => {
      player.playbackRate = Number(speed.value);
      localStorage.setItem(STORE, speed.value);
    });
    player.addEventListener("loadedmetadata", () => (player.playbackRate = Number(speed.value)));
    for (const kind of ["play", "pause", "timeupdate", "seeked", "durationchange", "emptied"]) {
      player.addEventListener(kind, () => this.show());
    }
    this.slider.addEventListener("keydown", (event) => this.slide(event));
    this.slider.addEventListener("pointerdown", (event) => {
      this.slider.setPointerCapture(event.pointerId);
      this.seek(event);
    });
    this.slider.addEventListener("pointermove", (event) => this.slider.hasPointerCapture(event.pointerId) && this.seek(event));
    new ResizeObserver(() => this.draw()).observe(this.slider);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    new MutationObserver(() => this.draw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    document.addEventListener("keydown", (event) => this.key(event));
  }

  /** @param {{job_id: string, duration: number | null}} job @param {boolean} ended whether the outline is shown, too */
  async open({ job_id: id, duration }, ended) {
    if (id !== this.id) [this.id, this.outlined, this.peaks] = [id, "", []];
    this.duration = duration ?? 0;
    this.show();
    if (!ended || this.outlined === id) return;
    this.outlined = id;
    try {
      const { peaks } = await this.service.json(`jobs/${id}/waveform`);
      if (id !== this.id) return;
      this.peaks = peaks;
      this.draw();
    } catch {
      // The recording can be played without its outline.
    }
  }

  /** Play, or pause. */
  toggle() {
    if (this.player.paused) this.player.play().catch(() => {}); // the `error` event reports the reason
    else this.player.pause();
  }

  /** @private */
  move(seconds) {
    this.to(this.player.currentTime + seconds);
  }

  /** @private */
  to(seconds) {
    this.player.currentTime = Math.min(Math.max(0, seconds), this.length);
    this.show();
  }

  /** @private */
  get length() {
    const { duration } = this.player;
    return Number.isFinite(duration) && duration > 0 ? duration : this.duration;
  }

  /** @private */
  seek({ clientX }) {
    const { left, width } = this.slider.getBoundingClientRect();
    this.to(((clientX - left) / width) * this.length);
  }

  /** @private */
  slide(event) {
    const now = this.player.currentTime;
    const wanted = {
      ArrowLeft: now - STEP_S,
      ArrowDown: now - STEP_S,
      ArrowRight: now + STEP_S,
      ArrowUp: now + STEP_S,
      PageDown: now - 60,
      PageUp: now + 60,
      Home: 0,
      End: this.length,
    }[event.key];
    if (wanted === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.to(wanted);
  }

  /** Space and the arrow keys, where no control needs them. @private */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || !find("play").checkVisibility()) return;
    const act = {
      " ": () => event.repeat || this.toggle(),
      ArrowLeft: () => this.move(-STEP_S),
      ArrowRight: () => this.move(STEP_S),
    }[event.key];
    if (!act || event.target.closest?.(event.key === " " ? SPACE : ARROWS)) return;
    act();
    event.preventDefault();
  }

  /** @private */
  show() {
    const { paused, currentTime } = this.player;
    const play = find("play");
    play.classList.toggle("playing", !paused);
    play.setAttribute("aria-label", text(paused ? "playerPlay" : "playerPause"));
    play.title = `${text(paused ? "playerPlay" : "playerPause")} (${text("keySpace")})`;
    const told = `${clock(currentTime)} / ${clock(this.length)}`;
    find("player-time").textContent = told;
    this.slider.setAttribute("aria-valuemax", String(Math.round(this.length)));
    this.slider.setAttribute("aria-valuenow", String(Math.round(currentTime)));
    this.slider.setAttribute("aria-valuetext", told);
    this.draw();
  }

  /** @private */
  draw() {
    const { canvas } = this;
    const width = Math.round(this.slider.clientWidth * devicePixelRatio);
    const height = Math.round(this.slider.clientHeight * devicePixelRatio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const style = getComputedStyle(this.slider);
    const brush = canvas.getContext("2d");
    brush.clearRect(0, 0, width, height);
    const played = this.length ? (this.player.currentTime / this.length) * width : 0;
    const step = Math.max(2, Math.round(2 * devicePixelRatio)) + 1;
    const { peaks } = this;
    for (let x = 0; x < width; x += step) {
      const from = Math.floor((x / width) * peaks.length);
      const to = Math.max(from + 1, Math.floor(((x + step) / width) * peaks.length));
      const peak = peaks.length ? Math.max(...peaks.slice(from, to)) / 100 : 0;
      const tall = Math.max(2 * devicePixelRatio, peak * height);
      brush.fillStyle = style.getPropertyValue(x < played ? "--accent" : "--unplayed");
      brush.fillRect(x, (height - tall) / 2, step - 1, tall);
    }
    brush.fillStyle = style.getPropertyValue("--accent");
    brush.fillRect(Math.min(played, width - 2), 0, 2 * devicePixelRatio, height);
  }
}
