"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const [TRACK, BEGIN, DURATION, PHASE, NAME, OPERATION, BYTES, PAGE, NODE, CPU, RESULT, DEVICE] =
  Array.from({ length: 12 }, (_, i) => i);
const COLORED = ["open", "populate", "map", "unmap", "close", "reset", "destroy", "wait", "job",
  "user"];
const WHOLE = ["user", "job", "bar", "wait", "syscall", "kernel"];
const ROW = 20, BAR = 15, AXIS = 22, LABELS = 160;
/* As many as a canvas has room for. */
const MAX_ROWS = 500;

function color(phase) {
  const name = COLORED.includes(phase) ? phase : "other";
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

function variable(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/* What comes from the facts of a trace may be anything. */
function time(value) {
  const us = Number(value) || 0;
  if (us >= 1e6) return (us / 1e6).toFixed(3) + " s";
  if (us >= 1e3) return (us / 1e3).toFixed(3) + " ms";
  return us.toFixed(1) + " µs";
}

function size(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let bytes = Number(value) || 0, unit = 0;
  while (bytes >= 1024 && unit < 4) { bytes /= 1024; unit++; }
  return (Number.isInteger(bytes) ? bytes : bytes.toFixed(2)) + " " + units[unit];
}

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "style") node.style.cssText = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/* The time during which any of the spans was going on. */
function covered(spans) {
  let total = 0, end = -1;
  for (const span of [...spans].sort((a, b) => a[BEGIN] - b[BEGIN])) {
    const last = span[BEGIN] + span[DURATION];
    if (last <= end) continue;
    total += last - Math.max(span[BEGIN], end < 0 ? span[BEGIN] : end);
    end = last;
  }
  return total;
}

/* A canvas as sharp as the screen, of the width that the page gives it. */
function prepare(canvas, height) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth;
  canvas.style.height = height + "px";
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  return context;
}

/* The run that is shown, the part of its time, and what is pointed at. */
const view = { run: data.runs[0], begin: 0, end: 0, selected: null, rows: [], hidden: 0 };

/* Rows of the timeline: tracks, as many of each as steps overlap in it; and how many steps have no
 * row, for lack of room. */
function layOut(run) {
  const rows = [], tracks = run.tracks.map(() => []);
  let hidden = 0;
  for (const span of run.spans) tracks[span[TRACK]].push(span);
  tracks.forEach((spans, track) => {
    const ends = [], first = rows.length;
    spans.sort((a, b) => a[BEGIN] - b[BEGIN] || b[DURATION] - a[DURATION]);
    for (const span of spans) {
      let depth = ends.findIndex((end) => end <= span[BEGIN] + 0.0005);
      if (depth < 0) depth = ends.length;
      if (first + depth >= MAX_ROWS) { hidden++; continue; }
      ends[depth] = span[BEGIN] + span[DURATION];
      if (!rows[first + depth])
        rows[first + depth] = { name: depth ? "" : run.tracks[track], spans: [] };
      rows[first + depth].spans.push(span);
    }
  });
  return { rows, hidden };
}

function ticks(begin, end, most) {
  const raw = (end - begin) / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const result = [];
  for (let t = Math.ceil(begin / step) * step; t <= end; t += step) result.push(t);
  return result;
}

function drawAxis(context, width, height, x) {
  context.fillStyle = variable("--dim");
  context.strokeStyle = variable("--line");
  context.textAlign = "center";
  for (const t of ticks(view.begin, view.end, width / 110)) {
    context.beginPath();
    context.moveTo(x(t), AXIS - 6);
    context.lineTo(x(t), height);
    context.stroke();
    context.fillText(time(t), Math.min(Math.max(x(t), LABELS + 26), width - 30), 12);
  }
}

function scaleTo(width) {
  return (t) => LABELS + (t - view.begin) / (view.end - view.begin) * (width - LABELS);
}

function drawTimeline() {
  const canvas = $("timeline"), height = AXIS + view.rows.length * ROW + 4;
  const context = prepare(canvas, height), width = canvas.clientWidth, x = scaleTo(width);
  drawAxis(context, width, height, x);
  view.rows.forEach((row, i) => {
    const y = AXIS + i * ROW;
    context.fillStyle = variable("--row");
    context.globalAlpha = 0.6;
    context.fillRect(LABELS, y, width - LABELS, BAR);
    context.globalAlpha = 1;
    context.fillStyle = variable("--text");
    context.textAlign = "left";
    context.fillText(row.name, 0, y + 12, LABELS - 8);
    context.save();
    context.beginPath();
    context.rect(LABELS, y, width - LABELS, BAR);
    context.clip();
    for (const span of row.spans) drawSpan(context, span, x, y);
    context.restore();
  });
  $("range").textContent = time(view.begin) + " to " + time(view.end) +
    (view.hidden ? `; ${view.hidden} steps are not drawn: there are too many rows` : "");
}

function drawSpan(context, span, x, y) {
  const left = x(span[BEGIN]), width = Math.max(x(span[BEGIN] + span[DURATION]) - left, 0.7);
  if (left > context.canvas.clientWidth || left + width < LABELS) return;
  context.fillStyle = color(span[PHASE]);
  context.fillRect(left, y, width, BAR);
  if (span[RESULT] < 0 && span[PHASE] !== "wait") {
    context.fillStyle = variable("--reset");
    context.fillRect(left, y + BAR - 3, width, 3);
  }
  if (span === view.selected) {
    context.strokeStyle = variable("--text");
    context.lineWidth = 2;
    context.strokeRect(left + 1, y + 1, Math.max(width - 2, 1), BAR - 2);
    context.lineWidth = 1;
  }
  if (width > 40) {
    context.fillStyle = WHOLE.includes(span[PHASE]) ? variable("--text") : "#fff";
    context.textAlign = "left";
    context.fillText(span[NAME], Math.max(left, LABELS) + 4, y + 11.5,
      left + width - Math.max(left, LABELS) - 6);
  }
}

/* Bytes that were populated and mapped in each of some hundred parts of the time shown. */
function drawThroughput() {
  const canvas = $("throughput"), height = 120, context = prepare(canvas, height);
  const width = canvas.clientWidth, x = scaleTo(width), count = 160;
  const series = ["populate", "map"].map((phase) => ({ phase, bins: new Array(count).fill(0) }));
  const step = (view.end - view.begin) / count;
  for (const { phase, bins } of series) {
    for (const span of view.run.spans) {
      if (span[PHASE] !== phase || span[RESULT] < 0 || !span[DURATION]) continue;
      const first = Math.max(0, Math.floor((span[BEGIN] - view.begin) / step));
      const last = Math.min(count - 1, (span[BEGIN] + span[DURATION] - view.begin) / step);
      for (let bin = first; bin <= last; bin++) {
        const from = view.begin + bin * step;
        const share = Math.min(from + step, span[BEGIN] + span[DURATION]) -
          Math.max(from, span[BEGIN]);
        if (share > 0) bins[bin] += span[BYTES] * share / span[DURATION];
      }
    }
  }
  /* Mapping is so much faster than populating that each has its own scale. */
  const tall = height / series.length - 10;
  series.forEach(({ phase, bins }, i) => {
    const rates = bins.map((b) => b / step * 1e6), most = Math.max(1, ...rates);
    const bottom = (i + 1) * (height / series.length) - 2;
    context.strokeStyle = variable("--line");
    context.lineWidth = 1;
    context.strokeRect(LABELS, bottom - tall, width - LABELS, tall);
    context.fillStyle = variable("--dim");
    context.fillText(phase, 0, bottom - tall + 12, LABELS - 8);
    context.fillText("up to " + size(most) + "/s", 0, bottom - tall + 28, LABELS - 8);
    context.strokeStyle = color(phase);
    context.lineWidth = 2;
    context.beginPath();
    rates.forEach((rate, bin) => {
      const y = bottom - rate / most * tall, t = view.begin + bin * step;
      context.lineTo(x(t), y);
      context.lineTo(x(t + step), y);
    });
    context.stroke();
  });
  context.lineWidth = 1;
}

function draw() {
  drawTimeline();
  drawThroughput();
}

function describe(span) {
  const facts = [time(span[DURATION]) + ", from " + time(span[BEGIN])];
  if (span[OPERATION] !== span[NAME]) facts.push(span[OPERATION]);
  if (span[BYTES]) {
    const rate = span[DURATION] ? ", " + size(span[BYTES] / span[DURATION] * 1e6) + "/s" : "";
    facts.push(size(span[BYTES]) + (span[PAGE] ? " in pages of " + size(span[PAGE]) : "") + rate);
  }
  if (span[DEVICE]) facts.push("device " + span[DEVICE]);
  if (span[NODE] >= 0) facts.push("node " + span[NODE]);
  facts.push("CPU " + span[CPU]);
  if (span[RESULT] < 0) facts.push("failed: errno " + -span[RESULT]);
  return [element("b", {}, span[NAME]), ...facts.map((f) => element("div", {}, f))];
}

/* The smallest step below the pointer. */
function spanAt(event) {
  const box = $("timeline").getBoundingClientRect(), x = scaleTo(box.width);
  const row = view.rows[Math.floor((event.clientY - box.top - AXIS) / ROW)];
  const at = event.clientX - box.left;
  if (!row || at < LABELS) return null;
  return row.spans.filter((s) => x(s[BEGIN]) - 1 <= at && at <= x(s[BEGIN] + s[DURATION]) + 1)
    .sort((a, b) => a[DURATION] - b[DURATION])[0] || null;
}

function show(begin, end) {
  const whole = view.run.duration_us || 1, length = Math.min(Math.max(end - begin, 0.01), whole);
  view.begin = Math.min(Math.max(begin, 0), whole - length);
  view.end = view.begin + length;
  draw();
}

function zoom(factor, at = (view.begin + view.end) / 2) {
  show(at - (at - view.begin) * factor, at + (view.end - at) * factor);
}

function select(span) {
  view.selected = span;
  $("details").hidden = !span;
  if (span) $("details").replaceChildren(...describe(span));
  drawTimeline();
}

function chooseRun(run) {
  view.run = run;
  Object.assign(view, layOut(run));
  [...$("tabs").children].forEach((tab, i) =>
    tab.setAttribute("aria-selected", data.runs[i] === run));
  select(null);
  show(0, run.duration_us);
  fillHistogramPhases();
  fillSlowest();
  fillCritical();
}

function listen() {
  const canvas = $("timeline");
  let drag = null;
  const timeAt = (event) => {
    const box = canvas.getBoundingClientRect();
    return view.begin + Math.max(0, event.clientX - box.left - LABELS) / (box.width - LABELS) *
      (view.end - view.begin);
  };
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event));
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, begin: view.begin, end: view.end, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drag && Math.abs(event.clientX - drag.x) > 3) drag.moved = true;
    if (drag && drag.moved) {
      const by = (event.clientX - drag.x) / (canvas.clientWidth - LABELS) * (drag.end - drag.begin);
      show(drag.begin - by, drag.end - by);
    }
    const span = spanAt(event), tip = $("tip");
    tip.hidden = !span;
    if (!span) return;
    tip.replaceChildren(...describe(span));
    tip.style.left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = Math.min(event.clientY + 14, window.innerHeight - tip.offsetHeight - 8) + "px";
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) select(spanAt(event));
    drag = null;
  });
  canvas.addEventListener("pointerleave", () => { $("tip").hidden = true; });
  canvas.addEventListener("keydown", (event) => {
    const step = (view.end - view.begin) / 5;
    const keys = {
      "+": () => zoom(0.5), "-": () => zoom(2), "0": () => show(0, view.run.duration_us),
      ArrowLeft: () => show(view.begin - step, view.end - step),
      ArrowRight: () => show(view.begin + step, view.end + step),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  $("zoom-in").onclick = () => zoom(0.5);
  $("zoom-out").onclick = () => zoom(2);
  $("zoom-all").onclick = () => show(0, view.run.duration_us);
  $("histogram-phase").onchange = drawHistogram;
  $("theme").onclick = () => setTheme(document.documentElement.dataset.theme !== "dark");
  window.addEventListener("resize", () => { draw(); drawHistogram(); });
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").textContent = dark ? "Light" : "Dark";
  fillPhases();
  fillLegend();
  fillCritical();
  draw();
  drawHistogram();
}

function fillRuns() {
  const columns = [["mode", (f, r) => r.name], ["kernel", (f) => f.kernel],
    ["backend", (f) => f.backend], ["memory", (f) => f.memory_bytes && size(f.memory_bytes)],
    ["host only", (f) => f.host_only_bytes && size(f.host_only_bytes)],
    ["pages", (f) => f.page_size], ["devices", (f) => f.devices], ["CPUs", (f) => f.cpus],
    ["start", (f) => f.start_s !== undefined && time(f.start_s * 1e6)],
    ["stop", (f) => f.stop_s !== undefined && time(f.stop_s * 1e6)],
    ["explained", (f, r) => r.start && (100 * r.start.explained).toFixed(1) + " %"]];
  const table = element("table", {}, element("tr", {},
    ...columns.map(([name], i) => element("th", i ? {} : { class: "name" }, name))));
  for (const run of data.runs)
    table.append(element("tr", {}, ...columns.map(([, value], i) =>
      element("td", i ? {} : { class: "name" }, String(value(run.facts || {}, run) || "–")))));
  $("runs").append(element("div", { class: "scroll" }, table));
}

function fillPhases() {
  const order = ["open", "populate", "map", "unmap", "close"];
  const rows = [];
  for (const phase of order)
    for (const run of data.runs) {
      const seconds = covered(run.spans.filter((s) => s[PHASE] === phase)) / 1e6;
      if (seconds) rows.push({ phase, run, seconds });
    }
  for (const part of ["start", "stop"])
    for (const run of data.runs)
      if (run[part] && run[part].duration_us > 1)
        rows.push({ phase: part, run, seconds: run[part].duration_us / 1e6 });
  const most = rows.reduce((longest, row) => Math.max(longest, row.seconds), 1e-9);
  $("phases").replaceChildren(...rows.map((row, i) => element("div", { class: "phase" },
    element("span", {}, i && rows[i - 1].phase === row.phase ? "" : row.phase),
    element("span", {}, row.run.name),
    element("span", { class: "track" }, element("span", { class: "fill", style:
      `display:block;width:${100 * row.seconds / most}%;background:${color(row.phase)}` })),
    element("span", { class: "value" }, time(row.seconds * 1e6)))));
}

function fillLegend() {
  const present = new Set(data.runs.flatMap((r) => r.spans.map((s) => s[PHASE])));
  $("legend").replaceChildren(...[...present].map((phase) => element("span", {},
    element("span", { class: "swatch", style: "background:" + color(phase) }), phase)));
}

function fillCritical() {
  const parts = ["start", "stop"].filter((p) => view.run[p] && view.run[p].duration_us > 1);
  $("critical").replaceChildren(...parts.flatMap((part) => {
    const path = view.run[part], sums = Object.create(null);
    const bar = element("div", { class: "path" });
    for (const [begin, duration, phase] of path.steps) {
      sums[phase] = (sums[phase] || 0) + duration;
      bar.append(element("div", { title: phase + " " + time(duration), style:
        `left:${100 * (begin - path.begin_us) / path.duration_us}%;` +
        `width:${100 * duration / path.duration_us}%;background:${color(phase)}` }));
    }
    const text = Object.entries(sums).sort((a, b) => b[1] - a[1])
      .map(([phase, us]) => `${phase} ${time(us)}`).join(", ");
    return [element("h3", {}, `${view.run.name}: ${part}, ${time(path.duration_us)}`), bar,
      element("p", { class: "hint" },
        `${text}; ${(100 * path.explained).toFixed(1)} % of the time is explained.`)];
  }));
  if (!parts.length)
    $("critical").append(element("p", { class: "hint" }, "The trace names no start."));
}

function fillHistogramPhases() {
  const select = $("histogram-phase"), before = select.value;
  const phases = [...new Set(view.run.spans.map((s) => s[PHASE]))].sort();
  select.replaceChildren(...phases.map((p) => element("option", { value: p }, p)));
  select.value = phases.includes(before) ? before :
    phases.includes("populate") ? "populate" : phases[0];
  drawHistogram();
}

/* Four bars for each power of ten. */
function drawHistogram() {
  const canvas = $("histogram"), height = 150, context = prepare(canvas, height);
  const width = canvas.clientWidth, phase = $("histogram-phase").value;
  const values = view.run.spans.filter((s) => s[PHASE] === phase && s[DURATION] > 0)
    .map((s) => Math.floor(4 * Math.log10(s[DURATION])));
  if (!values.length) return;
  const first = values.reduce((a, b) => Math.min(a, b)) - 1;
  const last = values.reduce((a, b) => Math.max(a, b)) + 1;
  const counts = new Array(last - first + 1).fill(0);
  for (const value of values) counts[value - first]++;
  const most = Math.max(...counts), bar = Math.min((width - 80) / counts.length, 80);
  counts.forEach((count, i) => {
    const tall = count / most * (height - 45), left = 40 + i * bar;
    context.fillStyle = color(phase);
    context.fillRect(left, height - 22 - tall, bar - 2, tall);
    context.fillStyle = variable("--dim");
    context.textAlign = "center";
    if (count) context.fillText(count, left + bar / 2 - 1, height - 27 - tall);
    if (bar > 60 || i % 2 === 0)
      context.fillText(time(10 ** ((first + i) / 4)), left, height - 6, bar * 2);
  });
}

function fillSlowest() {
  const columns = [["step", (s) => s[NAME]], ["operation", (s) => s[OPERATION]],
    ["duration", (s) => time(s[DURATION])], ["from", (s) => time(s[BEGIN])],
    ["bytes", (s) => s[BYTES] ? size(s[BYTES]) : "–"],
    ["rate", (s) => s[BYTES] ? size(s[BYTES] / s[DURATION] * 1e6) + "/s" : "–"],
    ["where", (s) => s[DEVICE] || (s[NODE] >= 0 ? "node " + s[NODE] : "CPU " + s[CPU])]];
  const spans = view.run.spans.filter((s) => !WHOLE.includes(s[PHASE]))
    .sort((a, b) => b[DURATION] - a[DURATION]).slice(0, 20);
  $("slowest").replaceChildren(element("tr", {}, ...columns.map(([name], i) =>
    element("th", i < 2 ? { class: "name" } : {}, name))));
  for (const span of spans)
    $("slowest").append(element("tr", {}, ...columns.map(([, value], i) =>
      element("td", i < 2 ? { class: "name" } : {}, String(value(span))))));
}

/* What run --kernel-trace has seen. */
function fillKernel() {
  const parts = ["clear", "fault", "pin", "iommu_map", "iommu_unmap", "unpin", "reset", "rest"];
  const seen = data.runs.filter((r) => r.facts && r.facts.kernel_share);
  const rows = seen.flatMap((run) => ["populate", "map", "unmap", "open", "close"]
    .filter((operation) => run.facts.kernel_share[operation])
    .map((operation) => [run, operation, run.facts.kernel_share[operation]]));
  $("kernel-section").hidden = !seen.length;
  $("kernel").append(element("tr", {}, ...["run", "operation", "calls", "total", ...parts]
    .map((name, i) => element("th", i < 2 ? { class: "name" } : {}, name))));
  for (const [run, operation, share] of rows)
    $("kernel").append(element("tr", {}, element("td", { class: "name" }, run.name),
      element("td", { class: "name" }, operation), element("td", {}, String(share.count)),
      element("td", {}, time(share.total_s * 1e6)), ...parts.map((part) => element("td", {},
        share[part + "_s"] ? time(share[part + "_s"] * 1e6) : "–"))));
  for (const run of seen) {
    const share = run.facts.kernel_share;
    const lengths = Array.isArray(share.run_lengths) ? share.run_lengths.filter(Boolean) : [];
    const runs = lengths.map((r) => size(r.bytes) + ": " + r.count).join(", ");
    const lines = [];
    if (runs) lines.push(run.name + ", physically contiguous runs: " + runs);
    if (share.not_seen) lines.push(run.name + ", not seen: " + share.not_seen);
    $("kernel-section").append(...lines.map((line) => element("p", { class: "hint" }, line)));
  }
}

function fillRemarks() {
  $("remarks").append(...data.remarks.map((text) => element("li", {}, text)));
  $("remark-section").hidden = !data.remarks.length;
}

data.runs.forEach((run) => $("tabs").append(element("button",
  { type: "button", role: "tab" }, run.name)));
[...$("tabs").children].forEach((tab, i) => { tab.onclick = () => chooseRun(data.runs[i]); });
fillRuns();
fillRemarks();
fillKernel();
listen();
Object.assign(view, layOut(view.run));
view.end = view.run.duration_us;
setTheme(window.matchMedia("(prefers-color-scheme: dark)").matches);
chooseRun(data.runs[data.runs.length - 1]);
