// What theorems say of λ_min of the limiting kernel, as numbers.

// The largest off-diagonal row sum of |ρ|^k for each exponent of the tables.
function rowSums(pairs) {
  const n = pairs.n, sums = TABLES.exponents.map(() => new Float64Array(n));
  for (let p = 0; p < pairs.delta.length; p++) {
    const log = Math.log(Math.abs(1 - pairs.delta[p]));
    for (let e = 0; e < sums.length; e++) {
      const power = Math.exp(TABLES.exponents[e] * log);
      if (power < 1e-18) break;
      sums[e][pairs.i[p]] += power;
      sums[e][pairs.j[p]] += power;
    }
  }
  return sums.map(row => Math.max(...row));
}

// Σ_k κ_k max(0, 1 − row sum of |ρ|^k), null where there is no table of κ_k.
function floorOf(s, sums) {
  const floors = TABLES.activations[s.activation].floors;
  const row = (floors[s.init] ?? floors.he)[s.depth - 2];
  if (!row) return null;
  const parts = sums.map(v => Math.max(0, 1 - v));
  let total = row[sums.length] * parts.at(-1);
  parts.forEach((part, e) => { total += row[e] * part; });
  return total * scaleFrom(s);
}

// Tables of homogeneous activations are those of "he": β² = 2 at each of L − 1 layers.
function scaleFrom(s) {
  if (s.init === "unit") return s.dim;
  const homogeneous = TABLES.activations[s.activation].parts;
  return homogeneous && s.init === "lecun" ? 0.5 ** (s.depth - 1) : 1;
}

// What one hidden layer of ReLU has in these units, times the kernel that its theorems are about.
const shallowScale = s => ({lecun: 1, he: 2, unit: 2 * s.dim})[s.init];
const isShallowRelu = s => s.activation === "relu" && s.depth === 2;

// (2π)^{−3/2} θ/√(2 log 2N + θ²)
function linearRate(s, pairs) {
  const theta = 2 * Math.asin(Math.sqrt(Math.min(least(pairs.delta), least(pairs.epsilon)) / 2));
  const under = Math.sqrt(2 * Math.log(2 * pairs.n) + theta * theta);
  return shallowScale(s) * (2 * Math.PI) ** -1.5 * theta / under;
}

const separation = pairs => Math.sqrt(2 * Math.min(least(pairs.delta), least(pairs.epsilon)));
const distance = pairs => Math.sqrt(2 * least(pairs.delta));

function least(values) {
  let found = Infinity;
  for (const v of values) if (v < found) found = v;
  return found;
}

function placeOfLeast(values) {
  let place = 0;
  values.forEach((v, p) => { if (v < values[place]) place = p; });
  return place;
}

// Every bound that speaks here: {name, statement, kind, value}.
function boundsOf(s, pairs, total) {
  const found = [], add = (name, statement, kind, value) =>
    found.push({name, statement, kind, value});
  const floor = floorOf(s, rowSums(pairs));
  if (floor !== null) add("row sums of |ρ|ᵏ", "karhadkar2024.floor", "lower", floor);
  if (isShallowRelu(s)) {
    add("smallest angle", "karhadkar2024.linear-rate", "lower", linearRate(s, pairs));
    add("0.88 δ′", "karhadkar2024.angle", "upper", shallowScale(s) * 0.88 * distance(pairs));
  }
  const opposite = total.lost.map(v => 2 * total.size - v);
  const pair = Math.max(0, Math.min(least(total.lost), least(opposite)));
  add("nearest pair", "karhadkar2024.pair", "upper", pair);
  add("one sample", "nguyen2021.eq-27", "upper", total.size);
  return found;
}
