// Numbers as people read them: 0.031, 4,500, 1.5·10⁻³.

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function number(value, digits = 2) {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "—" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size >= 0.01 && size < 1e5) {
    const rounded = Number(value.toPrecision(digits));
    return rounded.toLocaleString("en", {maximumSignificantDigits: digits}).replace("-", "−");
  }
  const [head, power] = value.toExponential(digits - 1).split("e");
  return `${head.replace("-", "−")}·${tenTo(Number(power))}`;
}

function tenTo(power) {
  const digits = [...String(Math.abs(power))].map(c => RAISED[c]).join("");
  return `10${power < 0 ? "⁻" : ""}${digits}`;
}

const count = value => value === Infinity ? "∞" : value.toLocaleString("en");

// A value with the error that rounding may have made, where the digits show it.
function known({value, error}) {
  if (value === 0) return "0";
  return error > 5e-3 * value ? `${number(value)} ± ${number(error, 1)}` : number(value);
}

// Steps of gradient descent at 1/λ_max that divide the loss by 1,000 for the worst labels.
function stepsOf(smallest, largest) {
  if (!(smallest > 0)) return Infinity;
  const ratio = smallest / largest;
  return ratio >= 1 ? 1 : Math.max(1, Math.ceil(-0.5 * Math.log(1e3) / Math.log1p(-ratio)));
}
