// Refreshes a page in place: loads it again and replaces its live parts.

/** Returns the document at `address`. Throws errors with a message for the reader. */
export async function load(address, shared, signal) {
  let response;
  try {
    response = await fetch(address, { headers: { Accept: "text/html" }, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server is unreachable");
  }
  shared.hear(response.headers.get("Date"));
  if (!response.ok) throw new Error(`the server returned status ${response.status}`);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

/** Replaces the contents of `old` by those of `fresh`. */
export function exchange(old, fresh, shared) {
  const nodes = [...fresh.childNodes].map((node) => document.importNode(node, true));
  old.textContent = "";
  old.append(...nodes);
  shared.localise(old, shared.now());
}

const shown = new WeakMap(); // the source of each part, to skip unchanged ones

/** Replaces every live part of the page, except one that has the focus. */
export async function refresh(shared) {
  const page = await load(location.href, shared);
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = page.querySelector(`[data-live="${CSS.escape(old.dataset.live)}"]`);
    if (!fresh || fresh.innerHTML === shown.get(old)) continue;
    if (old.contains(document.activeElement) && document.activeElement !== old) continue;
    shown.set(old, fresh.innerHTML);
    exchange(old, fresh, shared);
  }
  document.dispatchEvent(new Event("refreshed"));
}
