// The inputs: N rows of norm √d, and the angles between them.

const CLUSTERS = 4;

// A point keeps its place when others come or go: each has a stream of its own.
function rowsOf(s) {
  const rows = [];
  for (let i = 0; i < s.samples; i++) rows.push(point(s, i));
  if (s.data === "pair") rows[1] = turned(rows[0], normals(`${s.seed} turn`, s.dim), s.distance);
  if (s.duplicate) rows[s.samples - 1] = rows[0].slice();
  return rows;
}

function point(s, i) {
  if (s.data === "circle") {
    const angle = 2 * Math.PI * i / s.samples + 0.1, row = new Float64Array(s.dim);
    row[0] = Math.sqrt(s.dim) * Math.cos(angle);
    row[1] = Math.sqrt(s.dim) * Math.sin(angle);
    return row;
  }
  const own = normals(`${s.seed} point ${i}`, s.dim);
  if (s.data !== "clusters") return onSphere(own);
  const centre = onSphere(normals(`${s.seed} centre ${i % CLUSTERS}`, s.dim));
  return onSphere(centre.map((c, k) => c + s.distance * own[k]));
}

function onSphere(x) {
  const factor = Math.sqrt(x.length / dot(x, x));
  return x.map(v => v * factor);
}

// x turned by the angle towards another direction
function turned(x, direction, angle) {
  const along = dot(x, direction) / dot(x, x);
  const tangent = onSphere(direction.map((v, k) => v - along * x[k]));
  return x.map((v, k) => Math.cos(angle) * v + Math.sin(angle) * tangent[k]);
}

function dot(x, y) {
  let sum = 0;
  for (let k = 0; k < x.length; k++) sum += x[k] * y[k];
  return sum;
}

// Of every pair i < j: 1 − ρ and 1 + ρ, by differences and sums, so that none of them cancels.
function pairsOf(rows) {
  const n = rows.length, d = rows[0].length, count = n * (n - 1) / 2;
  const pairs = {n, i: new Int32Array(count), j: new Int32Array(count),
    delta: new Float64Array(count), epsilon: new Float64Array(count)};
  for (let i = 0, p = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++, p++) {
      let apart = 0, across = 0;
      for (let k = 0; k < d; k++) {
        const minus = rows[i][k] - rows[j][k], plus = rows[i][k] + rows[j][k];
        apart += minus * minus;
        across += plus * plus;
      }
      pairs.i[p] = i;
      pairs.j[p] = j;
      pairs.delta[p] = apart / (2 * d);
      pairs.epsilon[p] = across / (2 * d);
    }
  }
  return pairs;
}
