// Numbers in the reader's locale, and local times as tooltips.

/** Returns the reader's locales. Some systems report invalid ones, such as "C" or "en-US@posix". */
function languages() {
  const found = [];
  for (const name of navigator.languages || [navigator.language]) {
    try {
      found.push(...Intl.getCanonicalLocales(String(name).split(/[.@]/)[0].replace(/_/g, "-")));
    } catch {
      // Skip it.
    }
  }
  return found.length ? found : ["en"];
}

const formats = new Map();

/** Returns a cached formatter of the reader's locale; without Intl, one for plain texts. */
function format(kind, options) {
  const key = `${kind} ${JSON.stringify(options)}`;
  if (!formats.has(key)) {
    let made = { format: (value) => (value instanceof Date ? value.toISOString() : String(value)) };
    try {
      made = new Intl[kind](languages(), options);
    } catch {
      // Use the plain formatter.
    }
    formats.set(key, made);
  }
  return formats.get(key);
}

/** Returns a number in the reader's locale, with the decimals of the API's text. */
export function written(value, text = String(value)) {
  if (value === null || value === undefined) return "–";
  const decimals = (text.split(".")[1] || "").length;
  return format("NumberFormat", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }).format(value);
}

/** Returns a time in the reader's locale; `options` are those of Intl. */
export function moment(instant, options) {
  return format("DateTimeFormat", options).format(instant);
}

/** Formats the numbers and times inside `root`. `now` is the server's time. */
export function localise(root, now) {
  for (const data of root.querySelectorAll("data")) {
    data.textContent = written(Number(data.value), data.getAttribute("value"));
  }
  for (const time of root.querySelectorAll("time[datetime]")) {
    const instant = new Date(time.dateTime);
    if (isNaN(instant)) continue;
    time.title = `${moment(instant, { dateStyle: "medium", timeStyle: "medium" })} local time`;
  }
  elapse(root, now);
}

/** Updates the elapsed times of what is still running. */
export function elapse(root, now) {
  for (const time of root.querySelectorAll("time[data-since]")) {
    const seconds = Math.max(0, Math.round((now - new Date(time.dataset.since)) / 1000));
    const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
    const two = (number) => String(number).padStart(2, "0");
    if (hours) time.textContent = `${hours} h ${two(minutes)} min`;
    else time.textContent = minutes ? `${minutes} min ${two(seconds % 60)} s` : `${seconds} s`;
  }
}
