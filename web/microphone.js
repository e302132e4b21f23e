/** The microphone: opened on request, read in chunks of 40 ms, released completely (the indicator goes off). */

import { keepAwake, letRest, openAudio, possible } from "./audio.js";
import { microphone } from "./devices.js";

/** Raised when the microphone cannot be opened; `code` is refused, none, busy, insecure or failed. */
export class NoMicrophone extends Error {
  constructor(code) {
    super(`no microphone: ${code}`);
    this.code = code;
  }
}

const CODES = {
  NotAllowedError: "refused",
  SecurityError: "refused",
  NotFoundError: "none",
  OverconstrainedError: "none",
  NotReadableError: "busy",
  AbortError: "busy",
};

/**
 * @param {string} device its id; "" for the browser's own choice, which is also used while the device is unplugged
 * @param {MediaTrackConstraints} changes
 * @returns {Promise<MediaStream>}
 * @throws {NoMicrophone}
 */
export async function openMicrophone(device, changes = {}) {
  const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1, ...changes };
  if (device) audio.deviceId = { exact: device };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    if (device && CODES[error.name] === "none") return openMicrophone("", changes);
    throw new NoMicrophone(CODES[error.name] ?? "failed");
  }
}

export class Microphone {
  /**
   * @param {(pcm: ArrayBuffer, level: number) => void} heard called with 640 samples of 16-bit PCM at 16 kHz, and their RMS
   * @param {() => void} lost called when the device is disconnected
   * @returns {Promise<Microphone>}
   * @throws {NoMicrophone}
   */
  static async open(heard, lost) {
    if (!possible()) throw new NoMicrophone("insecure");
    let stream;
    try {
      stream = await openMicrophone(microphone());
      return new Microphone(await openAudio(), stream, heard, lost);
    } catch (error) {
      stream?.getTracks().forEach((track) => track.stop());
      throw error instanceof NoMicrophone ? error : new NoMicrophone("failed");
    }
  }

  /** @private */
  constructor(context, stream, heard, lost) {
    this.stream = stream;
    keepAwake(this);
    this.source = context.createMediaStreamSource(stream);
    this.node = new AudioWorkletNode(context, "parley-capture", { numberOfOutputs: 0 });
    this.node.port.onmessage = ({ data }) => heard(data.pcm, data.level);
    this.source.connect(this.node);
    stream.getAudioTracks()[0].onended = lost;
  }

  /** The sound as a track. */
  get track() {
    return this.stream.getAudioTracks()[0];
  }

  close() {
    for (const track of this.stream.getTracks()) {
      track.onended = null;
      track.stop();
    }
    this.source.disconnect();
    this.node.port.onmessage = null;
    this.node.port.close();
    letRest(this);
  }
}
