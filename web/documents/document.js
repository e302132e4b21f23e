/** A transcript that is edited: its segments, the names of its speakers, and the requests that change them. */

export class TranscriptDocument {
  /**
   * @param {import("../jobs/service.js").Service} service
   * @param {object} told callbacks
   * @param {() => void} told.changed the segments or names have changed
   * @param {() => Promise<void>} told.reload another client has changed the transcript
   * @param {(error: Error) => void} told.trouble
   */
  constructor(service, told) {
    this.service = service;
    this.told = told;
    this.id = "";
    /** @type {object[]} */
    this.segments = [];
    /** @type {Record<string, string>} */
    this.names = {};
    this.version = 0;
    /** The version with the same content: another one after an undo. */
    this.content = 0;
    this.past = [];
    this.future = [];
    this.working = Promise.resolve();
  }

  /** Take a job with its result. */
  open({ job_id: id, result, speakers }) {
    this.id = id;
    this.segments = result.segments;
    this.names = { ...speakers };
    this.version = this.content = result.version ?? 0;
    this.past = Array.from({ length: this.version }, (_, number) => number);
    this.future = [];
  }

  get speakers() {
    return [...new Set(this.segments.map(({ speaker }) => speaker).filter(Boolean))];
  }

  /**
   * Change the transcript, after the changes that are under way.
   * @param {(segments: object[]) => object[] | null} plan returns the operations; null: they are no longer possible
   * @returns {Promise<boolean>} whether it was saved
   */
  edit(plan) {
    return this.next(async () => {
      const operations = plan(this.segments);
      if (!operations?.length) return Boolean(operations);
      const before = this.content;
      await this.send("edits", { version: this.version, operations });
      this.past.push(before);
      this.future = [];
      this.content = this.version;
      return true;
    });
  }

  undo() {
    return this.step(this.past, this.future);
  }

  redo() {
    return this.step(this.future, this.past);
  }

  /** Make an earlier version the newest one. */
  restore(version) {
    return this.next(async () => {
      const before = this.content;
      await this.send(`versions/${version}/restore`, { version: this.version });
      this.past.push(before);
      this.future = [];
      this.content = version;
      return true;
    });
  }

  /** @private */
  step(from, to) {
    return this.next(async () => {
      if (!from.length) return false;
      const wanted = from.at(-1);
      try {
        await this.send(`versions/${wanted}/restore`, { version: this.version });
      } catch (error) {
        if (error.code === "version_not_found") from.length = 0; // too long ago
        throw error;
      }
      from.pop();
      to.push(this.content);
      this.content = wanted;
      return true;
    });
  }

  /** Run one change after the other. @private */
  next(change) {
    const { id } = this;
    const done = this.working.then(async () => {
      if (id !== this.id) return false;
      try {
        const saved = await change();
        if (id === this.id) this.told.changed();
        return saved;
      } catch (error) {
        this.told.trouble(error);
        if (error.code === "version_conflict" && id === this.id) await this.told.reload();
        return false;
      }
    });
    this.working = done.then(() => {});
    return done;
  }

  /** @private */
  async send(path, body) {
    const { id } = this;
    const { version, changes } = await this.service.send("POST", `jobs/${id}/${path}`, body);
    if (id !== this.id) return;
    this.version = version;
    for (const change of changes) this.apply(change);
  }

  /** @private */
  apply({ at, count, segments, speakers, names }) {
    if (names) this.names = names;
    else if (speakers) {
      this.segments = [...this.segments];
      for (const [first, last, speaker] of speakers) {
        for (let index = first; index <= last; index++) {
          const { speaker: _, ...others } = this.segments[index];
          this.segments[index] = speaker === null ? others : { ...others, speaker };
        }
      }
    } else this.segments = [...this.segments.slice(0, at), ...segments, ...this.segments.slice(at + count)];
  }
}
