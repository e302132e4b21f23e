/**
 * The connection of a live conversation: a call over WebRTC where one connects, otherwise a WebSocket. It reconnects and
 * resumes the conversation until it is closed.
 *
 * Browsers hide why a WebSocket was refused, so the page requests the same address over plain HTTP to learn the reason.
 */

import { CallLink, allowCalls, callable } from "./call-link.js";
import { refusal, socketToken } from "./key.js";
import { SocketLink } from "./socket-link.js";

const FIRST_WAIT_S = 0.5;
const LONGEST_WAIT_S = 15;
/** Unsent bytes (about 8 s of sound) above which the connection counts as stuck. */
const STUCK_BYTES = 256_000;
const STUCK_CODE = 4000;

export class Connection {
  /**
   * @param {object} told callbacks
   * @param {(status: "connecting" | "open" | "waiting" | "idle", trouble: Trouble | null) => void} told.status
   * @param {(event: object) => void} told.event takes an event of the protocol
   * @param {(pcm: ArrayBuffer) => void} told.sound
   * @param {(receiver: RTCRtpReceiver | null) => void} told.track takes the sound of the replies in a call
   * @param {() => Record<string, string>} told.query parameters of a new connection
   * @param {() => string} told.key
   *
   * @typedef {import("./key.js").Trouble} Trouble
   */
  constructor(told) {
    this.told = told;
    this.wanted = false;
    this.attempts = 0;
    this.token = "";
    /** Whether the service has announced a restart: then a missing response is expected. */
    this.draining = false;
    /** @type {CallLink | SocketLink | null} */
    this.link = null;
    /** The user's sound for the track of a call; null: it is sent as messages. @type {MediaStreamTrack | null} */
    this.track = null;
    /** The running attempt to get a token. @type {object | null} */
    this.asking = null;
    this.ready = false;
    window.addEventListener("online", () => {
      allowCalls(true); // perhaps another network
      this.hurry();
    });
  }

  /** How the conversation is connected: webrtc, websocket, or "". */
  get via() {
    return this.ready ? this.link.via : "";
  }

  /** Connect, and stay connected. */
  open() {
    this.wanted = true;
    if (this.link || this.asking) return;
    this.attempts = 0;
    this.connect();
  }

  /** Disconnect, and stay disconnected until `open()`. */
  close() {
    this.wanted = false;
    clearTimeout(this.timer);
    this.drop();
    this.told.status("idle", null);
  }

  /** @returns {boolean} whether the message was sent */
  send(message) {
    if (this.ready) this.link.send(JSON.stringify(message));
    return this.ready;
  }

  /** @param {ArrayBuffer} pcm @returns {boolean} whether it was sent; unsendable sound is dropped */
  sendSound(pcm) {
    if (!this.ready) return false;
    if (this.track && this.link.via === "webrtc") return true; // the track sends it
    if (this.link.waiting > STUCK_BYTES) {
      this.closed(this.link, STUCK_CODE);
      return false;
    }
    this.link.send(pcm);
    return true;
  }

  /** @param {MediaStreamTrack | null} track see `track` */
  speak(track) {
    this.track = track;
    if (this.link?.via === "webrtc") this.link.speak(track);
  }

  /** @private */
  async connect() {
    clearTimeout(this.timer);
    this.told.status("connecting", null);
    const asking = (this.asking = {});
    const { link, trouble } = await this.dial();
    if (asking !== this.asking) {
      link?.close(); // closed in the meantime
      return;
    }
    this.asking = null;
    if (trouble) {
      this.rest(trouble);
      return;
    }
    this.link = link;
    if (link.via === "webrtc") {
      link.speak(this.track);
      this.told.track(link.receiver);
    }
  }

  /** @private @returns {Promise<{link?: CallLink | SocketLink, trouble?: Trouble}>} */
  async dial() {
    const key = this.told.key();
    const told = { message: (data) => this.receive(data), closed: (link, code) => this.closed(link, code) };
    if (callable()) {
      const call = await CallLink.open(this.address("ws/call"), key, told);
      if (call.link || call.trouble) return call;
      allowCalls(false);
    }
    const { token, trouble } = await socketToken(key);
    return trouble ? { trouble } : { link: new SocketLink(this.address("ws"), token, told) };
  }

  /** @private */
  address(path) {
    const url = new URL(path, document.baseURI);
    const query = { stream: "1", rate: "16000", ...this.told.query(), ...(this.token && { resume: this.token }) };
    url.search = new URLSearchParams(query).toString();
    return url;
  }

  /** @private */
  receive(data) {
    if (typeof data !== "string") {
      this.told.sound(data);
      return;
    }
    const event = JSON.parse(data);
    if (event.type === "session_started") {
      this.token = event.resume;
      this.attempts = 0;
      this.ready = true;
      this.draining = false;
      this.told.status("open", null);
    } else if (!event.type && event.error) {
      this.rejection = { ...event.error, final: true }; // the query is invalid; the service closes the connection
      return;
    } else if (event.type === "session_ended") {
      const final = event.code === "idle_timeout" || event.code === "unauthorized";
      const code = event.code === "unauthorized" ? "key" : event.code; // the key was valid and was revoked
      this.rejection = { code, message: event.message, final };
    }
    this.told.event(event);
  }

  /** @private */
  async closed(link, code) {
    if (link !== this.link) return;
    const wasReady = this.ready;
    const rejection = this.rejection;
    this.drop();
    if (wasReady) this.told.event({ type: "connection_lost" });
    if (!this.wanted) return;
    if (rejection) this.rest(rejection);
    else if (wasReady || code === STUCK_CODE) this.rest({ code: "gone", final: false });
    else this.rest(await refusal(this.told.key()));
  }

  /** @private */
  drop() {
    if (this.link) {
      this.link.close();
      this.told.track(null);
    }
    this.link = null;
    this.asking = null;
    this.ready = false;
    this.rejection = null;
  }

  /** @private @param {Trouble} trouble */
  rest(trouble) {
    if (!this.wanted) return;
    this.draining ||= trouble.code === "draining";
    if (this.draining && trouble.code === "gone") trouble = { ...trouble, code: "draining" };
    if (trouble.final) {
      this.wanted = false;
      this.told.status("idle", trouble);
      return;
    }
    const longest = Math.min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** this.attempts++);
    // Jitter, so that pages do not reconnect at the same moment; never earlier than the service's Retry-After.
    const seconds = Math.max(longest * (0.75 + Math.random() / 4), trouble.seconds ?? 0);
    this.told.status("waiting", { ...trouble, seconds });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), seconds * 1000);
  }

  /** Reconnect now: the network is back, or the user asked for it. */
  hurry() {
    if (!this.wanted || this.link || this.asking) return;
    this.attempts = 0;
    this.connect();
  }
}
