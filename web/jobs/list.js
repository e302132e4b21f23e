/** The list of jobs, newest first, kept up to date while it is visible. */

const PAGE = 50;
/** The service's largest page. */
const MOST = 200;
/** Jobs followed at a time: a browser opens at most six connections to one address. */
const FOLLOWED = 2;
/** Delay before a broken event stream is opened again. */
const AGAIN_MS = 3000;
/** Time after which an unchanged list looks for jobs that were created elsewhere, such as those of a watched folder. */
const LOOK_MS = 10_000;
/** Errors that are over after a while: no response, or the service is starting or stopping. */
export const PASSING = ["away", "starting", "draining"];
const ACTIVE = ["queued", "processing"];

/** The numbers of jobs in each state, to compare. @param {object} counts */
const numbers = (counts) => JSON.stringify(Object.entries(counts).filter(([, value]) => typeof value === "number"));

export class JobList {
  /**
   * @param {import("./service.js").Service} service
   * @param {object} told callbacks
   * @param {() => void} told.changed the list has changed
   * @param {(job: object, before: object | undefined) => void} told.moved a job has another state
   * @param {(error: Error | null) => void} told.trouble null: the error is over
   */
  constructor(service, told) {
    this.service = service;
    this.told = told;
    /** @type {Map<string, object>} by id, in order */
    this.jobs = new Map();
    this.cursor = null;
    this.search = "";
    /** Query parameters that choose jobs: `tag`, `pinned`. @type {Record<string, string>} */
    this.filter = {};
    this.counts = { queued: 0, processing: 0 };
    this.loaded = false;
    /** @type {Map<string, AbortController>} */
    this.followed = new Map();
    /** Id of the job whose result is open: it is followed, too. */
    this.read = "";
    this.loading = null;
    this.again = false;
    this.resting = false;
  }

  /** Load the list again. A call during a load causes one more load after it. */
  async refresh() {
    this.resting = false;
    if (this.loading) {
      this.again = true;
      return this.loading;
    }
    this.loading = this.load().finally(() => {
      this.loading = null;
      if (this.again) {
        this.again = false;
        this.refresh();
      }
    });
    return this.loading;
  }

  /** Load the next page. */
  async more() {
    const { search, filter, cursor } = this;
    try {
      const { items, next_cursor: next } = await this.page({ cursor, search });
      if (search !== this.search || filter !== this.filter || cursor !== this.cursor) return; // the list was replaced in the meantime
      for (const job of items) this.jobs.set(job.job_id, job);
      this.cursor = next;
      this.told.changed();
    } catch (error) {
      this.told.trouble(error);
    }
  }

  /** List only jobs with this text in their names. */
  async find(search) {
    if (search === this.search) return;
    this.search = search;
    this.jobs = new Map(); // begin with one page
    await this.refresh();
  }

  /** List only jobs that these query parameters choose. */
  async choose(filter) {
    this.filter = filter;
    this.jobs = new Map();
    await this.refresh();
  }

  /** Take in a job's new state. */
  note(job) {
    const before = this.jobs.get(job.job_id);
    if (before) this.jobs.set(job.job_id, job);
    if (before?.status !== job.status) this.told.moved(job, before);
    this.told.changed();
  }

  forget(id) {
    this.jobs.delete(id);
    this.told.changed();
  }

  /** Stop following: the list is not visible. */
  rest() {
    this.resting = true;
    clearTimeout(this.retrying);
    clearTimeout(this.looking);
    for (const stream of this.followed.values()) stream.abort();
    this.followed.clear();
  }

  /** @private */
  async load() {
    const { search, filter } = this;
    try {
      const queues = await this.service.json("queues");
      const limit = Math.min(MOST, Math.max(PAGE, this.jobs.size));
      const { items, next_cursor: next } = await this.page({ limit, search });
      if (search !== this.search || filter !== this.filter) return; // the search has changed, and its load is already queued
      const before = this.jobs;
      this.jobs = new Map(items.map((job) => [job.job_id, job]));
      // Keep the jobs beyond the largest page as they were.
      const last = items.at(-1)?.job_id ?? "";
      const older = items.length === MOST ? [...before].filter(([id]) => id < last) : [];
      for (const [id, job] of older) this.jobs.set(id, job);
      if (!older.length) this.cursor = next;
      this.counts = queues;
      this.loaded = true;
      this.told.trouble(null);
      for (const job of this.jobs.values()) {
        const earlier = before.get(job.job_id);
        if (earlier && earlier.status !== job.status) this.told.moved(job, earlier);
      }
      // Jobs listed a moment later can be active, too.
      const active = [...queues.jobs, ...items].filter(({ status }) => ACTIVE.includes(status));
      if (!this.resting) this.follow([...new Map(active.map((job) => [job.job_id, job])).values()]);
    } catch (error) {
      this.told.trouble(error);
      clearTimeout(this.retrying);
      if (PASSING.includes(error.code) && !this.resting) this.retrying = setTimeout(() => this.refresh(), AGAIN_MS);
    }
    this.told.changed();
    this.lookLater();
  }

  /** Load the list again once the numbers of jobs have changed without this page. @private */
  lookLater() {
    clearTimeout(this.looking);
    if (this.resting) return;
    this.looking = setTimeout(async () => {
      const counts = await this.service.json("queues").catch(() => null); // reported by the next load
      if (this.resting) return;
      if (counts && numbers(counts) !== numbers(this.counts)) await this.refresh();
      else this.lookLater();
    }, LOOK_MS);
  }

  /** @private */
  page({ cursor = "", limit = PAGE, search }) {
    const wanted = { limit: String(limit), ...(cursor && { cursor }), ...(search && { search }), ...this.filter };
    const query = new URLSearchParams(wanted);
    return this.service.json(`jobs?${query}`);
  }

  /** Follow the running jobs, the next ones, and the open one. @private */
  follow(active) {
    const rank = ({ status, job_id: id }) => (status === "processing" ? "0" : "1") + id; // ids sort by time
    const order = active.sort((one, other) => (rank(one) < rank(other) ? -1 : 1));
    const wanted = new Set(order.slice(0, FOLLOWED).map(({ job_id: id }) => id));
    if (active.some(({ job_id: id }) => id === this.read)) wanted.add(this.read);
    for (const [id, stream] of this.followed) {
      if (wanted.has(id)) continue;
      stream.abort();
      this.followed.delete(id);
    }
    for (const id of wanted) if (!this.followed.has(id)) this.listen(id);
  }

  /** @private */
  async listen(id) {
    const stream = new AbortController();
    this.followed.set(id, stream);
    let status = "";
    try {
      for await (const job of this.service.events(`jobs/${id}/events`, stream.signal)) {
        const begun = status === "queued" && job.status !== "queued";
        status = job.status;
        this.note(job);
        if (begun) this.refresh(); // update the counts and the next jobs
      }
    } catch (error) {
      if (error.name === "AbortError") return;
    }
    if (stream.signal.aborted) return;
    this.followed.delete(id);
    if (ACTIVE.includes(status) || !status) await new Promise((done) => setTimeout(done, AGAIN_MS));
    if (!this.resting) this.refresh();
  }
}
