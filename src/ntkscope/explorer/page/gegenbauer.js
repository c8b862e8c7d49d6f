// κ(cos θ) = Σ_r c_r P_r(cos θ) on the sphere in R^d, P_r(1) = 1, with D_r harmonics of degree r.

const MAX_DEGREE = 400, ENOUGH = 12;  // ln(D_r/N) from which a degree acts as a multiple of 1

// ln D_0, …, ln D_degree, from the ratios D_{r+1}/D_r
function logMultiplicities(dim, degree) {
  const logs = [0, Math.log(dim)];
  for (let r = 1; r < degree; r++) {
    logs.push(logs[r] + Math.log1p(2 / (2 * r + dim - 2)) + Math.log((r + dim - 2) / (r + 1)));
  }
  return logs.slice(0, degree + 1);
}

function degreesNeeded(dim, n) {
  const beyond = logMultiplicities(dim, MAX_DEGREE).findIndex(v => v > Math.log(n) + ENOUGH);
  return beyond < 0 ? MAX_DEGREE : beyond;
}

// Nodes and weights of Gauss and Legendre on [−1, 1], by Newton's method.
function legendre(n) {
  const x = new Float64Array(n), w = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    let z = Math.cos(Math.PI * (i + 0.75) / (n + 0.5)), slope = 0, step = 1;
    for (let turn = 0; turn < 100 && Math.abs(step) > 1e-15; turn++) {
      let now = 1, before = 0;
      for (let k = 0; k < n; k++) {
        [now, before] = [((2 * k + 1) * z * now - k * before) / (k + 1), now];
      }
      slope = n * (z * now - before) / (z * z - 1);
      step = now / slope;
      z -= step;
    }
    x[i] = z;
    w[i] = 2 / ((1 - z * z) * slope * slope);
  }
  return {x, w};
}

// Angles, the weights of the law of the angle between two uniform points, and √D_r P_r at the angles.
const ruleOf = remembered((dim, degree) => {
  const half = Math.min(Math.PI / 2, (12 + 2 * Math.sqrt(degree)) / Math.sqrt(dim));
  const {x, w} = legendre(degree + 120);
  const theta = x.map(v => Math.PI / 2 + half * v);
  const weight = w.map((v, k) => v * Math.exp((dim - 2) * Math.log(Math.sin(theta[k]))));
  const total = weight.reduce((a, b) => a + b);
  const roots = logMultiplicities(dim, degree).map(v => Math.exp(v / 2));
  const table = [];
  let now = theta.map(() => 1), before = theta.map(() => 0);
  for (let r = 0; r <= degree; r++) {
    table.push(now.map(v => roots[r] * v));
    const next = r === 0 ? theta.map(t => Math.cos(t)) : now.map(
      (v, k) => ((2 * r + dim - 2) * Math.cos(theta[k]) * v - r * before[k]) / (r + dim - 2));
    [now, before] = [next, now];
  }
  return {theta, weight: weight.map(v => v / total), table, roots};
});

// c_r, D_r, the tail Σ c_r behind them, and whether N harmonics or more can be told from rounding.
function expansionOf(s) {
  const degree = degreesNeeded(s.dim, s.samples), rule = ruleOf(s.dim, degree);
  const delta = rule.theta.map(t => 2 * Math.sin(t / 2) ** 2);
  const epsilon = rule.theta.map(t => 2 * Math.cos(t / 2) ** 2);
  const {size, lost} = totalOf(termsOf(s, delta, epsilon));
  const weighted = rule.weight.map((w, k) => w * (size - lost[k]));
  const c = rule.table.map((row, r) => rule.roots[r] * dot(row, weighted));
  const spread = Math.sqrt(weighted.reduce((sum, v, k) => sum + v * (size - lost[k]), 0));
  const noise = rule.roots.map((root, r) => 4 * U * lost.length * spread * root
    + 4 * U * r * Math.abs(c[r]));
  const tail = size - c.reduce((a, b) => a + b);
  const error = 8 * U * size + noise.reduce((a, b) => a + b);
  const rank = tail > error ? Infinity
    : c.reduce((sum, v, r) => sum + (v > noise[r] ? rule.roots[r] ** 2 : 0), 0);
  return {c, multiplicity: rule.roots.map(v => v * v), tail, error, rank};
}

// A function of numbers and words that keeps what it made.
function remembered(make) {
  const kept = new Map();
  return (...given) => {
    const key = given.join(" ");
    if (!kept.has(key)) {
      if (kept.size > 16) kept.delete(kept.keys().next().value);
      kept.set(key, make(...given));
    }
    return kept.get(key);
  };
}
