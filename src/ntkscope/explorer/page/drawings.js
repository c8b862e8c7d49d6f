// The three charts of a result.

const COLOURS = {limit: "#0072B2", finite: "#D55E00", bound: "#8a8f98", law: "#009E73"};
const nameOf = (kind, s) => kind === "limit" ? "infinite width" : `width ${s.width}`;

// λ_min as a dot between its bounds.
function boundsChart(r) {
  const dots = [["limit", r.limit.smallest], ["finite", r.finite?.smallest]]
    .filter(([, e]) => e && e.value > 0);
  const bounds = r.bounds.filter(b => b.value > 0);
  const values = [...dots.map(([, e]) => e.value), ...bounds.map(b => b.value)];
  if (!dots.some(([kind]) => kind === "limit")) return null;
  const low = 0.6 * Math.min(...values), high = 1.7 * Math.max(...values);
  const left = 140, right = WIDTH - 20, row = 34, top = 14;
  const entries = [
    ...dots.map(([kind, e]) => ({name: nameOf(kind, r.setting), kind, ...e})),
    ...r.bounds.map(b => ({...b, name: `${b.kind === "lower" ? "≥" : "≤"} ${b.name}`})),
  ];
  const bottom = top + row * entries.length, scale = logScale(low, high, left, right);
  const parts = logAxis(scale, top, bottom, "λ_min");
  const [below, above] = tightest(r.bounds);
  const from = below > 0 ? scale.at(below) : left, to = scale.at(above);
  parts.push(box(from, top, to - from, bottom - top, 'class="band"'));
  entries.forEach((e, k) => {
    const y = top + row * (k + 0.5);
    parts.push(write(left - 8, y + 4.5, e.name, "end"));
    if (e.value <= 0) return parts.push(write(left + 6, y + 4.5, "0: says nothing here"));
    const x = scale.at(e.value), colour = COLOURS[e.kind] ?? COLOURS.bound;
    const shape = e.kind === "lower" ? `M${x - 6} ${y - 8}L${x} ${y}L${x - 6} ${y + 8}`
      : `M${x + 6} ${y - 8}L${x} ${y}L${x + 6} ${y + 8}`;
    const mark = e.kind in COLOURS ? `<circle cx="${x.toFixed(1)}" cy="${y}" r="7" fill="${colour}"/>`
      : stroke("currentColor", 2.5, shape);
    parts.push(hover(mark, `${e.name}: ${number(e.value, 4)}`));
    const leftwards = x > (left + right) / 2;
    parts.push(write(leftwards ? x - 14 : x + 14, y + 4.5, number(e.value), leftwards ? "end" : "start"));
  });
  const said = entries.map(e => `${e.name}: ${number(e.value, 3)}`).join("; ");
  return svg(bottom + 50, `λ_min and its bounds. ${said}`, parts);
}

function tightest(bounds) {
  const of = kind => bounds.filter(b => b.kind === kind).map(b => b.value);
  return [Math.max(0, ...of("lower")), Math.min(...of("upper"))];
}

// Histogram on a logarithmic axis, the predicted number in each bin, and each eigenvalue as a stroke.
function spectrumChart(r) {
  const sets = [["limit", r.limit], ["finite", r.finite]].filter(([, e]) => e)
    .map(([kind, e]) => ({kind, values: e.values.filter(v => v > e.noise)}))
    .filter(e => e.values.length);
  const all = sets.flatMap(e => e.values);
  if (!all.length) return null;
  const law = r.prediction?.density ? r.prediction : null;
  const low = Math.min(...all) * 0.7, high = Math.max(...all) * 1.4;
  const left = 36, right = WIDTH - 16, top = 34, base = 200, bottom = base + 18 * sets.length + 8;
  const scale = logScale(low, high, left, right), bins = 24;
  const width = Math.log(high / low) / bins;
  const counts = new Array(bins).fill(0);
  for (const v of sets[0].values) counts[Math.min(bins - 1, Math.floor(Math.log(v / low) / width))]++;
  const expected = law ? law.density.map(v => v * r.setting.samples * width) : [];
  const inside = (_, k) => law.eigenvalues[k] > low && law.eigenvalues[k] < high;
  const most = Math.max(...counts, ...expected.filter(inside));
  const height = v => base - (base - top) * v / (1.05 * most);
  const parts = logAxis(scale, top, bottom, "eigenvalue");
  const tick = Math.max(1, Math.ceil(most / 4));
  for (let v = 0; v <= most; v += tick) parts.push(write(left - 7, height(v) + 4.5, String(v), "end"));
  counts.forEach((n, k) => {
    if (!n) return;
    const x = scale.at(low * Math.exp(k * width)), next = scale.at(low * Math.exp((k + 1) * width));
    const bar = box(x + 0.5, height(n), next - x - 1, base - height(n), `fill="${COLOURS.limit}" fill-opacity=".55"`);
    parts.push(hover(bar, `${n} eigenvalues`));
  });
  if (law) {
    const points = law.eigenvalues.map((v, k) => [v, expected[k]])
      .filter(([v]) => v >= low && v <= high)
      .map(([v, y]) => `${scale.at(v).toFixed(1)} ${height(y).toFixed(1)}`);
    parts.push(stroke(COLOURS.law, 2.5, `M${points.join("L")}`));
  }
  sets.forEach(({kind, values}, k) => {
    const y = base + 6 + 18 * k;
    const strokes = values.map(v => `M${scale.at(v).toFixed(1)} ${y}v12`).join("");
    parts.push(hover(stroke(COLOURS[kind], 1.5, strokes), `every eigenvalue, ${nameOf(kind, r.setting)}`));
  });
  parts.push(...legend([["limit", nameOf("limit", r.setting)], ...(law ? [["law", "predicted"]] : []),
    ...(r.finite ? [["finite", nameOf("finite", r.setting)]] : [])]));
  const said = sets.map(({kind, values}) => `${nameOf(kind, r.setting)}, ${values.length} eigenvalues from `
    + `${number(Math.min(...values))} to ${number(Math.max(...values))}`);
  return svg(bottom + 50, `Spectrum: ${said.join("; ")}`, parts);
}

function legend(entries) {
  let x = 12;
  return entries.map(([kind, name]) => {
    const mark = `<rect x="${x}" y="6" width="14" height="12" fill="${COLOURS[kind]}"/>${write(x + 20, 17, name)}`;
    x += 34 + 7.4 * name.length;
    return mark;
  });
}

// The part of λ_min that the gradients of each layer make.
function sharesChart(r) {
  const sets = [["limit", r.limit.shares], ["finite", r.finite?.shares]].filter(([, e]) => e);
  if (!sets.length) return null;
  const layers = sets[0][1].length, left = 64, right = WIDTH - 56, top = 32, row = 36;
  const bottom = top + row * layers, parts = [];
  const most = Math.max(...sets.flatMap(([, e]) => e));
  for (let l = 0; l < layers; l++) {
    const y = top + row * l;
    parts.push(write(left - 8, y + row / 2 + 4, `layer ${l + 1}`, "end"));
    sets.forEach(([kind, shares], k) => {
      const thick = (row - 8) / sets.length, at = y + 4 + thick * k;
      const length = (right - left) * shares[l] / most;
      const bar = box(left, at, Math.max(1, length), thick - 1, `fill="${COLOURS[kind]}"`);
      parts.push(hover(bar, `${nameOf(kind, r.setting)}, layer ${l + 1}: ${percent(shares[l])}`));
      if (sets.length === 1) parts.push(write(left + length + 6, y + row / 2 + 4, percent(shares[l])));
    });
  }
  parts.push(`<path class="axis" d="M${left} ${top}V${bottom}"/>`);
  parts.push(...legend(sets.map(([kind]) => [kind, nameOf(kind, r.setting)])));
  const said = sets.map(([kind, shares]) => `${nameOf(kind, r.setting)}: `
    + shares.map((v, l) => `layer ${l + 1} ${percent(v)}`).join(", "));
  return svg(bottom + 8, `Shares of λ_min. ${said.join("; ")}`, parts);
}

const percent = v => `${v >= 0.0995 ? Math.round(100 * v) : number(100 * v)}%`;
