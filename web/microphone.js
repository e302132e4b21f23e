/** The microphone: opened on request, heard in pieces of 40 ms, closed completely (the browser's lamp goes out). */

import { openAudio, possible } from "./audio.js";

/** Why there is no microphone; `code` is refused, none, busy, insecure or failed. */
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

export class Microphone {
  /**
   * @param {(pcm: ArrayBuffer, level: number) => void} heard takes 640 samples of 16-bit PCM at 16 kHz, and their RMS
   * @param {() => void} lost told when the device goes away by itself
   * @returns {Promise<Microphone>}
   * @throws {NoMicrophone}
   */
  static async open(heard, lost) {
    if (!possible()) throw new NoMicrophone("insecure");
    let stream;
    try {
      const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
      stream = await navigator.mediaDevices.getUserMedia({ audio });
      return new Microphone(await openAudio(), stream, heard, lost);
    } catch (error) {
      stream?.getTracks().forEach((track) => track.stop());
      throw new NoMicrophone(CODES[error.name] ?? "failed");
    }
  }

  /** @private */
  constructor(context, stream, heard, lost) {
    this.stream = stream;
    this.source = context.createMediaStreamSource(stream);
    this.node = new AudioWorkletNode(context, "parley-capture", { numberOfOutputs: 0 });
    this.node.port.onmessage = ({ data }) => heard(data.pcm, data.level);
    this.source.connect(this.node);
    stream.getAudioTracks()[0].onended = lost;
  }

  close() {
    for (const track of this.stream.getTracks()) {
      track.onended = null;
      track.stop();
    }
    this.source.disconnect();
    this.node.port.onmessage = null;
    this.node.port.close();
  }
}
