// Follows the server: by its socket, else by asking every few seconds.
import { elapse } from "./local.js";
import { refresh } from "./refresh.js";

const POLL = 10_000;
const LONGEST_PAUSE = 60_000;
const status = document.querySelector(".live");

function say(state, words) {
  if (!status || status.dataset.state === state) return;
  status.hidden = false;
  status.dataset.state = state;
  status.querySelector(".words").textContent = words;
}

// A long window costs more and moves less; a server that refuses is left alone for a while.
const PAUSE = Number(document.querySelector("[data-days]")?.dataset.days) > 92 ? 10_000 : 500;
const REFUSED = 15_000;

// One refresh at a time, and at most half of the time: a slow server is asked less often.
let running = false;
let wanted = false;
async function update() {
  wanted = true;
  if (running || document.hidden) return;
  running = true;
  while (wanted && !document.hidden) {
    wanted = false;
    const begun = performance.now();
    let pause = PAUSE;
    try {
      await refresh();
      if (status?.dataset.state === "away") say("live", "Live");
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
export function follow() {
  if (!document.querySelector("[data-live]")) return;
  setInterval(elapse, 1000);
  document.addEventListener("visibilitychange", () => wanted && update());

  const address = new URL(`${document.body.dataset.root}/api/v1/stats/live`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  let poll = null;
  let failures = 0;

  const connect = () => {
    const socket = new WebSocket(address);
    let first = true;
    socket.addEventListener("message", () => {
      failures = 0;
      clearInterval(poll);
      poll = null;
      say("live", "Live");
      if (!first || wanted) update();
      first = false;
    });
    socket.addEventListener("close", () => {
      say("polling", "Every 10 s");
      wanted = true; // what happened meanwhile is seen with the next message
      poll ??= setInterval(update, POLL);
      const pause = Math.min(LONGEST_PAUSE, 1000 * 2 ** failures);
      failures += 1;
      setTimeout(connect, pause * (0.5 + Math.random() / 2));
    });
  };
  connect();
}
