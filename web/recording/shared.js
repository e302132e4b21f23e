/** Files that another program on this phone shared with the installed page; `share-worker.js` has put them aside. */

const CACHE = "parley.shared";

/**
 * @returns {Promise<{files: {id: string, file: File, request: Request}[], url: string}>} the latest share, which stays
 *   until `dropShared`; empty where the browser stores nothing
 */
export async function sharedFiles() {
  const found = { files: [], url: "" };
  try {
    if ("caches" in window && (await caches.has(CACHE))) await read(found);
  } catch (error) {
    if (error.name !== "SecurityError") throw error; // the browser's user forbids storing
  }
  return found;
}

async function read(found) {
  const cache = await caches.open(CACHE);
  for (const request of await cache.keys()) {
    const answer = await cache.match(request);
    if (!answer) continue; // another tab has sent it
    const name = decodeURIComponent(answer.headers.get("X-Name") ?? "");
    if (!name) {
      found.url = await answer.text();
      await dropShared(request);
      continue;
    }
    const file = new File([await answer.blob()], name, { type: answer.headers.get("Content-Type") ?? "" });
    found.files.push({ id: new URL(request.url).pathname.split("/").pop(), file, request });
  }
}

/** Remove a part of the share from this browser. @param {Request} request */
export async function dropShared(request) {
  await (await caches.open(CACHE)).delete(request);
}

/** Install the worker that takes what is shared. Its scope is the page, not only `web/`. */
export function receiveShares() {
  const worker = new URL("web/share-worker.js", document.baseURI);
  navigator.serviceWorker?.register(worker, { scope: new URL("./", document.baseURI).pathname }).catch(() => {}); // not on a secure page
}
