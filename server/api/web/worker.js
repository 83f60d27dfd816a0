// The service worker of the installed page: keeps the page's files for when the server is away. It asks
// the server first, always, so a new version is there at once; of the API it keeps nothing.

const CACHE = "page";
const FILES = ["./", "answers.js", "api.js", "app.js", "camera.js", "conversation.js", "conversations.js", "dom.js", "feedback.js", "formula.js",
  "icon.svg", "install.js", "manifest.webmanifest", "markdown.js", "messages.js", "models.js", "pictures.js", "safe.js",
  "settings.js", "shortcuts.js", "store.js", "style.css", "table.js", "texts.js", "zoom.js"];
const ADDRESSES = new Set(FILES.map((name) => new URL(name, self.registration.scope).href));

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll([...ADDRESSES])));
});

async function fresh(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(request, { ignoreVary: true });
    if (kept) return kept;
    throw error;
  }
}

self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && ADDRESSES.has(event.request.url.split("#", 1)[0])) event.respondWith(fresh(event.request));
});
