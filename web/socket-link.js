/** A WebSocket that carries a conversation, with the methods of `CallLink`. */

export class SocketLink {
  via = "websocket";

  /**
   * @param {URL} url with the conversation's parameters
   * @param {string} token "" for none
   * @param {object} told callbacks
   * @param {(data: string | ArrayBuffer) => void} told.message @param {(link: SocketLink, code: number) => void} told.closed
   */
  constructor(url, token, told) {
    url.protocol = url.protocol.replace("http", "ws");
    this.socket = token ? new WebSocket(url, ["parley", `openai-insecure-api-key.${token}`]) : new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => told.message(data);
    this.socket.onclose = ({ code }) => told.closed(this, code);
  }

  /** @param {string | ArrayBuffer} data */
  send(data) {
    this.socket.send(data);
  }

  /** Unsent bytes. */
  get waiting() {
    return this.socket.bufferedAmount;
  }

  close() {
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close(1000);
  }
}
