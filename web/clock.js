/** When a moment of the microphone's sound was, on this machine's clock: the service counts in sound it received. */

const KEPT = 4096; // pieces of 40 ms: more than two minutes

export class SoundClock {
  constructor() {
    this.restart();
  }

  /** A new connection: the service counts from nought. */
  restart() {
    this.sentMs = 0;
    this.notes = [];
  }

  /** @param {number} ms of sound that leaves now */
  note(ms) {
    this.sentMs += ms;
    this.notes.push({ until: this.sentMs, at: performance.now() });
    if (this.notes.length > KEPT) this.notes.splice(0, KEPT / 2);
  }

  /** @returns {number | undefined} `performance.now()` of when this moment was recorded */
  timeOf(ms) {
    const note = this.notes.find(({ until }) => until >= ms);
    return note && note.at - (note.until - ms);
  }
}
