/**
 * Service worker of the share target (manifest.webmanifest): puts shared files aside and leads to the Transcribe tab,
 * which offers them. It answers no other request, and sends nothing: a share has no key, and any page can post one.
 */

const CACHE = "parley.shared";
/** Files of one share. */
const MOST = 20;

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const shared = new URL("share", self.registration.scope);
  if (event.request.method === "POST" && event.request.url === shared.href) event.respondWith(take(event.request));
});

async function take(request) {
  try {
    const form = await request.formData();
    const files = form.getAll("files").filter((file) => typeof file !== "string" && file.size);
    const address = files.length ? "" : addressIn(form);
    if (files.length || address) {
      await caches.delete(CACHE); // only the latest share is kept
      const cache = await caches.open(CACHE);
      if (address) await cache.put("shared/url", new Response(address));
      for (const file of files.slice(0, MOST)) {
        const headers = { "Content-Type": file.type, "X-Name": encodeURIComponent(file.name || "recording") };
        // The name is the file's identity: the page sends it as the idempotency key.
        await cache.put(`shared/${crypto.randomUUID()}`, new Response(file, { headers }));
      }
    }
  } catch {
    // Nothing could be put aside, because the disk is full: the page opens without it.
  }
  return Response.redirect(new URL("ui#transcribe", self.registration.scope), 303);
}

/** The first address in a share: programs put theirs into the text, among other words. @param {FormData} form */
function addressIn(form) {
  for (const field of ["url", "text", "title"]) {
    const [found] = String(form.get(field) ?? "").match(/https?:\/\/[^\s<>"]+/) ?? [];
    if (found) return found.replace(/[.,;:!?]+$/, "");
  }
  return "";
}
