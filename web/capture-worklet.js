/** Microphone capture in the audio thread: mono, resampled to the service's rate, 16-bit, in chunks of 40 ms. */

import { Resampler } from "./resampler.js";

const RATE_HZ = 16000;
const PIECE = 640;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE_HZ);
    this.piece = new Int16Array(PIECE);
    this.filled = 0;
    this.power = 0;
  }

  process(inputs) {
    const channels = inputs[0];
    if (!channels.length) return true;
    const mono = new Float32Array(channels[0].length);
    for (const channel of channels) {
      for (let index = 0; index < mono.length; index++) mono[index] += channel[index] / channels.length;
    }
    for (const sample of this.resampler.process(mono)) {
      this.power += sample * sample;
      this.piece[this.filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.filled === PIECE) this.send();
    }
    return true;
  }

  send() {
    const message = { pcm: this.piece.buffer, level: Math.sqrt(this.power / PIECE) };
    this.port.postMessage(message, [message.pcm]);
    this.piece = new Int16Array(PIECE);
    this.filled = this.power = 0;
  }
}

registerProcessor("parley-capture", Capture);
