/**
 * Recordings that are not yet with the service, kept in this browser (IndexedDB) chunk by chunk while they are made, so
 * that a closed page or a failed upload loses nothing.
 */

const NAME = "parley";
const LOCK = "parley.recording.";
/** @type {Promise<IDBDatabase> | undefined} */
let opening;

/**
 * @typedef {object} Kept a recording without its sound
 * @property {string} id
 * @property {string} name of its file
 * @property {string} type media type
 * @property {number} begun ms since 1970
 * @property {number} seconds
 * @property {number} bytes
 */

/**
 * Keep the next chunk of a recording.
 * @param {Kept} kept the description of the recording with this chunk @param {number} number @param {Blob} chunk
 * @throws {DOMException} where the browser stores nothing, as in some private windows, or has no space
 */
export function append(kept, number, chunk) {
  return transaction(["recordings", "chunks"], (stores) => {
    stores.chunks.put(chunk, [kept.id, number]);
    stores.recordings.put(kept);
  });
}

/** @param {string} id @returns {Promise<Blob[]>} in order */
export const chunksOf = (id) => answer("chunks", (store) => store.getAll(whole(id)));

/** Forget a recording. @param {string} id */
export function forget(id) {
  return transaction(["recordings", "chunks"], (stores) => {
    stores.chunks.delete(whole(id));
    stores.recordings.delete(id);
  });
}

/** The recordings that no tab is making or sending now. @returns {Promise<Kept[]>} oldest first; none where nothing can be stored */
export async function left() {
  try {
    const kept = await answer("recordings", (store) => store.getAll());
    const { held = [] } = await navigator.locks.query();
    const busy = new Set(held.map(({ name }) => name));
    return kept.filter(({ id, bytes }) => bytes && !busy.has(LOCK + id)).sort((one, other) => one.begun - other.begun);
  } catch {
    return [];
  }
}

/** Mark a recording as in use by this tab. @param {string} id @returns {() => Promise<void>} ends the use */
export function use(id) {
  let end = () => {};
  const used = new Promise((done) => (end = done));
  const held = navigator.locks.request(LOCK + id, () => used).catch(() => {});
  return () => {
    end();
    return held;
  };
}

const whole = (id) => IDBKeyRange.bound([id, 0], [id, Infinity]);

function open() {
  opening ??= new Promise((done, failed) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("recordings", { keyPath: "id" });
      request.result.createObjectStore("chunks");
    };
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });
  opening.catch(() => (opening = undefined));
  return opening;
}

async function transaction(names, work, mode = "readwrite") {
  const database = await open();
  return new Promise((done, failed) => {
    const running = database.transaction(names, mode);
    const result = work(Object.fromEntries(names.map((name) => [name, running.objectStore(name)])));
    running.oncomplete = () => done(result?.result);
    running.onabort = running.onerror = () => failed(running.error);
  });
}

const answer = (name, work) => transaction([name], (stores) => work(stores[name]), "readonly");
