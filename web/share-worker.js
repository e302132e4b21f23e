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
    await caches.delete(CACHE); // only the latest share is kept
    const cache = await caches.open(CACHE);
    const files = form.getAll("files").filter((file) => typeof file !== "string" && file.size);
    await Promise.all(
      files.slice(0, MOST).map((file, number) => {
        const headers = { "Content-Type": file.type, "X-Name": encodeURIComponent(file.name || "recording") };
        return cache.put(`shared/${number}`, new Response(file, { headers }));
      }),
    );
    const address = [form.get("url"), form.get("text")].map(String).find((text) => /^https?:\/\/\S+$/.test(text));
    if (address && !files.length) await cache.put("shared/url", new Response(address));
  } catch {
    // Nothing could be put aside, because the disk is full: the page opens without it.
  }
  return Response.redirect(new URL("ui#transcribe", self.registration.scope), 303);
}
