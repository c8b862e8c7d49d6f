// Charts as SVG text, in the look of the other pages.

let WIDTH = 640;  // of a chart, in pixels of the page: its texts keep their size on a telephone

const clean = text => String(text).replace(/[&<>"]/g, c => `&#${c.charCodeAt(0)};`);

function svg(height, label, parts) {
  return `<svg class="chart" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${clean(label)}">`
    + `${parts.join("")}</svg>`;
}

// λ_min with a real index
const words = text => clean(text).replace(/_(min|max)/g,
  '<tspan dy="4" class="i">$1</tspan><tspan dy="-4">\u200b</tspan>');

const write = (x, y, text, anchor = "start", more = "") =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" ${more}>${words(text)}</text>`;

// A place for each value on a logarithmic axis, and its ticks.
function logScale(low, high, start, stop) {
  const a = Math.log10(low), b = Math.log10(high);
  const at = v => start + (stop - start) * (Math.log10(v) - a) / (b - a);
  const step = Math.max(1, Math.ceil((b - a) / 6)), ticks = [];
  for (let k = Math.ceil(a / step - 1e-9) * step; k <= b + 1e-9; k += step) ticks.push(10 ** k);
  if (ticks.length < 2) {
    for (const digit of [2, 5]) {
      for (let k = Math.floor(a); k <= b; k++) {
        const v = digit * 10 ** k;
        if (v >= low && v <= high) ticks.push(v);
      }
    }
  }
  return {at, ticks, start, stop};
}

function logAxis(scale, top, bottom, title) {
  const parts = scale.ticks.map(v => {
    const x = scale.at(v), power = Math.round(Math.log10(v));
    const name = Math.abs(Math.log10(v) - power) < 1e-9 && Math.abs(power) > 2 ? tenTo(power) : number(v);
    return `<path class="grid" d="M${x.toFixed(1)} ${top}V${bottom}"/>${write(x, bottom + 18, name, "middle")}`;
  });
  parts.push(`<path class="axis" d="M${scale.start} ${bottom}H${scale.stop}"/>`);
  parts.push(write((scale.start + scale.stop) / 2, bottom + 40, title, "middle"));
  return parts;
}

const hover = (shape, text) => `<g>${shape}<title>${clean(text)}</title></g>`;

const box = (x, y, width, height, look) => `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" `
  + `width="${width.toFixed(1)}" height="${height.toFixed(1)}" ${look}/>`;

const stroke = (colour, width, path) =>
  `<path class="line" stroke="${colour}" style="stroke-width:${width}" d="${path}"/>`;
