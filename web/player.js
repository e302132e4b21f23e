/** The loudspeaker: plays a reply as it comes, knows how much of it was really heard, stops at once. */

import { openAudio } from "./audio.js";

export class Player {
  /**
   * @param {object} told
   * @param {() => void} told.began the first sample of a reply leaves
   * @param {(samples: number, level: number) => void} told.played so many of the reply's samples were heard; their RMS
   */
  static async open(told) {
    return new Player(await openAudio(), told);
  }

  /** @private */
  constructor(context, told) {
    this.context = context;
    this.told = told;
    this.rate = 0;
    /** Samples played since the page was opened, of all replies. */
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

  /** A reply begins; what was left of another is dropped. */
  start(rate) {
    this.rate = rate;
    this.latest = 0;
    this.node.port.postMessage({ start: rate });
  }

  /** @param {ArrayBuffer} pcm its next sound, 16-bit at the rate of `start` */
  push(pcm) {
    this.node.port.postMessage({ pcm }, [pcm]);
  }

  /**
   * Stop with a short fade and drop what was not played.
   * @returns {Promise<number>} how much of this reply was heard, in ms
   */
  flush() {
    const request = ++this.flushes;
    return new Promise((resolve) => {
      this.waiting.set(request, (played) => resolve(this.rate ? (this.heard(played) / this.rate) * 1000 : 0));
      this.node.port.postMessage({ flush: request });
    });
  }

  /** From the audio thread to the ear it is still a little way. */
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
      this.total += Math.max(0, data.played - this.latest);
      this.latest = data.played;
      this.loudest = Math.max(this.loudest, data.level);
      this.told.played(this.heard(data.played), data.level);
    }
  }
}
