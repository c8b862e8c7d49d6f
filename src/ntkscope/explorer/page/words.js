// What the numbers of a result say, in sentences.

function answerOf(r) {
  const s = r.setting, e = r.limit;
  const first = r.why ? `λ_min = 0: ${r.why.short}.`
    : !e.certain ? `λ_min is too small for double precision: at most ${number(e.most)}.`
    : `λ_min = ${known(e.smallest)} at infinite width.`;
  const steps = r.why ? "No number of steps of gradient descent fits every choice of labels."
    : !e.certain ? `Gradient descent at the step 1/λ_max needs ${number(stepsOf(e.most, e.largest))} steps or more to divide the loss by 1,000, for the worst labels.`
    : `Gradient descent at the step 1/λ_max needs about ${number(stepsOf(e.smallest.value, e.largest))} steps to divide the loss by 1,000, for the worst labels.`;
  if (!r.finite) return `${first} ${steps}`;
  const f = r.finite;
  const drawnValue = f.zero ? `0: ${f.zero}`
    : f.certain ? known(f.smallest) : `too small for double precision, at most ${number(f.most)}`;
  return `${first} ${steps} One network of width ${s.width} has λ_min = ${drawnValue}.`;
}

// Why λ_min is 0 exactly, or null.
function whyZero(s, pairs) {
  const {parity, parts} = TABLES.activations[s.activation];
  const named = p => `points ${pairs.i[p] + 1} and ${pairs.j[p] + 1}`;
  const equal = pairs.delta.findIndex(v => v === 0);
  if (equal >= 0) {
    return {short: `${named(equal)} are equal`, long: `The network gives ${named(equal)} the same output, whatever its weights, so their rows of the kernel are equal and the kernel is singular: e_i − e_j is an eigenvector of eigenvalue 0. Different labels on them cannot be fitted.`};
  }
  const rank = s.data === "circle" ? 2 : s.dim;
  if (parts && parts[1] === 0 && s.samples > rank) {
    return {short: `a linear network's kernel has rank ${rank} and N = ${s.samples}`, long: `Without a bend in φ the network is linear in its inputs at every depth. They span ${rank} dimensions, so the kernel has rank ${rank} at most.`};
  }
  const opposite = parity ? pairs.epsilon.findIndex(v => v < 1e-28) : -1;
  if (opposite >= 0) {
    const kind = parity < 0 ? "odd" : "even", sign = parity < 0 ? "−f(x)" : "f(x)";
    return {short: `${named(opposite)} are opposite and φ is ${kind}`, long: `φ is ${kind}, so the network has f(−x) = ${sign} whatever its weights: the values at ${named(opposite)} decide each other, and the kernel is singular.`};
  }
  return null;
}

function remarksOf(r) {
  const said = [], s = r.setting;
  if (r.why) said.push(r.why.long);
  else {
    const {i, j, angle, weight} = r.nearest;
    said.push(`The nearest points are ${i + 1} and ${j + 1}, ${number(angle)} rad apart; they carry ${percent(weight)} of the eigenvector of λ_min.`);
    const opposite = Math.sqrt(2 * least(r.pairs.epsilon));
    if (opposite < 0.3 * angle) said.push(`Two points are within ${number(opposite)} rad of opposite to each other.`);
  }
  said.push(`K_ii = ${number(r.total.size, 3)} at every point, λ_max = ${number(r.limit.largest, 3)}. ${unitsOf(s)}`);
  if (r.finite) said.push(`The network of width ${s.width} has ${count(r.finite.parameters)} weights, drawn with seed ${s.seed}. The bounds are those of infinite width.`);
  return said;
}

function spectrumNote(r) {
  const hidden = r.limit.values.filter(v => v <= r.limit.noise).length;
  const law = !r.prediction ? "" : r.prediction.reason
    ?? `The prediction knows N, d and the network, and not the points. Its spectrum begins at ${number(r.prediction.edge)}.`;
  return hidden ? `${hidden} of ${r.setting.samples} eigenvalues at infinite width are 0 or below rounding and not drawn. ${law}` : law;
}

function unitsOf(s) {
  const points = `Points have norm √d = ${number(Math.sqrt(s.dim))}.`;
  if (s.init === "unit") {
    return `${points} Units: weights N(0, 1), gradients with respect to them, the kernel times Π 2/n_l over the hidden layers.`;
  }
  return `${points} Units: f_l = φ(W_lᵀf_(l−1)/√n_(l−1)), entries of W_l drawn from N(0, ${s.init === "he" ? 2 : 1}), gradients with respect to W_l.`;
}

// Each theorem that applies to this setting, with its numbers here.
function theoremsOf(r) {
  const s = r.setting, relu = s.activation === "relu", found = [];
  const add = (id, here) => found.push({...TABLES.statements[id], here});
  const bound = id => r.bounds.find(b => b.statement === id);
  const floor = bound("karhadkar2024.floor");
  add("karhadkar2024.floor", floor ? lowerHere(floor.value, "every power that the table tells apart has a row sum above 1")
    : "not available: the series of this kernel needs too many terms.");
  if (isShallowRelu(s)) {
    add("karhadkar2024.linear-rate", lowerHere(bound("karhadkar2024.linear-rate").value, "two points coincide or are opposite"));
    add("karhadkar2024.angle", `δ′ = ${number(distance(r.pairs))}, so λ_min ≤ ${number(bound("karhadkar2024.angle").value)}.`);
  }
  add("karhadkar2024.pair", `λ_min ≤ ${number(bound("karhadkar2024.pair").value)}.`);
  add("nguyen2021.eq-27", `λ_min ≤ ${number(r.total.size)}.`);
  if (relu && s.dim >= 3) {
    const delta = Math.min(1, separation(r.pairs)), power = s.depth === 2 ? 2 : 4;
    const rate = delta === 0 ? 0 : (1 + s.dim * Math.log(1 / delta) / Math.log(s.dim)) ** -3 * delta ** power;
    add(s.depth === 2 ? "karhadkar2024.shallow" : "karhadkar2024.deep", `δ = ${number(separation(r.pairs))}, δ′ = ${number(distance(r.pairs))} for rows of norm 1, λ = ${number(rate)}: orders of magnitude, since the theorem leaves its constants open.`);
  }
  if (relu) add("nguyen2021.theorem-3.2", "an order in d for data with concentration; its constants are open.");
  if (relu && r.finite) add("nguyen2021.theorem-4.1", `N log² N = ${number(s.samples * Math.log(s.samples) ** 2)}, and the widest layer has ${count(Math.max(s.dim, s.width))} neurons.`);
  if (!TABLES.activations[s.activation].parts && r.finite) add("banerjee2023.theorem-4.1", "it asks for a width of order N; its constants are open.");
  return found;
}

const lowerHere = (value, reason) => value > 0 ? `λ_min ≥ ${number(value)}.` : `λ_min ≥ 0: ${reason}.`;
