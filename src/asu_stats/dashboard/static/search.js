// Searches a table while the reader types. The URL changes too, so that the view is a link.
import { exchange, load } from "./refresh.js";

const PAUSE = 150;

/** Updates the table of the page on every input in its search field. */
export function searchAsTyped(shared) {
  const list = document.querySelector("#list");
  const form = list && list.querySelector("form.search");
  if (!form) return;
  const field = form.querySelector("input[type=search]");
  let timer = 0;
  let request = null;

  const search = async () => {
    const address = new URL(form.action);
    for (const [name, value] of new FormData(form)) if (value) address.searchParams.set(name, value);
    if (request) request.abort();
    request = new AbortController();
    try {
      const page = await load(address, shared, request.signal);
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
