// Enhancements of a page that is complete without scripts. The parts are independent: if one fails, or
// an old browser cannot load it, the others still work.
const root = document.documentElement;
root.dataset.scripts = "yes";
root.classList.add("scripted");

// The server's time decides what has started, since the browser's clock may be wrong. Between two
// responses, the monotonic clock of the browser measures the time.
let offset = Date.now() - performance.now();
function hear(text) {
  const instant = Date.parse(text);
  if (!isNaN(instant)) offset = instant - performance.now();
}
hear(document.body.dataset.now);

/** Shared by the parts. The part `local.js` replaces the formats. */
const shared = {
  hear,
  now: () => offset + performance.now(),
  written: (value) => (value === null || value === undefined ? "–" : String(value)),
  moment: (instant) => instant.toISOString().slice(0, 10),
  localise: () => undefined,
  elapse: () => undefined,
};

/** Loads a part and uses it. Returns the error if that fails. */
async function add(part, use) {
  try {
    await use(await part());
  } catch (error) {
    console.warn(`part of this page failed: ${error.message}`);
    return error;
  }
  return undefined;
}

/** Closes the menu of time ranges on Escape and on a click elsewhere. */
function closeMenus() {
  const picker = document.querySelector(".picker details");
  if (!picker) return;
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && picker.open) {
      picker.open = false;
      picker.querySelector("summary").focus();
    }
  });
  document.addEventListener("click", (event) => {
    if (!picker.contains(event.target)) picker.open = false;
  });
}

async function start() {
  await add(() => import("./local.js"), (local) => {
    Object.assign(shared, local);
    local.localise(document, shared.now());
  });
  add(() => import("./search.js"), (search) => search.searchAsTyped(shared));
  add(() => import("./live.js"), (live) => live.follow(shared));
  add(() => import("./share.js"), (part) => part.share());
  add(async () => closeMenus, (close) => close());
  const current = document.querySelector('nav.pages [aria-current="page"]');
  if (current) current.scrollIntoView({ block: "nearest", inline: "center" });

  // Charts come last: the page is usable without them.
  const figures = document.querySelectorAll("figure.chart");
  if (!figures.length) return;
  const failed = await add(() => import("./charts.js"), (charts) => charts.drawAll(shared));
  if (!failed) return;
  for (const figure of figures) {
    const plot = figure.querySelector(".plot");
    plot.className = "failed";
    plot.textContent = `The chart cannot be drawn: ${failed.message}`;
  }
}

start();
