// Follows the server: by its socket, else by asking every few seconds.
import { refresh } from "./refresh.js";

const POLL = 10000;
const LONGEST_PAUSE = 60000;
const status = document.querySelector(".live");

function say(state, words) {
  if (!status || status.dataset.state === state) return;
  status.hidden = false;
  status.dataset.state = state;
  status.querySelector(".words").textContent = words;
}

// A long window costs more and moves less; a server that refuses is left alone for a while.
const long = document.querySelector("[data-days]");
const PAUSE = long && Number(long.dataset.days) > 92 ? 10000 : 500;
const REFUSED = 15000;

// One refresh at a time, and at most half of the time: a slow server is asked less often.
let running = false;
let wanted = false;
async function update(shared) {
  wanted = true;
  if (running || document.hidden) return;
  running = true;
  while (wanted && !document.hidden) {
    wanted = false;
    const begun = performance.now();
    let pause = PAUSE;
    try {
      await refresh(shared);
      if (status && status.dataset.state === "away") say("live", "Live");
    } catch (error) {
      say("away", `Not live: ${error.message}`);
      wanted = true;
      pause = REFUSED;
    }
    await new Promise((done) => setTimeout(done, Math.max(pause, performance.now() - begun)));
  }
  running = false;
}

/** Keeps the page up to date, if its window reaches to now. */
export function follow(shared) {
  if (!document.querySelector("[data-live]")) return;
  setInterval(() => shared.elapse(document, shared.now()), 1000);
  document.addEventListener("visibilitychange", () => wanted && update(shared));
  // One that the browser has kept, and shows again, is of the time that it was made.
  const [visit] = performance.getEntriesByType ? performance.getEntriesByType("navigation") : [];
  if (visit && visit.type === "back_forward") update(shared);

  const address = new URL(`${document.body.dataset.root}/api/v1/stats/live`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  let poll = null;
  let failures = 0;

  const lost = () => {
    say("polling", "Every 10 s");
    wanted = true; // what happened meanwhile is seen with the next message
    if (poll === null) poll = setInterval(() => update(shared), POLL);
  };
  const connect = () => {
    let socket;
    try {
      socket = new WebSocket(address);
    } catch {
      lost(); // there are none, or not to here
      return;
    }
    let first = true;
    socket.addEventListener("message", () => {
      failures = 0;
      clearInterval(poll);
      poll = null;
      say("live", "Live");
      if (!first || wanted) update(shared);
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
