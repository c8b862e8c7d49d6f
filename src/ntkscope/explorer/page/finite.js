// The empirical kernel of a network that is drawn here, "ntk" parameterization:
// f_l = φ(W_lᵀ f_{l−1}/√n_{l−1}), K = Σ_l (F_{l−1} F_{l−1}ᵀ/n_{l−1}) ∘ (B_l B_lᵀ).

const logistic = z => 1 / (1 + Math.exp(-z));

// 2/√π e^{−x²} Σ_k 2^k x^{2k+1}/(2k+1)!!: every term is positive
function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x, sum = x;
  for (let k = 1; Math.abs(term) > 1e-17 * Math.abs(sum); k++) sum += term *= 2 * x * x / (2 * k + 1);
  return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
}

const broken = below => [z => z > 0 ? z : below * z, z => z > 0 ? 1 : below];
const bell = z => Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
const normal = z => (1 + erf(z * Math.SQRT1_2)) / 2;
const FUNCTIONS = {
  "relu": broken(0),
  "leaky_relu:alpha=0.1": broken(0.1),
  "abs": [Math.abs, Math.sign],
  "identity": [z => z, () => 1],
  "tanh": [Math.tanh, z => 4 * logistic(2 * z) * logistic(-2 * z)],
  "sigmoid": [logistic, z => logistic(z) * logistic(-z)],
  "silu": [z => z * logistic(z), z => logistic(z) * (1 + z * logistic(-z))],
  "softplus": [z => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))), logistic],
  "sin": [Math.sin, Math.cos],
  "erf": [erf, z => 2 / Math.sqrt(Math.PI) * Math.exp(-z * z)],
  "gelu": [z => z * normal(z), z => normal(z) + z * bell(z)],
};

const widthsOf = s => [s.dim, ...Array(s.depth - 1).fill(s.width), 1];
const parametersOf = s => widthsOf(s).slice(1).reduce((sum, n, l) => sum + n * widthsOf(s)[l], 0);

// W_l as n_l rows of n_{l−1} entries N(0, β²)
const drawn = remembered((seed, layer, from, to, betaSq) => {
  const beta = Math.sqrt(betaSq), all = normals(`${seed} weights ${layer} ${from} ${to}`, from * to);
  return Array.from({length: to}, (_, j) => all.slice(j * from, (j + 1) * from).map(v => beta * v));
});

function weightsOf(s) {
  const widths = widthsOf(s), betaSq = s.init === "lecun" ? 1 : 2;
  return widths.slice(1).map((n, l) => drawn(s.seed, l + 1, widths[l], n, betaSq));
}

// The L terms of the kernel, each an N × N matrix.
function finiteTerms(s, rows) {
  const weights = weightsOf(s), widths = widthsOf(s), [phi, slope] = FUNCTIONS[s.activation];
  const features = [rows], slopes = [];
  weights.slice(0, -1).forEach((W, l) => {
    const inner = features[l].map(x => forward(W, x, widths[l]));
    features.push(inner.map(g => g.map(phi)));
    slopes.push(inner.map(g => g.map(slope)));
  });
  const terms = [];
  let signals = rows.map(() => Float64Array.of(1));
  const factor = s.init === "unit" ? s.dim : 1;  // "he" in the units of "unit"
  for (let l = weights.length - 1; l >= 0; l--) {
    terms.unshift(product(features[l], signals, factor / widths[l]));
    if (l > 0) signals = signals.map((b, i) => back(weights[l], b, slopes[l - 1][i], widths[l]));
  }
  return terms;
}

// W_{l+1}ᵀ f_l/√n_l
function forward(W, x, width) {
  const out = new Float64Array(W.length), scale = 1 / Math.sqrt(width);
  for (let j = 0; j < out.length; j++) out[j] = scale * dot(W[j], x);
  return out;
}

// B_l = (W_{l+1} B_{l+1}/√n_l) ∘ φ′
function back(W, signal, slope, width) {
  const out = new Float64Array(slope.length), scale = 1 / Math.sqrt(width);
  for (let j = 0; j < W.length; j++) {
    const w = W[j], b = scale * signal[j];
    for (let k = 0; k < out.length; k++) out[k] += w[k] * b;
  }
  for (let k = 0; k < out.length; k++) out[k] *= slope[k];
  return out;
}

function product(F, B, factor) {
  const n = F.length, K = F.map(() => new Float64Array(n));
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) K[i][j] = K[j][i] = factor * dot(F[i], F[j]) * dot(B[i], B[j]);
  }
  return K;
}

function sumOf(matrices) {
  return matrices[0].map((_, i) => matrices.reduce(
    (sum, M) => sum.map((v, j) => v + M[i][j]), new Float64Array(matrices[0].length)));
}
