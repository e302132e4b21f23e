/** Records the microphone, the sound of a tab or the screen, or both mixed, in chunks of a second. */

import { keepAwake, letRest, openAudio, possible } from "../audio.js";
import { microphone } from "../devices.js";
import { levelOf } from "../level.js";
import { openMicrophone } from "../microphone.js";

/** Formats that the service reads, the best first. A file of each is complete up to its last chunk. */
const FORMATS = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4;codecs=opus", "audio/mp4"];
/** Bits a second: transparent for speech, and 6 hours are 250 MB. */
const BITS = 96_000;
const CHUNK_MS = 1000;
/** Interval of the level and the time. */
const TICK_MS = 100;
/** Time that the browser gets to pass on the sound again. */
const WAKE_MS = 1000;

/** Raised when nothing can be recorded; `code` is that of `NoMicrophone`, or no_sound, not_shared. */
export class NoSource extends Error {
  constructor(code) {
    super(`nothing to record: ${code}`);
    this.code = code;
  }
}

/** Whether this browser can record at all. */
export const canRecord = () => possible() && "MediaRecorder" in window && Boolean(format());
/** Whether it can share the sound of a tab or the screen: only browsers that can also mute the tab meanwhile do. */
export const canShare = () =>
  Boolean(navigator.mediaDevices?.getDisplayMedia) &&
  Boolean(navigator.mediaDevices.getSupportedConstraints().suppressLocalAudioPlayback);

const format = () => FORMATS.find((type) => MediaRecorder.isTypeSupported(type));

export class Recorder {
  /**
   * Ask the browser's user for the sources and start. Call this in the handler of a press.
   * @param {{microphone: boolean, shared: boolean}} sources
   * @param {object} told callbacks
   * @param {(chunk: Blob, seconds: number) => void} told.chunk
   * @param {(seconds: number, level: number) => void} told.tick
   * @param {(all: boolean) => void} told.lost a source has ended; all: none is left
   * @param {(is: boolean) => void} told.silenced the browser stops the sound, or passes it on again
   * @param {() => void} told.ended the last chunk has arrived
   * @throws {NoSource | import("../microphone.js").NoMicrophone}
   */
  static async start(sources, told) {
    const streams = [];
    try {
      // Sharing first: browsers allow it only for some seconds after a press.
      if (sources.shared) streams.push(await share());
      if (sources.microphone) streams.push(await openMicrophone(microphone(), { echoCancellation: sources.shared }));
      return new Recorder(await openAudio(), streams, told);
    } catch (error) {
      for (const track of streams.flatMap((stream) => stream.getTracks())) track.stop();
      throw error;
    }
  }

  /** @private */
  constructor(context, streams, told) {
    this.told = told;
    this.streams = streams;
    this.context = context;
    keepAwake(this);
    this.seconds = 0;
    this.mixed = context.createMediaStreamDestination();
    this.analyser = context.createAnalyser();
    this.samples = new Float32Array(this.analyser.fftSize);
    this.nodes = streams.map((stream) => context.createMediaStreamSource(new MediaStream(stream.getAudioTracks())));
    for (const node of this.nodes) {
      node.connect(this.mixed);
      node.connect(this.analyser);
    }
    for (const track of streams.flatMap((stream) => stream.getAudioTracks())) track.onended = () => this.lose(track);
    this.recorder = new MediaRecorder(this.mixed.stream, { mimeType: format(), audioBitsPerSecond: BITS });
    this.recorder.ondataavailable = ({ data }) => {
      this.count();
      if (data.size) told.chunk(data, this.seconds);
    };
    this.recorder.onstop = () => this.release();
    this.recorder.onerror = () => this.stop();
    this.recorder.start(CHUNK_MS);
    this.at = performance.now();
    this.ticking = setInterval(() => this.tick(), TICK_MS);
    this.changed = () => this.wake();
    context.addEventListener("statechange", this.changed);
  }

  /** Media type of the chunks together. */
  get type() {
    return this.recorder.mimeType.split(";")[0];
  }

  /** Ending of the file's name. */
  get ending() {
    return { "audio/webm": "webm", "audio/ogg": "ogg" }[this.type] ?? "m4a";
  }

  get paused() {
    return this.recorder.state === "paused";
  }

  /** Whether it was not stopped: the last chunk arrives later. */
  get active() {
    return this.recorder.state !== "inactive";
  }

  pause() {
    if (this.recorder.state !== "recording") return;
    this.count();
    this.recorder.pause();
    this.told.tick(this.seconds, 0);
  }

  resume() {
    if (!this.paused) return;
    this.at = performance.now();
    this.recorder.resume();
  }

  stop() {
    if (!this.active) return;
    this.count();
    this.recorder.stop();
  }

  /** The browser may have stopped the sound, as phones do during a call: have it passed on again, or tell. */
  async wake() {
    if (this.context.state !== "running") {
      const late = new Promise((done) => setTimeout(done, WAKE_MS)); // it stays pending during a call
      await Promise.race([this.context.resume().catch(() => {}), late]);
    }
    if (this.active) this.told.silenced(this.context.state !== "running");
  }

  /** @private */
  count() {
    if (this.recorder.state !== "recording") return;
    const now = performance.now();
    this.seconds += (now - this.at) / 1000;
    this.at = now;
  }

  /** @private */
  tick() {
    if (this.recorder.state !== "recording") return;
    this.count();
    this.analyser.getFloatTimeDomainData(this.samples);
    this.told.tick(this.seconds, levelOf(this.samples));
  }

  /** @private */
  lose(track) {
    const alive = this.streams.flatMap((stream) => stream.getAudioTracks()).some((one) => one.readyState === "live");
    track.onended = null;
    this.told.lost(!alive);
    if (!alive) this.stop();
  }

  /** @private */
  release() {
    clearInterval(this.ticking);
    this.context.removeEventListener("statechange", this.changed);
    for (const node of this.nodes) node.disconnect();
    for (const track of this.streams.flatMap((stream) => stream.getTracks())) {
      track.onended = null;
      track.stop();
    }
    letRest(this);
    this.told.ended();
  }
}

/** @returns {Promise<MediaStream>} the sound of what the browser's user shares */
async function share() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getDisplayMedia({
      video: true, // browsers refuse to share sound alone
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
      systemAudio: "include",
    });
  } catch (error) {
    throw new NoSource(error.name === "NotAllowedError" ? "not_shared" : "failed");
  }
  for (const track of stream.getVideoTracks()) track.stop();
  if (stream.getAudioTracks().length) return stream;
  throw new NoSource("no_sound");
}
