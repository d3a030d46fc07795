// Shows the state of now in place: the page is asked for again, and its live parts are exchanged.

/** Returns the document at `address`. Throws with words for the reader. */
export async function load(address, shared, signal) {
  let answer;
  try {
    answer = await fetch(address, { headers: { Accept: "text/html" }, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server is unreachable");
  }
  shared.hear(answer.headers.get("Date"));
  if (!answer.ok) throw new Error(`the server returned status ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

/** Exchanges the contents of `old` for those of `fresh`. */
export function exchange(old, fresh, shared) {
  const nodes = [...fresh.childNodes].map((node) => document.importNode(node, true));
  old.textContent = "";
  old.append(...nodes);
  shared.localise(old, shared.now());
}

const shown = new WeakMap(); // what a part was made from, to leave alone what stays the same

/** Exchanges every live part of the page that nobody is at. */
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
