// The page's behaviour: choosing set and scale, sorting, charts, the face browser. No library but vegaEmbed for the charts.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => element("option", { value, selected: value === chosen }, text)));
}

// One state for the whole page; every change ends in a call of one of the show functions below.
const first = Object.keys(data.places).reduce((a, b) => (data.places[b].networks.length > data.places[a].networks.length ? b : a));
const state = { place: first, face: null, view: "image", x: 0, y: 0 };
const place = () => data.places[state.place];
const columnIds = data.columns.map((column) => column.id);
const format = (value, column) =>
  value === null ? "not found" : typeof value === "string" ? value : value.toFixed(column.decimals);

// --- tables -------------------------------------------------------------------------------------------------------------------

function sortValue(row, index) {
  const cell = row.cells[index];
  if (cell.dataset.value === undefined) return cell.textContent.trim().toLowerCase();
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

function sortTable(heading) {
  const table = heading.closest("table");
  const up = heading.getAttribute("aria-sort") !== "ascending";
  const best = heading.dataset.better === "higher" && heading.getAttribute("aria-sort") === "none";
  const rising = best ? false : up; // the first press shows the best on top
  all("th[aria-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
  heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].map((row) => [sortValue(row, heading.cellIndex), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // unknown values stay below
    const order = a === b ? 0 : typeof a === "number" ? a - b : a.localeCompare(b); // Infinity - Infinity is no order
    return rising ? order : -order;
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

function showColumns() {
  all("[data-group-switch]").forEach((box) =>
    all(`[data-group="${box.dataset.groupSwitch}"]`).forEach((cell) => (cell.hidden = !box.checked)));
}

// --- charts -------------------------------------------------------------------------------------------------------------------

const views = {};

// Names beside the points of the cost chart. Vega-Lite cannot place labels so that none lies over another; Vega can.
function withNames(spec) {
  const points = spec.marks.find((mark) => mark.type === "symbol");
  spec.marks.push({
    type: "text",
    from: { data: points.name },
    encode: { enter: { text: { field: "datum.network" }, fill: { value: "currentColor" } } },
    transform: [{
      type: "label",
      size: { signal: "[width, height]" },
      anchor: ["right", "left", "top", "bottom", "top-right", "bottom-right", "top-left", "bottom-left"],
      offset: [2],
    }],
  });
  return spec;
}

async function showChart(name) {
  const spec = place().charts[name];
  all(`[data-chart-section="${name}"], [data-needs="${name}"]`).forEach((node) => (node.hidden = !spec));
  if (views[name]) views[name].finalize();
  delete views[name];
  if (!spec) return;
  const patch = name === "cost" ? withNames : undefined;
  views[name] = await window.vegaEmbed(`#chart-${name}`, spec, { actions: false, renderer: "svg", tooltip: { theme: "custom" }, patch });
  const select = document.querySelector(`[data-metric-of="${name}"]`);
  if (select) showMetric(name, select.value);
}

function showMetric(name, metric) {
  views[name]?.view.signal("metric", metric).run();
  const column = data.columns[columnIds.indexOf(metric)];
  const unit = column.unit ? ` Unit: ${column.unit}.` : "";
  document.querySelector(`[data-direction="${name}"]`).textContent = `${column.title}: ${column.better} is better.${unit}`;
}

// --- faces --------------------------------------------------------------------------------------------------------------------

const face = () => place().faces.find((candidate) => candidate.key === state.face);
const imageOf = (who, of = face()) => (who === "LR" ? of.lr : of.images[who]);
const everyone = () => ["LR", ...place().networks, data.true];

function ordered() {
  const column = columnIds.indexOf(byId("order-metric").value);
  const network = byId("order-network").value;
  const higher = data.columns[column].better === "higher";
  const worst = byId("order-turn").textContent.startsWith("worst");
  const number = (f) => (f.values[network][column] === "∞" ? Infinity : f.values[network][column]);
  const sign = higher === worst ? 1 : -1;
  return [...place().faces].sort((a, b) => {
    const [x, y] = [number(a), number(b)];
    if (x === null || y === null) return worst ? (y === null) - (x === null) : (x === null) - (y === null);
    return x === y ? 0 : sign * (x - y);
  });
}

function showStrip() {
  const column = columnIds.indexOf(byId("order-metric").value);
  const network = byId("order-network").value;
  const thumbs = ordered().map((f) =>
    element("button", { type: "button", "data-face": f.key, "aria-pressed": String(f.key === state.face), title: f.key },
      element("img", { src: imageOf(data.true, f), alt: `Face ${f.key}` }),
      format(f.values[network][column], data.columns[column])));
  byId("strip").replaceChildren(...thumbs);
}

function choose(key, scroll = true) {
  state.face = key;
  all("#strip button").forEach((button) => {
    const chosen = button.dataset.face === key;
    button.setAttribute("aria-pressed", String(chosen));
    if (chosen && scroll) button.parentNode.scrollTo({ left: button.offsetLeft - button.parentNode.clientWidth / 2 });
  });
  showFace();
}

function step(by) {
  const keys = ordered().map((f) => f.key);
  choose(keys[(keys.indexOf(state.face) + by + keys.length) % keys.length]);
}

const VIEWS = {
  image: ["Image", ""],
  landmarks: ["Landmarks", "Circles: the 68 landmarks of the true face. Dots: those found in this image, joined with them by lines."],
  parsing: ["Parsing", "Classes that one parser finds in each image."],
  estimated: ["Estimated map", "The skin map that a network estimates from the LR face, beside the true one of the set."],
  error: ["Error x4", "Absolute difference to the true face, four times as bright."],
};

function available(view) {
  if (view === "image" || view === "error") return true;
  return place().faces.some((f) => Object.keys(f[view]).length);
}

function showViews() {
  if (!available(state.view)) state.view = "image";
  byId("views").replaceChildren(...Object.entries(VIEWS).filter(([view]) => available(view)).map(([view, [text]]) =>
    element("label", {}, element("input", { type: "radio", name: "view", value: view, checked: view === state.view }), text)));
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  node.append(...children);
  return node;
}

function landmarks(who) {
  const [height, width] = face().size;
  const [truth, own] = [face().landmarks[data.true], face().landmarks[who]];
  const unit = width / 128;
  const marks = [];
  for (let i = 0; i < 136; i += 2) {
    if (truth && own && who !== data.true)
      marks.push(svg("line", { x1: truth[i], y1: truth[i + 1], x2: own[i], y2: own[i + 1], stroke: "#fff", "stroke-width": 0.7 * unit }));
    if (truth) marks.push(svg("circle", { cx: truth[i], cy: truth[i + 1], r: 1.3 * unit, fill: "none", stroke: "#39e27d", "stroke-width": 0.6 * unit }));
    if (own && who !== data.true) marks.push(svg("circle", { cx: own[i], cy: own[i + 1], r: unit, fill: "#ff5a36" }));
  }
  return svg("svg", { viewBox: `-0.5 -0.5 ${width} ${height}`, "aria-hidden": "true" }, ...marks);
}

function layers(who) {
  const f = face();
  const picture = element("img", { src: imageOf(who), alt: `${f.key}, ${who}`, draggable: "false" });
  if (who === "LR") picture.classList.add("pixels");
  if (state.view === "landmarks" && who !== "LR") return [picture, landmarks(who)];
  if (state.view === "error" && who !== "LR" && who !== data.true)
    return [picture, element("img", { src: imageOf(data.true), alt: "", class: "minus", draggable: "false" })];
  const map = (f[state.view] || {})[who];
  return map ? [element("img", { src: map, alt: `${f.key}, ${who}, map`, draggable: "false", class: "pixels" })] : [picture];
}

function shown() {
  if (state.view === "estimated") return everyone().filter((who) => who === "LR" || who === data.true || who in face().estimated);
  return everyone();
}

function numbers(who) {
  const values = face().values[who];
  if (!values) return [];
  const first = data.columns[0].protocol; // of several protocols, the first: the others are in the tables
  return data.columns.map((column, i) => [column, values[i]])
    .filter(([column]) => !column.key.startsWith("parsing_iou_") && (!column.protocol || column.protocol === first))
    .map(([column, value]) => element("span", {}, element("i", {}, column.title), format(value, column)));
}

function showFace() {
  const f = face();
  byId("face-name").textContent = f.key;
  byId("view-note").textContent = VIEWS[state.view][1];
  byId("panels").classList.toggle("error", false);
  byId("panels").replaceChildren(...shown().map((who) => {
    const error = state.view === "error" && place().networks.includes(who);
    const note = state.view === "landmarks" && who !== "LR" && !f.landmarks[who] ? " (no face found)" : "";
    return element("figure", { class: error ? "error" : "" },
      element("div", { class: "view" }, element("div", { class: "inner" }, ...layers(who))),
      element("figcaption", {}, element("b", {}, (who === data.true ? "HR (true face)" : who) + note), ...numbers(who)));
  }));
  showZoom();
  showStage();
}

function showZoom() {
  const zoom = Number(byId("zoom").value);
  const room = 1 - 1 / zoom;
  state.x = Math.min(Math.max(state.x, 0), room);
  state.y = Math.min(Math.max(state.y, 0), room);
  const panels = byId("panels");
  panels.style.setProperty("--zoom", zoom);
  panels.style.setProperty("--x", state.x);
  panels.style.setProperty("--y", state.y);
  panels.classList.toggle("zoomed", zoom > 1);
}

function setZoom(zoom, centreX = 0.5, centreY = 0.5) {
  const before = Number(byId("zoom").value);
  const [x, y] = [state.x + centreX / before, state.y + centreY / before];
  byId("zoom").value = zoom;
  state.x = x - centreX / zoom;
  state.y = y - centreY / zoom;
  showZoom();
}

function showStage() {
  for (const side of ["left", "right"]) {
    const who = byId(side).value;
    const image = byId(`stage-${side}`);
    image.src = imageOf(who);
    image.alt = `${state.face}, ${who}`;
    image.classList.toggle("pixels", who === "LR");
    byId(`tag-${side}`).textContent = who;
  }
  byId("stage").style.setProperty("--cut", `${byId("slider").value}%`);
}

function showCases() {
  const column = data.columns[0];
  const buttons = (found) => found.map(([key, value]) => {
    const f = place().faces.find((candidate) => candidate.key === key);
    return [f, key, value];
  });
  const rows = place().cases.map(([network, both]) =>
    element("div", { class: "case-row" }, element("b", {}, network), ...["worst", "best"].map((kind) =>
      element("div", {}, ...buttons(both[kind]).map(([f, key, value]) =>
        element("button", { type: "button", "data-case": key, "data-network": network, title: key, "aria-label": `${kind} case of ${network}: ${key}` },
          element("img", { src: imageOf(network, f), alt: "" }), format(value, column)))))));
  const head = element("div", { class: "case-row case-head" }, element("span", {}, ""), element("span", {}, "worst"), element("span", {}, "best"));
  byId("cases").replaceChildren(head, ...rows);
}

function showPlace(id) {
  state.place = id;
  all("[data-place]").forEach((node) => (node.hidden = node.dataset.place !== id));
  all("[data-place-button]").forEach((node) => node.setAttribute("aria-pressed", String(node.dataset.placeButton === id)));
  const networks = place().networks;
  const best = place().best;
  options(byId("order-network"), networks.map((name) => [name, name]), best);
  const sides = everyone().map((name) => [name, name]);
  const rivals = networks.filter((name) => name !== best);
  options(byId("left"), sides, rivals.includes("Bicubic") ? "Bicubic" : rivals[0] ?? "LR");
  options(byId("right"), sides, best);
  byId("faces").hidden = place().faces.length === 0;
  if (place().faces.length) {
    const faces = ordered(); // a typical face is seen first: neither the worst nor the best
    if (!faces.some((f) => f.key === state.face)) state.face = faces[Math.floor(faces.length / 2)].key;
    showViews();
    showStrip();
    showCases();
    choose(state.face);
  }
  return Promise.all(["differences", "identity", "cost"].map(showChart));
}

// --- what the user does -------------------------------------------------------------------------------------------------------

function drag(event) {
  const view = event.target.closest(".view");
  if (!view || Number(byId("zoom").value) === 1) return;
  event.preventDefault();
  view.setPointerCapture(event.pointerId);
  let [x, y] = [event.clientX, event.clientY];
  const move = (next) => {
    const span = view.clientWidth * Number(byId("zoom").value);
    state.x -= (next.clientX - x) / span;
    state.y -= (next.clientY - y) / span;
    [x, y] = [next.clientX, next.clientY];
    showZoom();
  };
  view.addEventListener("pointermove", move);
  view.addEventListener("pointerup", () => view.removeEventListener("pointermove", move), { once: true });
  view.addEventListener("pointercancel", () => view.removeEventListener("pointermove", move), { once: true });
}

function zoomAt(event) {
  const view = event.target.closest(".view");
  if (!view) return;
  const box = view.getBoundingClientRect();
  setZoom(Number(byId("zoom").value) > 1 ? 1 : 4, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
}

function listen() {
  all("th[aria-sort] button").forEach((button) => button.addEventListener("click", () => sortTable(button.closest("th"))));
  all("[data-place-button]").forEach((button) => button.addEventListener("click", () => showPlace(button.dataset.placeButton)));
  all("[data-metric-of]").forEach((select) => select.addEventListener("change", () => showMetric(select.dataset.metricOf, select.value)));
  all("[data-group-switch]").forEach((box) => box.addEventListener("change", showColumns));
  ["order-metric", "order-network"].forEach((id) => byId(id).addEventListener("change", showStrip));
  byId("order-turn").addEventListener("click", (event) => {
    const worst = event.target.textContent.startsWith("worst");
    event.target.textContent = worst ? "best first" : "worst first";
    showStrip();
  });
  byId("strip").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) choose(button.dataset.face, false);
  });
  byId("strip").addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
    document.querySelector('#strip [aria-pressed="true"]').focus({ preventScroll: true });
  });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("views").addEventListener("change", (event) => { state.view = event.target.value; showFace(); });
  byId("zoom").addEventListener("input", (event) => { state.x = state.y = (1 - 1 / event.target.value) / 2; showZoom(); });
  byId("panels").addEventListener("pointerdown", drag);
  byId("panels").addEventListener("dblclick", zoomAt);
  ["left", "right"].forEach((id) => byId(id).addEventListener("change", showStage));
  byId("slider").addEventListener("input", showStage);
  byId("cases").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    choose(button.dataset.case);
    byId("right").value = button.dataset.network;
    showStage();
    byId("face-name").scrollIntoView({ block: "start" });
  });
}

const choices = data.columns.map((column) => [column.id, column.title]);
options(byId("order-metric"), choices, columnIds[0]);
all("[data-metric-of]").forEach((select) => options(select, choices, columnIds[0]));
listen();
showColumns();
showPlace(state.place).then(() => document.documentElement.setAttribute("data-ready", "true"));
