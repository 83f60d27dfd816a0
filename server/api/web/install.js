// Lets the browser install the page as an app: a service worker keeps its files.

// Browsers with Trusted Types take a script's address only from a policy that the server allows.
function scriptAddress(address) {
  if (!window.trustedTypes) return address;
  const policy = window.trustedTypes.createPolicy("service-worker", { createScriptURL: () => "worker.js" });
  return policy.createScriptURL(address);
}

export function allowInstalling() {
  // Without one (plain http, a private window) the page works as it is.
  navigator.serviceWorker?.register(scriptAddress("worker.js")).catch(() => {});
}
