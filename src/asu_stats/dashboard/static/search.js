// Searches a table while the reader types. The address changes too, so that the view is a link.
import { exchange, load } from "./refresh.js";

const PAUSE = 150;

/** Makes the search field of the page's table answer at once. */
export function searchAsTyped(shared) {
  const list = document.querySelector("#list");
  const form = list && list.querySelector("form.search");
  if (!form) return;
  const field = form.querySelector("input[type=search]");
  let timer = 0;
  let asking = null;

  const search = async () => {
    const address = new URL(form.action);
    for (const [name, value] of new FormData(form)) if (value) address.searchParams.set(name, value);
    if (asking) asking.abort();
    asking = new AbortController();
    try {
      const page = await load(address, shared, asking.signal);
      const fresh = page.querySelector("#list");
      for (const part of [".found", ".scroll"]) exchange(list.querySelector(part), fresh.querySelector(part), shared);
      for (const part of [".nothing", ".leaves"]) {
        for (const old of list.querySelectorAll(part)) old.remove();
        const found = fresh.querySelector(part);
        if (found) list.append(document.importNode(found, true));
      }
      history.replaceState(null, "", address);
    } catch (error) {
      if (error.name !== "AbortError") list.querySelector(".found").textContent = error.message;
    }
  };
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    search();
  });
}
