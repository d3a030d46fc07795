// What scripts add to a page that is complete without them. Each part stands alone: one that fails, or
// that an old browser can't read, leaves the others as they are.
const root = document.documentElement;
root.dataset.scripts = "yes";
root.classList.add("scripted");

// The server's time decides what has begun; a browser's clock may be hours off. What passes between
// two words of the server is measured, by what no change of a clock moves.
let known = Date.now() - performance.now();
function hear(text) {
  const instant = Date.parse(text);
  if (!isNaN(instant)) known = instant - performance.now();
}
hear(document.body.dataset.now);

/** What parts share; the reader's numbers and times are added by the first of them. */
const shared = {
  hear,
  now: () => known + performance.now(),
  written: (value) => (value === null || value === undefined ? "–" : String(value)),
  moment: (instant) => instant.toISOString().slice(0, 10),
  localise: () => undefined,
  elapse: () => undefined,
};

/** Loads a part and uses it; returns why that failed, if it did. */
async function add(part, use) {
  try {
    await use(await part());
  } catch (error) {
    console.warn(`part of this page failed: ${error.message}`);
    return error;
  }
  return undefined;
}

/** Closes a window menu like one: by Escape, and by a click elsewhere. */
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

  // The page is readable and usable by now; charts may take their time.
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
