/** Requests to the service with the access key; errors become ServiceError. */

import { sendable, withKey } from "../key.js";

export class ServiceError extends Error {
  /** @param {string} code from the service, or `away`, `key`, `key_needed`, `jobs_right` */
  constructor(code, message = "") {
    super(message);
    this.code = code;
  }
}

export class Service {
  /** @param {() => string} key the access key, "" for none */
  constructor(key) {
    this.key = key;
  }

  /** @param {string} path below the page */
  url(path) {
    return new URL(path, document.baseURI).href;
  }

  get headers() {
    return withKey(this.key());
  }

  /** @param {RequestInit} options @returns {Promise<Response>} a successful response; raises ServiceError */
  async ask(path, { headers = {}, ...options } = {}) {
    if (!sendable(this.key())) throw new ServiceError("key");
    let answer;
    try {
      answer = await fetch(this.url(path), { ...options, headers: { ...this.headers, ...headers } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServiceError("away");
    }
    if (!answer.ok) throw errorOf(answer.status, await answer.text(), this.key());
    return answer;
  }

  async json(path, options) {
    return (await this.ask(path, options)).json();
  }

  /** Send a request with a JSON body. */
  async send(method, path, body, headers = {}) {
    const options = { method, body: JSON.stringify(body), headers: { "Content-Type": "application/json", ...headers } };
    return (await this.ask(path, options)).json();
  }

  /** Yield the data of Server-Sent Events; `EventSource` cannot send a key. @returns {AsyncGenerator<object>} */
  async *events(path, signal) {
    const answer = await this.ask(path, { signal, headers: { Accept: "text/event-stream" } });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        const parts = (held + value).split("\n\n");
        held = parts.pop();
        for (const part of parts) {
          const data = part.split("\n").filter((line) => line.startsWith("data: "));
          if (data.length) yield JSON.parse(data.map((line) => line.slice(6)).join("\n"));
        }
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }
}

/** @param {number} status @param {string} body of an error response @param {string} key that was sent */
export function errorOf(status, body, key) {
  let error = {};
  try {
    ({ error = {} } = JSON.parse(body));
  } catch {
    // Not from the service itself but from a proxy in front of it.
  }
  if (status === 401) return new ServiceError(key ? "key" : "key_needed");
  if (error.code === "forbidden") return new ServiceError("jobs_right");
  return new ServiceError(error.code ?? "other", error.message ?? `HTTP ${status}`);
}

/** A new idempotency key: the service runs a request with it once, however often it is sent. */
export function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
