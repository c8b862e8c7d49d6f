// Random numbers that a name decides: the same name gives the same stream in every browser.

// sfc32, seeded by a hash of the name
function stream(name) {
  const hash = [1779033703, 3144134277, 1013904242, 2773480762];
  const primes = [597399067, 2869860233, 951274213, 2716044179];
  for (const letter of name) {
    for (let i = 0; i < 4; i++) {
      hash[i] = hash[(i + 1) % 4] ^ Math.imul(hash[i] ^ letter.codePointAt(0), primes[i]);
    }
  }
  let [a, b, c, d] = hash;
  const word = () => {
    const t = (a + b + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 16; i++) word();
  return () => ((word() >>> 5) * 67108864 + (word() >>> 6) + 0.5) / 9007199254740992;
}

// count numbers of N(0, 1), by Box and Muller
function normals(name, count) {
  const uniform = stream(name), out = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(uniform())), angle = 2 * Math.PI * uniform();
    out[i] = radius * Math.cos(angle);
    if (i + 1 < count) out[i + 1] = radius * Math.sin(angle);
  }
  return out;
}
