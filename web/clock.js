/** Converts the service's times (ms of received sound) to this machine's clock. */

const KEPT = 4096; // chunks of 40 ms: more than two minutes

export class SoundClock {
  constructor() {
    this.restart();
  }

  /** Start a new connection: the service counts from zero. */
  restart() {
    this.sentMs = 0;
    this.notes = [];
  }

  /** @param {number} ms of sound that are sent now */
  note(ms) {
    this.sentMs += ms;
    this.notes.push({ until: this.sentMs, at: performance.now() });
    if (this.notes.length > KEPT) this.notes.splice(0, KEPT / 2);
  }

  /** @returns {number | undefined} `performance.now()` at which this moment was recorded */
  timeOf(ms) {
    const note = this.notes.find(({ until }) => until >= ms);
    return note && note.at - (note.until - ms);
  }
}
