/**
 * The access key: sent with requests, and replaced by a short-lived token for WebSockets.
 *
 * A WebSocket carries its key in a header that proxies often log; the token is worthless after a minute.
 */

/**
 * @typedef {{code: string, message?: string, seconds?: number, final: boolean}} Trouble why there is no connection:
 *   gone, draining, full, places, often, key, key_needed, right, origin, or a code of the service with its message;
 *   final: there is no retry.
 */

/** @type {Trouble} no response, or not from the service itself */
const GONE = { code: "gone", final: false };
const RESTARTING = ["draining", "starting"];
const REFUSALS = { forbidden: "right", too_many_sessions: "places", rate_limited: "often" };

/** @param {string} key @returns {Record<string, string>} headers of a request */
export const withKey = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

/**
 * Get the token that opens a WebSocket with this key.
 * @param {string} key "" for none
 * @returns {Promise<{token?: string, trouble?: Trouble}>}
 */
export async function socketToken(key) {
  if (!key) return {};
  if (!sendable(key)) return { trouble: { code: "key", final: true } };
  try {
    const answer = await ask("page-token", key);
    return answer.ok ? { token: (await answer.json()).token } : { trouble: await whyNot(answer, key) };
  } catch {
    return { trouble: GONE };
  }
}

/**
 * Find out why the service refused a connection: browsers hide it, so the same address is requested over HTTP.
 * @param {string} key @param {Response} [answer] the refusal, if it is known @returns {Promise<Trouble>}
 */
export async function refusal(key, answer) {
  try {
    return await whyNot(answer ?? (await ask("ws", key)), key);
  } catch {
    return GONE;
  }
}

/** POST, because browsers then send the page's origin, on which the response can depend. */
const ask = (path, key) => fetch(new URL(path, document.baseURI), { method: "POST", headers: withKey(key) });

/** @param {Response} answer @returns {Promise<Trouble>} */
async function whyNot(answer, key) {
  const seconds = Number(answer.headers.get("Retry-After")) || undefined;
  const { error } = await answer.json().catch(() => ({}));
  switch (answer.status) {
    case 400:
      return { code: error.code, message: error.message, final: true };
    case 401:
      return { code: key ? "key" : "key_needed", final: true };
    case 403:
      return { code: REFUSALS[error?.code] ?? "origin", final: true };
    case 429:
      return { code: REFUSALS[error?.code] ?? "often", seconds, final: false };
    case 503:
      return { code: RESTARTING.includes(error?.code) ? "draining" : "full", seconds, final: false };
    default:
      return GONE;
  }
}

/** @param {string} key @returns {boolean} whether a header can contain it */
export function sendable(key) {
  try {
    return Boolean(new Headers(withKey(key)));
  } catch {
    return false;
  }
}
