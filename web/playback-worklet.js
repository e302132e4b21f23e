/**
 * Playback of the reply in the audio thread: a queue, resampled to the loudspeaker's rate.
 *
 * In: {start: rate}, {pcm: ArrayBuffer}, {flush: request number}. Out: {began}, {played, level} about twenty times a
 * second while something is heard, and {flushed, played}; `played` counts samples at the reply's rate.
 */

import { Resampler } from "./resampler.js";

const REPORT_S = 0.05;
/** Sound to buffer before playback starts, so that a late packet does not interrupt a word. */
const AHEAD_S = 0.06;
/** Longest wait for that buffer; a shorter reply starts after this time. */
const PATIENCE_S = 0.12;
/** Fade-out on a stop: without one it clicks. */
const FADE_S = 0.015;

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.start(sampleRate);
    this.tail = [];
    this.port.onmessage = ({ data }) => {
      if (data.start) this.start(data.start);
      else if (data.pcm) this.add(new Int16Array(data.pcm));
      else if (data.flush) this.flush(data.flush);
    };
  }

  start(rate) {
    this.rate = rate;
    this.resampler = new Resampler(rate, sampleRate);
    this.queue = [];
    this.queued = 0;
    this.offset = 0;
    this.taken = 0;
    this.waited = 0;
    this.running = false;
    this.power = 0;
    this.sinceReport = 0;
    /** What the last report told. */
    this.told = { taken: 0, level: 0 };
  }

  add(pcm) {
    const sound = this.resampler.process(Float32Array.from(pcm, (value) => value / 32768));
    if (!sound.length) return;
    this.queue.push(sound);
    this.queued += sound.length;
  }

  flush(flushed) {
    const size = Math.min(this.queued, this.running ? Math.round(FADE_S * sampleRate) : 0);
    const fading = new Float32Array(size);
    this.take(fading);
    this.tail = fading.map((sample, index) => sample * (1 - index / size));
    this.queue = [];
    this.queued = this.offset = 0;
    this.running = false;
    this.port.postMessage({ flushed, played: this.played() });
  }

  /** Fill `output` from the queue; return the number of samples written. */
  take(output) {
    let filled = 0;
    while (filled < output.length && this.queue.length) {
      const part = this.queue[0].subarray(this.offset, this.offset + output.length - filled);
      output.set(part, filled);
      filled += part.length;
      this.offset += part.length;
      if (this.offset === this.queue[0].length) {
        this.queue.shift();
        this.offset = 0;
      }
    }
    this.queued -= filled;
    this.taken += filled;
    return filled;
  }

  played() {
    return (this.taken * this.rate) / sampleRate;
  }

  process(_, outputs) {
    const [output, ...others] = outputs[0];
    if (!this.running && this.queued) {
      this.waited += output.length;
      this.running = this.queued >= AHEAD_S * sampleRate || this.waited >= PATIENCE_S * sampleRate;
      if (this.running && !this.taken) this.port.postMessage({ began: true });
    }
    if (this.running) {
      const filled = this.take(output);
      if (filled < output.length) {
        this.running = false;
        this.waited = 0;
      }
    }
    this.fadeOut(output);
    for (const other of others) other.set(output);
    this.report(output);
    return true;
  }

  fadeOut(output) {
    const part = this.tail.length > output.length ? this.tail.subarray(0, output.length) : this.tail;
    for (let index = 0; index < part.length; index++) output[index] += part[index];
    if (part.length) this.tail = this.tail.subarray(part.length);
  }

  report(output) {
    for (const sample of output) this.power += sample * sample;
    this.sinceReport += output.length;
    if (this.sinceReport < REPORT_S * sampleRate) return;
    const level = Math.sqrt(this.power / this.sinceReport);
    this.power = this.sinceReport = 0;
    const { told, taken } = this;
    if (taken === told.taken && !level && !told.level) return;
    this.told = { taken, level };
    if (taken) this.port.postMessage({ played: this.played(), level });
  }
}

registerProcessor("parley-playback", Playback);
