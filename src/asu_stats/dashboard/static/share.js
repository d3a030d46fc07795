// Completes the snippets of a page: the origin of the server, and copy buttons.
const SHOWN_MS = 2000;

/** Replaces the placeholder by the origin of this server, if the server does not know it. */
function fill(placeholder) {
  for (const text of document.querySelectorAll("pre")) {
    text.textContent = text.textContent.split(placeholder).join(location.origin);
  }
}

/** Copies a text. Throws if the browser does not allow it, for example without TLS. */
async function copy(pre) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(pre.textContent);
    return;
  }
  getSelection().selectAllChildren(pre);
  if (!document.execCommand("copy")) throw new Error("select the text and copy it");
}

export function share() {
  const { unknown } = document.body.dataset;
  if (unknown) fill(unknown);
  for (const button of document.querySelectorAll("button.copy")) {
    const pre = button.closest(".snippet").querySelector("pre");
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await copy(pre);
        button.textContent = "Copied";
      } catch (error) {
        button.textContent = "Select and copy";
      }
      setTimeout(() => { button.textContent = "Copy"; }, SHOWN_MS);
    });
  }
}
