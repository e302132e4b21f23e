/** The loudspeaker: plays a reply while it arrives, knows how much of it was heard, and stops at once. */

import { openAudio, wake } from "./audio.js";

export class Player {
  /**
   * @param {object} told callbacks
   * @param {() => void} told.began the first sample of a reply is played
   * @param {(samples: number, level: number) => void} told.played samples of the reply heard so far, and their RMS
   */
  static async open(told) {
    return new Player(await openAudio(), told);
  }

  /** @private */
  constructor(context, told) {
    this.context = context;
    this.told = told;
    this.rate = 0;
    /** Samples of all replies played since the page was opened. */
    this.total = 0;
    this.loudest = 0;
    this.flushes = 0;
    this.latest = 0;
    /** @type {Map<number, (played: number) => void>} */
    this.waiting = new Map();
    this.node = new AudioWorkletNode(context, "parley-playback", { numberOfInputs: 0, outputChannelCount: [1] });
    this.node.port.onmessage = ({ data }) => this.hear(data);
    this.node.connect(context.destination);
  }

  /** Begin a reply; drop the rest of the previous one. */
  start(rate) {
    this.rate = rate;
    this.latest = 0;
    this.node.port.postMessage({ start: rate });
  }

  /** @param {ArrayBuffer} pcm the reply's next samples, 16-bit at the rate of `start` */
  push(pcm) {
    wake();
    this.node.port.postMessage({ pcm }, [pcm]);
  }

  /**
   * Stop with a short fade and drop the unplayed rest.
   * @returns {Promise<number>} how much of this reply was heard, in ms
   */
  flush() {
    const request = ++this.flushes;
    return new Promise((resolve) => {
      this.waiting.set(request, (played) => resolve(this.rate ? (this.heard(played) / this.rate) * 1000 : 0));
      this.node.port.postMessage({ flush: request });
    });
  }

  /** Delay from the audio thread to the loudspeaker. */
  get latencyMs() {
    return ((this.context.outputLatency || 0) + (this.context.baseLatency || 0)) * 1000;
  }

  /** @private */
  heard(samples) {
    return Math.max(0, samples - (this.latencyMs / 1000) * this.rate);
  }

  /** @private */
  hear(data) {
    if (data.began) this.told.began();
    else if (data.flushed) {
      this.waiting.get(data.flushed)?.(data.played);
      this.waiting.delete(data.flushed);
    } else {
      wake();
      this.total += Math.max(0, data.played - this.latest);
      this.latest = data.played;
      this.loudest = Math.max(this.loudest, data.level);
      this.told.played(this.heard(data.played), data.level);
    }
  }
}
