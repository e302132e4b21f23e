/**
 * The loudspeaker of a call, with the methods of `Player`: the browser plays the track, and the service reports how much
 * sound it puts on it. So the clock of the replies counts from these reports, and from the browser's own buffer.
 */

import { openAudio, wake } from "./audio.js";
import { follow } from "./devices.js";

const TICK_MS = 50;

export class CallPlayer {
  /** @param {RTCRtpReceiver} receiver @param {object} told see `Player.open` */
  constructor(receiver, told) {
    this.receiver = receiver;
    this.told = told;
    this.rate = 0;
    this.total = 0;
    this.loudest = 0;
    /** Delay of the browser's jitter buffer. */
    this.bufferMs = 0;
    this.begin();
    this.audio = new Audio();
    this.unfollow = follow(this.audio);
    this.audio.srcObject = new MediaStream([receiver.track]);
  }

  /** Play. Call this in the handler of a press: browsers keep a page silent before the first press. */
  async open() {
    this.audio.play().catch(() => {}); // before a press; the next one plays
    this.context = await openAudio();
    this.analyser ??= this.analyse();
  }

  /** @private The level of the played sound. Chromium passes on only a track that an element plays. */
  analyse() {
    const analyser = this.context.createAnalyser();
    this.source = this.context.createMediaStreamSource(this.audio.srcObject);
    this.source.connect(analyser);
    this.samples = new Float32Array(analyser.fftSize);
    return analyser;
  }

  /** @private */
  begin() {
    clearInterval(this.ticking);
    this.ticking = undefined;
    this.received = this.played = 0;
  }

  /** Begin a reply. */
  start(rate) {
    this.rate = rate;
    this.begin();
    this.measureBuffer();
  }

  /** @param {number} samples that the service has put on the track, at the rate of `start` */
  push(samples) {
    if (!this.received) setTimeout(() => this.told.began(), this.bufferMs);
    this.received += samples;
    if (this.ticking) return;
    this.at = performance.now();
    this.ticking = setInterval(() => this.tick(), TICK_MS);
  }

  /** Drop the rest of the reply, which the service has stopped. @returns {Promise<number>} how much was heard, in ms */
  async flush() {
    if (this.ticking) this.tick();
    const heard = this.rate ? (this.heard() / this.rate) * 1000 : 0;
    this.received = this.played;
    clearInterval(this.ticking);
    this.ticking = undefined;
    return heard;
  }

  /** Delay from the track to the loudspeaker. */
  get latencyMs() {
    return ((this.context?.outputLatency || 0) + (this.context?.baseLatency || 0)) * 1000;
  }

  close() {
    clearInterval(this.ticking);
    this.source?.disconnect();
    this.audio.srcObject = null;
    this.unfollow();
  }

  /** @private */
  heard() {
    return Math.max(0, this.played - ((this.bufferMs + this.latencyMs) / 1000) * this.rate);
  }

  /** @private */
  tick() {
    wake();
    const now = performance.now();
    const until = Math.min(this.received, this.played + ((now - this.at) / 1000) * this.rate);
    this.at = now;
    this.total += until - this.played;
    this.played = until;
    const level = this.level();
    this.loudest = Math.max(this.loudest, level);
    this.told.played(this.heard(), level);
    if (this.played < this.received) return;
    clearInterval(this.ticking); // all was played, or the reply is held
    this.ticking = undefined;
  }

  /** @private @returns {number} RMS */
  level() {
    if (!this.analyser) return 0;
    this.analyser.getFloatTimeDomainData(this.samples);
    return Math.sqrt(this.samples.reduce((sum, sample) => sum + sample * sample, 0) / this.samples.length);
  }

  /** @private */
  async measureBuffer() {
    for (const report of (await this.receiver.getStats()).values()) {
      if (report.type === "inbound-rtp" && report.jitterBufferEmittedCount) {
        this.bufferMs = (report.jitterBufferDelay / report.jitterBufferEmittedCount) * 1000;
      }
    }
  }
}
