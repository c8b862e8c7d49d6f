// Eigenvalues of positive semidefinite matrices: a pivoted Cholesky factor, then one-sided Jacobi.
//
// Each eigenvalue keeps the relative accuracy that the matrix has after its rows are scaled to a unit
// diagonal (Demmel and Veselić 1992), which a small diagonal entry does not spoil.

const U = 2 ** -53;

// n × n rows of size − lost, in the basis in which the nearest pair is e_i − e_j and e_i + e_j over √2:
// its difference is then a diagonal entry, known to its last digits.
function matrixOf({size, lost}, pairs, nearest) {
  const n = pairs.n, K = Array.from({length: n}, () => new Float64Array(n));
  const gone = Array.from({length: n}, () => new Float64Array(n));
  for (let p = 0; p < lost.length; p++) {
    gone[pairs.i[p]][pairs.j[p]] = gone[pairs.j[p]][pairs.i[p]] = lost[p];
  }
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) K[i][j] = size - gone[i][j];
  if (nearest === undefined) return K;
  const a = pairs.i[nearest], b = pairs.j[nearest];
  for (let k = 0; k < n; k++) {
    if (k === a || k === b) continue;
    K[a][k] = K[k][a] = (gone[b][k] - gone[a][k]) * Math.SQRT1_2;
    K[b][k] = K[k][b] = (2 * size - gone[a][k] - gone[b][k]) * Math.SQRT1_2;
  }
  K[a][a] = gone[a][b];
  K[b][b] = 2 * size - gone[a][b];
  K[a][b] = K[b][a] = 0;
  return K;
}

// values, rising; vectors[k] of values[k], null where it is below rounding; error of the smallest.
// wrong[i]: what row i is wrong by, relative to √(K_ii K_jj).
function eigen(K, wrong) {
  const n = K.length;
  const {columns, order, left} = factor(K, wrong);
  const sensitivity = columns.length === n ? scaledInverse(K, columns, order) : Infinity;
  orthogonalise(columns);
  const found = columns.map(c => ({value: dot(c, c), vector: c}))
    .sort((a, b) => a.value - b.value);
  const hidden = n - found.length;
  for (const f of found) {
    const length = Math.sqrt(f.value);
    f.vector = f.vector.map(v => v / length);
  }
  const values = [...Array(hidden).fill(0), ...found.map(f => f.value)];
  const vectors = [...Array(hidden).fill(null), ...found.map(f => f.vector)];
  const worst = Math.max(...wrong);
  const relative = (n * worst + 8 * n * U) * sensitivity;
  const error = hidden ? left : values[0] * relative;
  return {values, vectors, error, certain: hidden === 0 && relative < 0.5};
}

// K = Σ g gᵀ over the columns, largest pivot first; what falls to its own rounding is left out.
function factor(K, wrong) {
  const n = K.length, rest = K.map((row, i) => row[i]), done = new Uint8Array(n);
  const noise = rest.map((v, i) => (4 * n * U + wrong[i]) * v);
  const columns = [], order = [];
  for (;;) {
    let p = -1;
    for (let i = 0; i < n; i++) {
      if (!done[i] && rest[i] > noise[i] && (p < 0 || rest[i] > rest[p])) p = i;
    }
    if (p < 0) break;
    const g = new Float64Array(n), root = Math.sqrt(rest[p]);
    for (let i = 0; i < n; i++) {
      if (done[i] || i === p) continue;
      let v = K[i][p];
      for (const c of columns) v -= c[i] * c[p];
      g[i] = v / root;
      rest[i] -= g[i] * g[i];
    }
    g[p] = root;
    done[p] = 1;
    columns.push(g);
    order.push(p);
  }
  let left = 0;  // the trace of what is left out, and its rounding
  for (let i = 0; i < n; i++) if (!done[i]) left += Math.abs(rest[i]) + noise[i];
  return {columns, order, left};
}

// tr S⁻¹ of the matrix with its diagonal scaled to 1: no eigenvalue of S is below its inverse.
function scaledInverse(K, columns, order) {
  const n = order.length, T = order.map((i, r) => {
    const scale = 1 / Math.sqrt(K[i][i]), row = new Float64Array(r + 1);
    for (let c = 0; c <= r; c++) row[c] = columns[c][i] * scale;
    return row;
  });
  let total = 0;
  for (let c = 0; c < n; c++) {
    const x = new Float64Array(n);
    for (let r = c; r < n; r++) {
      let v = r === c ? 1 : 0;
      for (let k = c; k < r; k++) v -= T[r][k] * x[k];
      x[r] = v / T[r][r];
      total += x[r] * x[r];
    }
  }
  return total;
}

// Turns pairs of columns until all are orthogonal; Σ g gᵀ stays.
function orthogonalise(columns) {
  const squares = columns.map(c => dot(c, c));
  for (let sweep = 0, turnedAny = true; turnedAny && sweep < 40; sweep++) {
    turnedAny = false;
    for (let i = 0; i < columns.length; i++) {
      for (let j = i + 1; j < columns.length; j++) {
        const x = columns[i], y = columns[j], inner = dot(x, y);
        if (Math.abs(inner) <= 2 * U * Math.sqrt(x.length * squares[i] * squares[j])) continue;
        turnedAny = true;
        const zeta = (squares[j] - squares[i]) / (2 * inner);
        const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const c = 1 / Math.sqrt(1 + t * t), s = c * t;
        for (let k = 0; k < x.length; k++) {
          const u = x[k], v = y[k];
          x[k] = c * u - s * v;
          y[k] = s * u + c * v;
        }
        squares[i] = dot(x, x);
        squares[j] = dot(y, y);
      }
    }
  }
}

function quadratic(K, v) {
  return dot(K.map(row => dot(row, v)), v);
}
