// From the controls to a result, and from the result to the page.

const WIDTHS = [8, 16, 32, 64, 128, 256, Infinity];
const field = id => document.getElementById(id);
let timer = 0, shown = null;

function settingOf() {
  const value = id => Number(field(id).value);
  return {
    activation: field("activation").value,
    init: field("init").value,
    depth: value("depth"),
    width: WIDTHS[value("width")],
    samples: value("samples"),
    dim: value("dim"),
    data: field("data").value,
    distance: 10 ** value("distance"),
    seed: Math.max(0, Math.floor(value("seed")) || 0),
    duplicate: field("duplicate").getAttribute("aria-pressed") === "true",
  };
}

// What is computed at every move: the limiting kernel, its eigenvalues and its bounds.
function limitOf(s) {
  const rows = rowsOf(s), pairs = pairsOf(rows);
  const terms = termsOf(s, pairs.delta, pairs.epsilon), total = totalOf(terms);
  const place = placeOfLeast(total.lost), near = total.lost[place];
  const exact = (s.dim + 8 + 8 * s.depth) * U, wrong = new Array(s.samples).fill(exact);
  // what near points lose is known relative to itself, what opposite ones lose relative to K_ii
  const small = near / total.size;
  if (near > 0) wrong[pairs.i[place]] /= pairs.delta[place] < 0.5 ? Math.sqrt(small) : small;
  const why = whyZero(s, pairs);
  const solved = eigen(matrixOf(total, pairs, place), wrong), vector = solved.vectors[0];
  const limit = {...outcome(solved, why), largest: solved.values.at(-1),
    noise: solved.certain ? 0 : 2 * s.samples * U * total.size};
  const bounds = boundsOf(s, pairs, total), [below, above] = tightest(bounds);
  limit.most = Math.min(limit.most, above);
  limit.shares = !limit.certain || why ? null
    : sharesOf(terms.map(t => quadratic(matrixOf(t, pairs, place), vector)));
  const a = pairs.i[place], b = pairs.j[place];
  const nearest = {i: a, j: b, angle: 2 * Math.asin(Math.sqrt(pairs.delta[place] / 2)),
    weight: vector ? vector[a] ** 2 + vector[b] ** 2 : 1};
  return {setting: s, rows, pairs, terms, total, place, limit, bounds, below, above, why, nearest,
    finite: null, prediction: null};
}

function outcome(solved, zero) {
  const value = zero ? 0 : solved.values[0], error = zero ? 0 : solved.error;
  return {values: solved.values, smallest: {value, error}, certain: zero ? true : solved.certain,
    most: value + error};
}

function sharesOf(parts) {
  const sum = parts.reduce((a, b) => a + b);
  return parts.map(v => v / sum);
}

// What comes a moment later: the predicted density, and the network that is drawn.
function restOf(r) {
  const s = r.setting;
  r.prediction = predictionOf(s);
  if (s.width === Infinity) return r;
  const terms = finiteTerms(s, r.rows), K = sumOf(terms), parameters = parametersOf(s);
  const zero = parameters < s.samples ? `its ${parameters} weights are fewer than N = ${s.samples}`
    : r.why ? r.why.short : null;
  const exact = (Math.max(s.dim, s.width) + 8) * s.depth * U;
  const solved = eigen(K, new Array(s.samples).fill(exact));
  r.finite = {...outcome(solved, zero), zero, parameters, terms, kernel: K,
    largest: solved.values.at(-1), noise: s.samples * exact * solved.values.at(-1)};
  r.finite.shares = zero || !solved.certain ? null
    : sharesOf(terms.map(T => quadratic(T, solved.vectors[0])));
  return r;
}

function show(r, done) {
  shown = [r, done];
  WIDTH = chartWidth();
  field("answer").setAttribute("aria-busy", String(!done));
  field("answer").innerHTML = indexed(answerOf(r)) + (done || r.setting.width === Infinity ? "" : " …");
  draw("bounds", boundsChart(r), r.why ? "λ_min = 0, and so is every lower bound."
    : `Too small to be drawn: λ_min ≤ ${number(r.limit.most)}.`);
  draw("spectrum", spectrumChart(r), "");
  field("spectrum-note").textContent = spectrumNote(r);
  draw("shares", sharesChart(r), "λ_min is 0 or below rounding, so no layer has a share of it.");
  field("remarks").innerHTML = remarksOf(r).map(text => `<p>${indexed(text)}</p>`).join("");
  field("theorems").innerHTML = theoremsOf(r).map(t => `<li><b>${indexed(t.title)}</b> `
    + `<span class="soft small">${indexed(t.source)}</span><br>${indexed(t.sentence)}<br>`
    + `Here: ${indexed(t.here)}</li>`).join("");
}

const chartWidth = () => Math.min(720, Math.max(280, field("bounds").clientWidth));

function draw(id, picture, otherwise) {
  const box = field(id);
  box.querySelector(".drawing").innerHTML = picture ?? `<p class="soft">${indexed(otherwise)}</p>`;
}

// λ_min, W_l and x^2 with real indices
const indexed = text => clean(text).replace(/([_^])(?:\{([^{}]*)\}|\(([^()]*)\)|([A-Za-z0-9−]+))/g,
  (_, mark, a, b, c) => mark === "_" ? `<sub>${a ?? b ?? c}</sub>` : `<sup>${a ?? b ?? c}</sup>`);

function update() {
  const s = settingOf();
  labels(s);
  clearTimeout(timer);
  const r = limitOf(s);
  show(r, false);
  timer = setTimeout(() => { show(restOf(r), true); remember(s); }, 150);
}

function labels(s) {
  const say = (id, text) => {
    field(`${id}-value`).textContent = text;
    field(id).setAttribute("aria-valuetext", text);
  };
  say("depth", `${s.depth} layers`);
  say("width", s.width === Infinity ? "∞" : String(s.width));
  say("samples", String(s.samples));
  say("dim", String(s.dim));
  say("distance", number(s.distance));
  const distant = s.data === "pair" || s.data === "clusters";
  field("distance-box").hidden = !distant;
  field("distance-name").textContent = s.data === "pair" ? "Angle of the close pair (rad)" : "Spread of a cluster";
  const unit = field("init").querySelector('[value="unit"]');
  unit.disabled = !TABLES.activations[s.activation].parts;
}

// The setting stands in the address, so that a link leads back to it.
function remember(s) {
  if (!location.protocol.startsWith("about")) {
    history.replaceState(null, "", `#${new URLSearchParams(Object.entries(s))}`);
  }
}

// A setting as text or numbers, into the controls.
function put(given) {
  for (const id of ["activation", "init", "data", "depth", "samples", "dim", "seed"]) {
    if (given[id] !== undefined) field(id).value = given[id];
  }
  if (given.width !== undefined) field("width").value = Math.max(0, WIDTHS.indexOf(Number(given.width)));
  if (given.distance !== undefined) field("distance").value = Math.log10(Number(given.distance));
  if (given.duplicate !== undefined) {
    field("duplicate").setAttribute("aria-pressed", String(given.duplicate));
  }
}

function begin() {
  const list = field("activation");
  for (const [name, about] of Object.entries(TABLES.activations)) {
    list.add(new Option(about.label, name, name === "relu", name === "relu"));
  }
  put(Object.fromEntries(new URLSearchParams(location.hash.slice(1))));
  field("controls").addEventListener("input", event => {
    if (event.target === list && field("init").value === "unit" && !TABLES.activations[list.value].parts) {
      field("init").value = "he";
    }
    update();
  });
  field("controls").addEventListener("submit", event => event.preventDefault());
  field("duplicate").addEventListener("click", () => {
    put({duplicate: field("duplicate").getAttribute("aria-pressed") !== "true"});
    update();
  });
  const follow = new ResizeObserver(() => { if (chartWidth() !== WIDTH) show(...shown); });
  follow.observe(field("bounds"));
  update();
}

// for the console: explorer.solve({activation: "tanh", depth: 3}) has every number of the page
globalThis.explorer = {
  settingOf, update, put, limitOf, restOf, weightsOf, matrixOf, expansionOf,
  solve: (given = {}) => { put(given); return restOf(limitOf(settingOf())); },
};
begin();
