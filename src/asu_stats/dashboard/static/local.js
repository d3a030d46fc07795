// Numbers as the reader writes them, and the local time beside UTC.

const integers = new Intl.NumberFormat(navigator.languages);
const fractions = new Map();

/** Returns a number as the reader writes it, with the decimals that the API gave. */
export function written(value, text = String(value)) {
  if (value === null || value === undefined) return "–";
  const decimals = (text.split(".")[1] ?? "").length;
  if (!decimals) return integers.format(value);
  if (!fractions.has(decimals)) {
    const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    fractions.set(decimals, new Intl.NumberFormat(navigator.languages, digits));
  }
  return fractions.get(decimals).format(value);
}

const moments = new Intl.DateTimeFormat(navigator.languages, { dateStyle: "medium", timeStyle: "medium" });

/** Writes the numbers and times below `root` anew. */
export function localise(root) {
  for (const data of root.querySelectorAll("data")) {
    data.textContent = written(Number(data.value), data.getAttribute("value"));
  }
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.title = `${moments.format(new Date(time.dateTime))} local time`;
  }
  elapse(root);
}

/** Says how long ago what is still going on began. */
export function elapse(root = document) {
  for (const time of root.querySelectorAll("time[data-since]")) {
    const seconds = Math.max(0, Math.round((Date.now() - new Date(time.dataset.since)) / 1000));
    const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
    const two = (number) => String(number).padStart(2, "0");
    if (hours) time.textContent = `${hours} h ${two(minutes)} m`;
    else time.textContent = minutes ? `${minutes} m ${two(seconds % 60)} s` : `${seconds} s`;
  }
}
