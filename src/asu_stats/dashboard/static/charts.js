// Draws the charts of a page from the API's JSON. Each point is a figure of the API, unchanged.
import "./vendor/chart.js";

const { Chart } = globalThis;
let shared; // of dashboard.js: the server's time, formats of numbers
const DASHES = [[], [6, 4], [2, 3], [10, 4, 2, 4], [4, 2], [12, 3], [1, 2], [8, 2, 2, 2]];
const POINTS = ["circle", "rect", "triangle", "rectRot", "star", "cross", "crossRot", "dash"];

// Colours of lines without the style sheet, so that they are still distinguishable.
const SPARE = ["#1b62b5", "#c4500b", "#0b8074", "#8a3ea0", "#917000", "#b3255d", "#4a3aa7", "#2f7d32"];

/** Returns the colour of a series, by its number. */
function lineColour(number) {
  const place = (number - 1) % SPARE.length;
  return colour(1) === colour(2) ? SPARE[place] : colour(place + 1);
}

// Reads a colour of the style sheet, which depends on the theme, from a temporary element.
function colour(name) {
  const probe = document.createElement("span");
  probe.className = `colour-${name}`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** Returns a colour with an opacity. */
function faded(text, part) {
  const hex = /^#(..)(..)(..)$/.exec(text);
  const parts = hex ? hex.slice(1).map((each) => parseInt(each, 16)) : text.match(/[\d.]+/g) || [0, 0, 0];
  return `rgba(${parts.slice(0, 3).join(", ")}, ${part})`;
}

const printing = () => "printing" in document.documentElement.dataset || matchMedia("print").matches;

/** Returns the fill of bars. For print it is hatched, since printers may lack colours. */
function filling(text, place) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const pen = tile.getContext("2d");
  if (!printing() || !place || !pen) return faded(text, 0.85);
  pen.fillStyle = faded(text, 0.35);
  pen.fillRect(0, 0, 8, 8);
  pen.strokeStyle = text;
  pen.lineWidth = place > 4 ? 2 : 1;
  const lines = [[0, 8, 8, 0], [0, 0, 8, 8], [0, 4, 8, 4], [4, 0, 4, 8]];
  for (const [x, y, toX, toY] of place % 5 ? [lines[(place - 1) % 4]] : lines) {
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(toX, toY);
    pen.stroke();
  }
  return pen.createPattern(tile, "repeat");
}

const MEASURES = typeof ResizeObserver === "function"; // otherwise a chart keeps its first size

const unit = (series) => (series.unit === "%" ? "%" : series.unit ? ` ${series.unit}` : "");

// The zeros of buckets that have not started are not figures; they are not drawn.
const begun = (text) => !(text > `${new Date(shared.now()).toISOString().slice(0, 19)}Z`);

/** Returns the first bucket with data; the zeros before it are not figures either. */
const firstOf = (labels, since) => labels[labels.findIndex((_, place) => !(labels[place + 1] <= since))] || "";

/** Returns the index of the current bucket, -1 if none has started. */
const now = (labels) => labels.filter(begun).length - 1;

/** Returns the rows of a response: a member, or the lists in its rows, with the fields of both. */
function rowsOf(response, { path, within, x }) {
  const rows = path ? response[path] : response;
  if (!within) return rows;
  return rows.flatMap((row) => row[within].map((inner) => ({ ...row, ...inner }))).filter((row) => row[x] !== null);
}

/** Returns all whole numbers from one to another, so that an axis has a place for each. */
const between = (first, last) => Array.from({ length: last - first + 1 }, (_, place) => first + place);

/** Returns labels and datasets: one per series, or one per value of the split field. */
function arrange(rows, drawing, since) {
  const first = since ? firstOf([...new Set(rows.map((row) => row[drawing.x]))], since) : "";
  const point = (row, series) => {
    const at = row[drawing.x];
    const isTime = typeof at === "string" && drawing.kind !== "horizontal";
    return isTime && !drawing.future && (at < first || !begun(at)) ? null : row[series.field];
  };
  if (!drawing.split) {
    const values = drawing.series.map((series) => ({ ...series, data: rows.map((row) => point(row, series)) }));
    return { labels: rows.map((row) => label(row, drawing)), values };
  }
  const known = [...new Set(rows.map((row) => row[drawing.x]))];
  const labels = typeof known[0] === "number" ? between(Math.min(...known), Math.max(...known)) : known;
  const places = new Map(labels.map((each, place) => [each, place]));
  const [series] = drawing.series;
  const values = new Map();
  for (const row of rows) {
    const name = row[drawing.split] === null ? drawing.rest : row[drawing.split];
    if (!values.has(name)) values.set(name, { ...series, label: name, colour: values.size + 1, data: labels.map(() => null), parts: "requests" in row ? [] : undefined });
    const place = places.get(row[drawing.x]);
    values.get(name).data[place] = point(row, series);
    if ("requests" in row) values.get(name).parts[place] = row.requests;
  }
  return { labels, values: [...values.values()] };
}

function label(row, drawing) {
  const value = row[drawing.x];
  return drawing.x === "from_seconds" ? `${shared.written(value)}–${shared.written(row.to_seconds)} s` : value;
}

/** Returns the value of a tooltip; a rate with the decimals of its sample, as tables have it. */
function value(item, drawing) {
  const { dataset, dataIndex, raw } = item;
  if (drawing.series[0].unit !== "%" || !dataset.parts) return shared.written(raw);
  const part = dataset.parts[dataIndex];
  const sample = item.chart.data.datasets.reduce((sum, each) => sum + each.parts[dataIndex], 0);
  const rounded = (decimals) => (Math.floor((200 * part * 10 ** decimals + sample) / (2 * sample)) / 10 ** decimals).toFixed(decimals);
  let decimals = drawing.decimals_from.filter((least) => sample >= least).length;
  while (decimals < 2 && [0, 100].includes(Number(rounded(decimals))) && Number(rounded(decimals)) !== raw) decimals += 1;
  return raw === null ? shared.written(raw) : shared.written(Number(rounded(decimals)), rounded(decimals));
}

const DAYS = { day: "numeric", month: "short", timeZone: "UTC" };
const MONTHS = { month: "short", year: "numeric", timeZone: "UTC" };

/** Returns the label of a tick: a short form of a UTC timestamp. */
function short(text) {
  if (/T\d\d:00:00Z$/.test(text)) return `${text.slice(11, 13)}:00`;
  const isMonth = /^\d{4}-\d\d$/.test(text);
  if (!isMonth && !/^\d{4}-\d\d-\d\d$/.test(text)) return text;
  const instant = new Date(`${text}${isMonth ? "-01" : ""}T00:00:00Z`);
  return isNaN(instant) ? text : shared.moment(instant, isMonth ? MONTHS : DAYS);
}

const LONGEST_NAME = 24; // characters that leave room for bars on a phone

/** Shortens a name for an axis; the tooltip and the table have the full name. */
const cut = (name) => (String(name).length > LONGEST_NAME ? `${String(name).slice(0, LONGEST_NAME - 1)}…` : name);

/** Draws the line to the current bucket in a pale colour, since its figures are not complete. */
function pale(line, open) {
  const last = (part) => part.p1DataIndex === now(part.chart.data.labels);
  return open ? { borderColor: (part) => (last(part) ? faded(line, 0.45) : undefined) } : undefined;
}

function sets(values, drawing, open) {
  return values.map((series, place) => {
    const line = lineColour(series.colour);
    const kind = series.kind || (drawing.kind === "lines" ? "line" : "bar");
    if (kind === "bar") {
      const whole = drawing.split && series.label === drawing.rest ? colour("rest") : line;
      return { type: "bar", label: series.label, data: series.data, parts: series.parts, backgroundColor: filling(whole, place), maxBarThickness: 48, borderRadius: drawing.kind === "stack" ? 0 : 2 };
    }
    return {
      type: "line",
      label: series.label,
      data: series.data,
      borderColor: line,
      backgroundColor: faded(line, 0.1),
      fill: place === 0 ? "origin" : false,
      borderWidth: 2,
      borderDash: DASHES[place % DASHES.length],
      pointStyle: POINTS[place % POINTS.length],
      pointRadius: series.data.length > 40 ? 0 : 2.5,
      pointHoverRadius: 5,
      pointBackgroundColor: line,
      segment: pale(line, open),
    };
  });
}

const MAX_CHARACTERS = 80; // of an annotation in a tooltip, which does not wrap lines
const MAX_LINES = 6;

/** Returns the annotations that the page lists below a chart, each with the index of its bucket. */
function annotated(figure, labels) {
  return [...figure.querySelectorAll("[data-at]")].map((item) => {
    const at = `${item.dataset.at.slice(0, 19)}Z`;
    const full = item.textContent.trim().replace(/\s+/g, " ");
    const text = full.length > MAX_CHARACTERS ? `${full.slice(0, MAX_CHARACTERS - 1)}…` : full;
    return { text, place: Math.max(0, labels.filter((label) => label <= at).length - 1) };
  });
}

/** Returns a plug-in that draws a thin line in every bucket with annotations. */
const lines = (annotations) => ({
  id: "annotations",
  afterDatasetsDraw({ ctx, chartArea, scales }) {
    ctx.save();
    ctx.strokeStyle = colour("quiet");
    ctx.lineWidth = 1;
    ctx.setLineDash([3, 3]);
    for (const place of new Set(annotations().map((each) => each.place))) {
      const x = Math.round(scales.x.getPixelForValue(place)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(x, chartArea.top);
      ctx.lineTo(x, chartArea.bottom);
      ctx.stroke();
    }
    ctx.restore();
  },
});

function options(drawing, open, annotations) {
  const [text, grid, raised] = [colour("quiet"), colour("line"), colour("raised")];
  const stacked = drawing.kind === "stack";
  const horizontal = drawing.kind === "horizontal";
  const [first] = drawing.series;
  const names = { stacked, grid: { display: false }, border: { color: grid }, ticks: { color: text, maxRotation: 0, autoSkip: !horizontal, autoSkipPadding: 16, callback(value) { return (horizontal ? cut : short)(this.getLabelForValue(value)); } } };
  const values = { stacked, beginAtZero: true, max: stacked && first.unit === "%" ? 100 : undefined, grid: { color: grid }, border: { display: false }, ticks: { color: text, maxTicksLimit: 6, precision: first.unit === "%" ? undefined : 0, callback: (value) => `${shared.written(value)}${unit(first)}` } };
  return {
    indexAxis: horizontal ? "y" : "x",
    responsive: MEASURES,
    maintainAspectRatio: false,
    animation: false,
    interaction: { mode: "index", axis: horizontal ? "y" : "x", intersect: false },
    color: text,
    scales: horizontal ? { x: values, y: names } : { x: names, y: values },
    plugins: {
      legend: { display: drawing.split !== "" || drawing.series.length > 1, position: "bottom", labels: { color: text, usePointStyle: drawing.kind === "lines", boxWidth: 12, boxHeight: drawing.kind === "lines" ? 7 : 12, padding: 14 } },
      tooltip: {
        backgroundColor: raised, titleColor: colour("text"), bodyColor: colour("text"), borderColor: grid, borderWidth: 1, padding: 10, cornerRadius: 6, boxPadding: 4, usePointStyle: drawing.kind === "lines",
        callbacks: {
          title: ([item]) => (open && item.dataIndex === now(item.chart.data.labels) ? `${item.label}, so far` : item.label),
          afterBody: ([item]) => annotations().filter((each) => item && each.place === item.dataIndex).slice(0, MAX_LINES).map((each) => each.text),
          label: (item) => `${item.dataset.label}: ${value(item, drawing)}${unit(drawing.series[drawing.split ? 0 : item.datasetIndex])}`,
        },
      },
    },
  };
}

class Drawn {
  constructor(figure) {
    this.figure = figure;
    this.drawing = JSON.parse(figure.dataset.drawing);
    this.open = "open" in figure.dataset;
    this.canvas = figure.querySelector("canvas");
  }

  async draw() {
    try {
      const response = await fetch(this.figure.dataset.source, { headers: { Accept: "application/json" } });
      shared.hear(response.headers.get("Date"));
      if (!response.ok) throw new Error((await response.json()).detail);
      this.rows = rowsOf(await response.json(), this.drawing);
      this.show();
    } catch (error) {
      if (!this.chart) this.fail(error.message);
    }
  }

  show() {
    const { labels, values } = arrange(this.rows, this.drawing, this.figure.dataset.firstDay);
    this.annotations = annotated(this.figure, labels);
    const nothing = values.every((series) => series.data.every((value) => !value));
    this.figure.classList.toggle("blank", nothing);
    const drawn = sets(values, this.drawing, this.open);
    if (this.chart && this.chart.data.datasets.length === drawn.length && !this.recolour) {
      this.chart.data.labels = labels;
      drawn.forEach((set, place) => Object.assign(this.chart.data.datasets[place], { label: set.label, data: set.data, parts: set.parts }));
      this.chart.update();
      return;
    }
    if (this.chart) this.chart.destroy();
    this.recolour = false;
    if (!MEASURES) [this.canvas.width, this.canvas.height] = [this.canvas.parentNode.clientWidth, this.canvas.parentNode.clientHeight];
    this.chart = new Chart(this.canvas, {
      data: { labels, datasets: drawn },
      options: options(this.drawing, this.open, () => this.annotations),
      plugins: [lines(() => this.annotations)],
    });
  }

  fail(message) {
    const line = document.createElement("p");
    line.className = "failed";
    line.textContent = `The chart cannot be drawn: ${message}`;
    const plot = this.figure.querySelector(".plot");
    plot.textContent = "";
    plot.append(line);
  }
}

/** Draws every chart of the page, and redraws them when figures or colours change. */
export async function drawAll(help) {
  shared = help;
  Chart.defaults.locale = "en"; // numbers are formatted here, not by the library
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Chart.defaults.font.size = 12;
  const all = [...document.querySelectorAll("figure.chart")].map((figure) => new Drawn(figure));
  await Promise.all(all.map((one) => one.draw()));
  document.documentElement.dataset.drawn = "yes";
  document.addEventListener("refreshed", () => all.forEach((one) => one.draw()));
  const recolour = () => all.forEach((one) => {
    one.recolour = true;
    if (one.rows) one.show();
  });
  document.addEventListener("theme", recolour);
  for (const medium of ["(prefers-color-scheme: dark)", "print"]) {
    const query = matchMedia(medium);
    if (query.addEventListener) query.addEventListener("change", recolour);
  }
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.printing = "";
    recolour();
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.printing;
    recolour();
  });
}
