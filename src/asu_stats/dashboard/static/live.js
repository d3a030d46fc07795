// Keeps the page up to date: through the WebSocket, else by polling.
import { refresh } from "./refresh.js";

const POLL = 10000;
const LONGEST_PAUSE = 60000;
const status = document.querySelector(".live");

function setStatus(state, text) {
  if (!status || status.dataset.state === state) return;
  status.hidden = false;
  status.dataset.state = state;
  status.querySelector(".words").textContent = text;
}

// A long time range is expensive and changes little. After an error, wait longer.
const long = document.querySelector("[data-days]");
const PAUSE = long && Number(long.dataset.days) > 92 ? 10000 : 500;
const PAUSE_AFTER_ERROR = 15000;

// One refresh at a time, for at most half of the time, so a slow server gets fewer requests.
let running = false;
let pending = false;
async function update(shared) {
  pending = true;
  if (running || document.hidden) return;
  running = true;
  while (pending && !document.hidden) {
    pending = false;
    const begun = performance.now();
    let pause = PAUSE;
    try {
      await refresh(shared);
      if (status && status.dataset.state === "failing") setStatus("live", "Live");
    } catch (error) {
      setStatus("failing", `Not live: ${error.message}`);
      pending = true;
      pause = PAUSE_AFTER_ERROR;
    }
    await new Promise((done) => setTimeout(done, Math.max(pause, performance.now() - begun)));
  }
  running = false;
}

/** Keeps the page up to date, if its time range includes now. */
export function follow(shared) {
  if (!document.querySelector("[data-live]")) return;
  setInterval(() => shared.elapse(document, shared.now()), 1000);
  document.addEventListener("visibilitychange", () => pending && update(shared));
  // A page from the browser's back-forward cache is old.
  const [visit] = performance.getEntriesByType ? performance.getEntriesByType("navigation") : [];
  if (visit && visit.type === "back_forward") update(shared);

  const address = new URL(`${document.body.dataset.root}/api/v1/stats/live`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  let poll = null;
  let failures = 0;

  const lost = () => {
    setStatus("polling", "Every 10 s");
    pending = true; // the next message refreshes the page
    if (poll === null) poll = setInterval(() => update(shared), POLL);
  };
  const connect = () => {
    let socket;
    try {
      socket = new WebSocket(address);
    } catch {
      lost(); // WebSockets are not supported or not allowed
      return;
    }
    let first = true;
    socket.addEventListener("message", () => {
      failures = 0;
      clearInterval(poll);
      poll = null;
      setStatus("live", "Live");
      if (!first || pending) update(shared);
      first = false;
    });
    socket.addEventListener("close", () => {
      lost();
      const pause = Math.min(LONGEST_PAUSE, 1000 * 2 ** failures);
      failures += 1;
      setTimeout(connect, pause * (0.5 + Math.random() / 2));
    });
  };
  connect();
}
