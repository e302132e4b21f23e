/**
 * The WebSocket of a live conversation: comes back by itself, with its conversation, for as long as it is wanted.
 *
 * A browser does not tell why a WebSocket was refused; so the same address is asked by plain HTTP, which says it.
 */

import { refusal, socketToken } from "./key.js";

const FIRST_WAIT_S = 0.5;
const LONGEST_WAIT_S = 15;
/** So much sound that could not be sent (some 8 s) means that nobody takes it. */
const STUCK_BYTES = 256_000;
const STUCK_CODE = 4000;

export class Connection {
  /**
   * @param {object} told
   * @param {(status: "connecting" | "open" | "waiting" | "idle", trouble: Trouble | null) => void} told.status
   * @param {(event: object) => void} told.event an event of the protocol
   * @param {(pcm: ArrayBuffer) => void} told.sound
   * @param {() => Record<string, string>} told.query parameters of a conversation that is opened
   * @param {() => string} told.key
   *
   * @typedef {import("./key.js").Trouble} Trouble
   */
  constructor(told) {
    this.told = told;
    this.wanted = false;
    this.attempts = 0;
    this.token = "";
    /** Whether the service has said that it is being restarted: that it does not answer then is no news. */
    this.draining = false;
    /** @type {WebSocket | null} */
    this.socket = null;
    /** The attempt that asks for a token now. @type {object | null} */
    this.asking = null;
    this.ready = false;
    window.addEventListener("online", () => this.hurry());
  }

  /** Connect, and stay connected. */
  open() {
    this.wanted = true;
    if (this.socket || this.asking) return;
    this.attempts = 0;
    this.connect();
  }

  /** No more, until `open()`. */
  close() {
    this.wanted = false;
    clearTimeout(this.timer);
    const socket = this.socket;
    this.drop();
    socket?.close(1000);
    this.told.status("idle", null);
  }

  /** @returns {boolean} whether it could be sent */
  send(message) {
    if (this.ready) this.socket.send(JSON.stringify(message));
    return this.ready;
  }

  /** @param {ArrayBuffer} pcm @returns {boolean} whether it was sent; sound that cannot be is dropped */
  sendSound(pcm) {
    if (!this.ready) return false;
    if (this.socket.bufferedAmount > STUCK_BYTES) {
      const socket = this.socket;
      this.closed(socket, STUCK_CODE);
      socket.close(STUCK_CODE);
      return false;
    }
    this.socket.send(pcm);
    return true;
  }

  /** @private */
  async connect() {
    clearTimeout(this.timer);
    this.told.status("connecting", null);
    const asking = (this.asking = {});
    const { token, trouble } = await socketToken(this.told.key());
    if (asking !== this.asking) return; // closed meanwhile
    this.asking = null;
    if (trouble) {
      this.rest(trouble);
      return;
    }
    const url = new URL("ws", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    const query = { stream: "1", rate: "16000", ...this.told.query(), ...(this.token && { resume: this.token }) };
    url.search = new URLSearchParams(query).toString();
    this.socket = token ? new WebSocket(url, ["parley", `openai-insecure-api-key.${token}`]) : new WebSocket(url);
    const socket = this.socket;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.receive(data);
    socket.onclose = ({ code }) => this.closed(socket, code);
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
      this.rejection = { ...event.error, final: true }; // the query cannot be used; the service closes now
      return;
    } else if (event.type === "session_ended") {
      const final = event.code === "idle_timeout" || event.code === "unauthorized";
      const code = event.code === "unauthorized" ? "key" : event.code; // it was good, and is not any more
      this.rejection = { code, message: event.message, final };
    }
    this.told.event(event);
  }

  /** @private */
  async closed(socket, code) {
    if (socket !== this.socket) return;
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
    if (this.socket) this.socket.onmessage = this.socket.onclose = null;
    this.socket = null;
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
    // Not all pages at the same moment, and none before the service has said that it may.
    const seconds = Math.max(longest * (0.75 + Math.random() / 4), trouble.seconds ?? 0);
    this.told.status("waiting", { ...trouble, seconds });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), seconds * 1000);
  }

  /** The network is back, or somebody is impatient: try now. */
  hurry() {
    if (!this.wanted || this.socket || this.asking) return;
    this.attempts = 0;
    this.connect();
  }
}
