/** Conversations kept in this browser, one entry of its storage each, so that two tabs do not overwrite each other. */

const PREFIX = "parley.talk.";
const OFF = "parley.talks-off";
const RECORDABLE = "parley.recordable";
const MOST = 200;
const MOST_MESSAGES = 1000;
/** All conversations together: browsers give a page about 5 million characters. */
const MOST_CHARS = 2_000_000;

/**
 * @typedef {{role: "user" | "assistant", content: string, rest?: string, language?: string}} Said content: what was
 *   said or heard; rest: the part of a reply that was not heard
 * @typedef {{id: string, began: number, changed: number, recorded: string[], persona: string, personaId?: string, messages: Said[]}} Kept
 *   recorded: ids of the sessions that the service has recorded; personaId: of `Personas.chosen`
 */

export class TalkStore {
  /** Whether conversations are kept. */
  get on() {
    return localStorage.getItem(OFF) === null;
  }

  set on(on) {
    if (on) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "1");
  }

  /** Whether the service may record conversations, if its operator does: only after the user has allowed it. */
  get recordable() {
    return localStorage.getItem(RECORDABLE) === "1";
  }

  set recordable(may) {
    localStorage.setItem(RECORDABLE, may ? "1" : "0");
  }

  /** Whether the user has decided about that. */
  get decided() {
    return localStorage.getItem(RECORDABLE) !== null;
  }

  /** @returns {Kept} a new conversation, which is stored with its first message */
  begin() {
    const now = Date.now();
    return { id: crypto.randomUUID?.() ?? `${now}-${Math.random()}`, began: now, changed: now, recorded: [], persona: "", messages: [] };
  }

  /** @returns {Kept[]} all conversations, the newest first */
  list() {
    return this.keys().map((key) => read(key)).filter(Boolean).sort((one, other) => other.changed - one.changed);
  }

  /** @param {string} id @returns {Kept | null} */
  get(id) {
    return id ? read(PREFIX + id) : null;
  }

  /** @param {Kept} kept stored unless conversations are not kept */
  put(kept) {
    if (!this.on || !kept.messages.length) return;
    kept.messages.splice(0, kept.messages.length - MOST_MESSAGES);
    const text = JSON.stringify(kept);
    const older = this.list().filter(({ id }) => id !== kept.id);
    let chars = text.length + older.reduce((sum, { id }) => sum + (localStorage.getItem(PREFIX + id)?.length ?? 0), 0);
    while (older.length && (older.length >= MOST || chars > MOST_CHARS)) {
      const { id } = older.pop();
      chars -= localStorage.getItem(PREFIX + id)?.length ?? 0;
      this.remove(id);
    }
    for (;;) {
      try {
        localStorage.setItem(PREFIX + kept.id, text);
        return;
      } catch {
        const oldest = older.pop(); // the browser has less space
        if (!oldest) return;
        this.remove(oldest.id);
      }
    }
  }

  /** @param {string} id */
  remove(id) {
    localStorage.removeItem(PREFIX + id);
  }

  clear() {
    for (const key of this.keys()) localStorage.removeItem(key);
  }

  /** @private */
  keys() {
    return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
  }
}

/** @param {Kept} kept @returns {string} its first words */
export const title = ({ messages }) => (messages.find(({ role }) => role === "user") ?? messages[0])?.content.slice(0, 120) ?? "";

/** @returns {Kept | null} */
function read(key) {
  try {
    const kept = JSON.parse(localStorage.getItem(key));
    return Array.isArray(kept?.messages) && Array.isArray(kept.recorded) && kept.id ? kept : null;
  } catch {
    return null;
  }
}
