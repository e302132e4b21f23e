/** A call over WebRTC: the messages of the WebSocket on a data channel, and the sound on tracks. */

import { possible } from "./audio.js";
import { refusal, sendable, withKey } from "./key.js";

/** Longest time from the answer to the open channel: where UDP is blocked, it never opens. */
const CONNECT_MS = 3000;
/** How long a connection may be interrupted before it counts as lost. */
const LOST_MS = 3000;
/** Responses that say why there is no connection now; others mean that this service has no calls. */
const REFUSED = [400, 401, 403, 429, 503];
const STORE = "parley.calls";

/** Whether to try a call: the browser has them, and none has failed in this tab. */
export const callable = () => possible() && "RTCPeerConnection" in window && sessionStorage.getItem(STORE) !== "no";

/** Try calls again, or no longer in this tab. */
export function allowCalls(allowed) {
  if (allowed) sessionStorage.removeItem(STORE);
  else sessionStorage.setItem(STORE, "no");
}

export class CallLink {
  via = "webrtc";

  /**
   * @param {URL} url with the conversation's parameters
   * @param {string} key
   * @param {object} told callbacks
   * @param {(data: string) => void} told.message @param {(link: CallLink, code?: number) => void} told.closed
   * @returns {Promise<{link?: CallLink, trouble?: import("./key.js").Trouble}>} neither: no call can connect here
   */
  static async open(url, key, told) {
    if (!sendable(key)) return { trouble: { code: "key", final: true } };
    const link = new CallLink(told);
    let location;
    try {
      await link.peer.setLocalDescription(await link.peer.createOffer());
      const headers = { ...withKey(key), "Content-Type": "application/sdp" };
      const answer = await fetch(url, { method: "POST", headers, body: link.peer.localDescription.sdp });
      if (!answer.ok) {
        link.close();
        return REFUSED.includes(answer.status) ? { trouble: await refusal(key, answer) } : {};
      }
      location = answer.headers.get("Location");
      await link.peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
      if (await link.opens()) return { link };
    } catch (error) {
      if (error instanceof TypeError) {
        link.close();
        return { trouble: await refusal(key) }; // the service does not answer
      }
    }
    link.close();
    // The service waits longer. It keeps the conversation for the connection that resumes it.
    if (location) await fetch(new URL(`${location}/hangup`, url), { method: "POST", headers: withKey(key) }).catch(() => {});
    return {};
  }

  /** @private */
  constructor(told) {
    this.told = told;
    this.peer = new RTCPeerConnection();
    const { sender, receiver } = this.peer.addTransceiver("audio", { direction: "sendrecv" });
    this.sender = sender;
    this.receiver = receiver;
    this.channel = this.peer.createDataChannel("oai-events");
    this.channel.binaryType = "arraybuffer";
    this.channel.onmessage = ({ data }) => told.message(data);
    this.channel.onclose = () => this.lost();
    this.peer.onconnectionstatechange = () => this.changed();
  }

  /** @private @returns {Promise<boolean>} whether the channel opens in time */
  opens() {
    return new Promise((resolve) => {
      const late = setTimeout(() => resolve(false), CONNECT_MS);
      this.channel.onopen = () => {
        clearTimeout(late);
        resolve(true);
      };
    });
  }

  /** @param {MediaStreamTrack | null} track the user's sound; null for none */
  speak(track) {
    if (this.sender.track !== track) this.sender.replaceTrack(track);
  }

  /** @param {string | ArrayBuffer} data */
  send(data) {
    if (this.channel.readyState === "open") this.channel.send(data);
  }

  /** Unsent bytes. */
  get waiting() {
    return this.channel.bufferedAmount;
  }

  close() {
    clearTimeout(this.interrupted);
    this.channel.onclose = this.channel.onmessage = this.peer.onconnectionstatechange = null;
    this.peer.close();
  }

  /** @private */
  changed() {
    clearTimeout(this.interrupted);
    const state = this.peer.connectionState;
    if (state === "failed" || state === "closed") this.lost();
    else if (state === "disconnected") this.interrupted = setTimeout(() => this.lost(), LOST_MS);
  }

  /** @private */
  lost() {
    this.close();
    this.told.closed(this);
  }
}
