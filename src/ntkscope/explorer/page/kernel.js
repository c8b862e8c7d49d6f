// The limiting kernel of inputs of one norm, term by term: term l has the gradients of layer l.
//
// A term is K_ii, the same for all i, and what is lost from it at each pair, K_ii − K_ij. What is lost is
// carried and never a difference of nearly equal numbers: near pairs keep their digits.

const SMALL = 2e-3;  // below it sin θ − θ cos θ comes from its series

function termsOf(s, delta, epsilon) {
  const about = TABLES.activations[s.activation];
  const betaSq = s.init === "lecun" ? 1 : 2;
  // "unit" has the same kernel as "he" times d, for homogeneous activations
  const factor = s.init === "unit" ? s.dim : 1;
  let size = 1, lost = delta.slice();  // of A_l, the features' Gram matrix
  const terms = [{size, lost: lost.slice()}];
  for (let layer = 0; layer < s.depth - 1; layer++) {
    const inner = lost.map(v => v / size);  // 1 − ρ of the pre-activations
    const found = about.parts
      ? throughHomogeneous(about.parts, betaSq * size, inner, layer ? null : epsilon)
      : throughSeries(about.series[s.init][layer], inner);
    for (const term of terms) {
      for (let p = 0; p < lost.length; p++) {
        term.lost[p] = betaSq * (term.lost[p] * (found.slope - found.slopeLost[p])
          + term.size * found.slopeLost[p]);
      }
      term.size *= betaSq * found.slope;
    }
    size = found.value;
    lost = found.valueLost;
    terms.push({size, lost: lost.slice()});
  }
  return terms.map(t => ({size: factor * t.size, lost: t.lost.map(v => factor * v)}));
}

function totalOf(terms) {
  const total = {size: 0, lost: new Float64Array(terms[0].lost.length)};
  for (const term of terms) {
    total.size += term.size;
    for (let p = 0; p < total.lost.length; p++) total.lost[p] += term.lost[p];
  }
  return total;
}

// φ(z) = p z + q|z|: E φφ and E φ′φ′ by the angle, which is read off 1 + ρ for nearly opposite inputs.
function throughHomogeneous([p, q], variance, delta, epsilon) {
  const c = p * p + q * q, g = 2 * q * q / c;
  const valueLost = new Float64Array(delta.length), slopeLost = new Float64Array(delta.length);
  for (let k = 0; k < delta.length; k++) {
    let theta, after;
    if (epsilon && epsilon[k] < 0.1) {
      const rest = 2 * Math.asin(Math.sqrt(epsilon[k] / 2));
      theta = Math.PI - rest;
      after = 2 - g + (g - 1) * epsilon[k] - g / Math.PI * lift(epsilon[k], rest);
    } else {
      theta = 2 * Math.asin(Math.sqrt(Math.min(1, delta[k] / 2)));
      after = delta[k] - g / Math.PI * lift(delta[k], theta);
    }
    valueLost[k] = c * variance * after;
    slopeLost[k] = c * g / Math.PI * theta;
  }
  return {value: c * variance, slope: c, valueLost, slopeLost};
}

// sin θ − θ cos θ
function lift(delta, theta) {
  if (delta >= SMALL) return Math.sqrt(delta * (2 - delta)) - theta * (1 - delta);
  const x = theta * theta;
  return theta * x * (1 / 3 + x * (-1 / 30 + x * (1 / 840 - x / 45360)));
}

// E φφ = Σ α_r² ρ^r and E φ′φ′ = Σ (r+1) α_{r+1}² ρ^r / a; 1 − ρ^r grows by ρ^r (1 − ρ) at each r.
function throughSeries({variance, squares}, delta) {
  const slopes = squares.slice(1).map((v, r) => (r + 1) * v / variance);
  slopes.push(0);
  const valueLeft = suffixSums(squares), slopeLeft = suffixSums(slopes);
  const valueLost = new Float64Array(delta.length), slopeLost = new Float64Array(delta.length);
  for (let k = 0; k < delta.length; k++) {
    const rho = 1 - delta[k];
    let power = 1, gone = 0, value = 0, slope = 0, r = 0;
    for (; r < squares.length && Math.abs(power) > 1e-18; r++) {
      value += squares[r] * gone;
      slope += slopes[r] * gone;
      gone += power * delta[k];
      power *= rho;
    }
    if (r < squares.length) {
      value += valueLeft[r] * gone;
      slope += slopeLeft[r] * gone;
    }
    valueLost[k] = value;
    slopeLost[k] = slope;
  }
  return {value: valueLeft[0], slope: slopeLeft[0], valueLost, slopeLost};
}

function suffixSums(values) {
  const sums = new Float64Array(values.length);
  let sum = 0;
  for (let r = values.length - 1; r >= 0; r--) sums[r] = sum += values[r];
  return sums;
}
