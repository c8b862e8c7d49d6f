// The predicted density of the eigenvalues for points that are random on the sphere.
//
// With m = (1/N) tr (K − z)⁻¹ and γ_r = N/D_r: z = Σ_r c_r/(1 + γ_r c_r m) − 1/m.

const LEAST_DIM = 5;  // below it a degree has too few harmonics for a law of large numbers
const POINTS = 160, SMOOTHING = 0.03;

// {edge, eigenvalues, density per unit of ln λ}, or {reason} where there is none
function predictionOf(s) {
  if (s.data !== "sphere" || s.duplicate) {
    return {reason: "The predicted density is for points that are random on the sphere."};
  }
  if (s.dim < LEAST_DIM) {
    return {reason: `No predicted density below d = ${LEAST_DIM}: the law needs many harmonics in each degree.`};
  }
  const law = expansionOf(s);
  if (law.rank < s.samples || law.tail < 2 * law.error) {
    return {reason: "No predicted density: the coefficients of the kernel are below rounding here."};
  }
  const gamma = law.multiplicity.map(v => s.samples / v), c = law.c;
  const edge = edgeOf(gamma, c, law.tail);
  const top = law.tail + c.reduce((sum, v, r) => sum + v * Math.max(1, 4 * gamma[r]), 0);
  const step = Math.log(2 * top / (0.3 * edge)) / (POINTS - 1);
  const eigenvalues = Array.from({length: POINTS}, (_, k) => 0.3 * edge * Math.exp(k * step));
  const density = densityOf(gamma, c, law.tail, eigenvalues).map((v, k) => v * eigenvalues[k]);
  return {edge, eigenvalues, density};
}

// The largest z(m): where Σ_r γ_r (c_r m)²/(1 + γ_r c_r m)² = 1, by bisection in ln m.
function edgeOf(gamma, c, tail) {
  const excess = log => {
    const m = Math.exp(log);
    return c.reduce((sum, v, r) => sum + gamma[r] * (v * m / (1 + gamma[r] * v * m)) ** 2, -1);
  };
  let low = -40, high = 80;
  for (let turn = 0; turn < 80; turn++) {
    const middle = (low + high) / 2;
    if (excess(middle) > 0) high = middle; else low = middle;
  }
  const m = Math.exp(high);
  return c.reduce((sum, v, r) => sum + v / (1 + gamma[r] * v * m), tail) - 1 / m;
}

// Im m/π at z = x(1 + i s), s lowered from 1 to SMOOTHING, by Newton's method in the upper half-plane.
function densityOf(gamma, c, tail, grid) {
  const stages = Math.ceil(-2 * Math.log2(SMOOTHING));
  return grid.map(x => {
    let mr = -0.5 / x, mi = 0.5 / x;  // −1/(x(1 + i))
    for (let stage = 0; stage < stages; stage++) {
      const zi = x * SMOOTHING ** (stage / (stages - 1));
      for (let turn = 0; turn < 60; turn++) {
        // S = Σ c/(1 + γ c m), its slope −Σ γ c²/(1 + γ c m)²
        let sr = tail, si = 0, tr = 0, ti = 0;
        for (let r = 0; r < c.length; r++) {
          const g = gamma[r] * c[r], a = 1 + g * mr, b = g * mi, size = a * a + b * b;
          const ur = a / size, ui = -b / size;
          sr += c[r] * ur;
          si += c[r] * ui;
          tr -= g * c[r] * (ur * ur - ui * ui);
          ti -= 2 * g * c[r] * ur * ui;
        }
        const vr = sr - x, vi = si - zi, size = vr * vr + vi * vi;
        const ir = vr / size, ii = -vi / size;  // 1/(S − z)
        const qr = ir * ir - ii * ii, qi = 2 * ir * ii;
        const fr = ir - mr, fi = ii - mi;
        const er = -(tr * qr - ti * qi) - 1, ei = -(tr * qi + ti * qr), norm = er * er + ei * ei;
        const stepR = (fr * er + fi * ei) / norm, stepI = (fi * er - fr * ei) / norm;
        const before = mi;
        mr -= stepR;
        mi -= stepI;
        if (mi <= 0) mi = before / 2;  // a step across the axis leaves the branch
        if (Math.hypot(stepR, stepI) < 1e-10 * Math.hypot(mr, mi)) break;
      }
    }
    return mi / Math.PI;
  });
}
