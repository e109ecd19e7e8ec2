// The negative ELBO of one image as a sum that opens: which pixels cost nats, which numbers of the code do, and sigma.
//
// q is a normal around z, as wide as the encoder makes it; z follows the cursor of a plane, so the sum is the negative
// ELBO of every q that is tried, and the encoder's own is one of them.
//
// data: {
//   model: name of a packed network "decode", weights: { name: address }, group: of the plane that z follows,
//   image: [C, H, W], pixels[C * H * W], code[D]: where z is without a cursor, mu[D], deviation[D]: of the encoder's q,
//   draws: [[D]...] of a standard normal, over which the sum is a mean, order[D]: the code's numbers, most nats first,
//   sigma: of a Gaussian decoder, or null for a Bernoulli one, marks: [{ name, sigma }...] on the dial,
//   bound: { nats, error, sigma }: -log p(x) as sampled, and the sigma that it holds for,
//   equations: { row: words }
// }
// State for Python: sigma, when the dial is let go.

const ROWS = {
  reconstruction: later("reconstruction"), kl: "+ KL", total: "= −ELBO", bound: later("−log p(x), sampled"), gap: later("gap"),
};
const COLUMNS = [later("nats"), later("bits"), later("bits/dim"), later("equation")];
const DIAL = { low: Math.log(0.02), high: Math.log(0.5) };
const REACH = 4; // standard deviations of the prior that the code's numbers are drawn over
const CURVE = 120; // points of a density or of the dial's curve
const SMALLEST = 1e-7; // a probability in float32 is no nearer to 1
const SMOOTH = 64; // pixels of a side: so many read as a photograph

export default function (component) {
  return keep(component, Ledger);
}

class Ledger {
  constructor(parent) {
    this.root = element("div", "live ledger", parent);
    const top = element("div", "top", this.root);
    const names = { original: "x", decoded: say("decoded at z"), cost: say("nats on top") };
    this.pictures = Object.fromEntries(Object.entries(names).map(([kind, name]) => [kind, figure(top, kind, name)]));
    const tellPixel = (column, row) => this.tellPixel(column, row);
    this.lookInto(this.pictures.cost, () => this.data.image.slice(1).reverse(), tellPixel);
    steered(this.pictures.cost, say("{picture}. Arrow keys go from part to part.", { picture: names.cost }));
    const side = element("div", "side", top);
    this.addDial(side);
    this.parts = element("div", "parts", side);
    this.note = element("div", "told", side);
    this.table = makeTable(this.root);
    this.codes = element("canvas", "codes", this.root);
    this.lookInto(this.codes, () => [this.data.order.length, 1], (column) => this.tellNumber(column));
    this.said = new Said(this.root);
    this.frames = 0;
    this.onModel = () => this.schedule();
    this.onCursor = ({ detail }) => {
      if (!this.data || detail.group !== this.data.group) return;
      this.cursor = detail.place && codeOn(detail.from.data, detail.from.valueAt(detail.place));
      this.schedule();
    };
    document.addEventListener("lx-model", this.onModel);
    document.addEventListener("lx-cursor", this.onCursor);
    this.watcher = new ResizeObserver(() => this.schedule());
    this.watcher.observe(this.root);
  }

  /** Tell each of [columns, rows] parts of a canvas that is pointed at, or that arrow keys go to. */
  lookInto(canvas, size, tell) {
    let [column, row] = [0, 0];
    canvas.addEventListener("pointermove", (event) => {
      const [columns, rows] = size();
      column = Math.floor((event.offsetX / canvas.clientWidth) * columns);
      row = Math.floor((event.offsetY / canvas.clientHeight) * rows);
      tell(column, row);
    });
    canvas.addEventListener("keydown", (event) => {
      const [way, [columns, rows]] = [arrow(event), size()];
      if (!way) return;
      column = Math.min(columns - 1, Math.max(0, column + way[0]));
      row = Math.min(rows - 1, Math.max(0, row - way[1]));
      tell(column, row);
      this.said.soon(() => this.note.textContent);
    });
    for (const end of ["pointerleave", "blur"]) canvas.addEventListener(end, () => this.schedule());
  }

  addDial(parent) {
    this.dial = element("label", "dial", parent);
    this.dial.curve = element("canvas", "curve", this.dial);
    this.dial.curve.setAttribute("role", "img");
    this.dial.curve.setAttribute("aria-label", say("The negative ELBO over sigma"));
    this.dial.input = element("input", "range", this.dial);
    Object.assign(this.dial.input, { type: "range", min: DIAL.low, max: DIAL.high, step: 0.005 });
    this.dial.input.setAttribute("aria-label", say("sigma of the decoder"));
    this.dial.words = element("output", "words", this.dial);
    this.dial.input.addEventListener("input", () => {
      this.sigma = Math.exp(Number(this.dial.input.value));
      this.schedule();
    });
    this.dial.input.addEventListener("change", () => this.setStateValue("sigma", Number(this.sigma.toFixed(4))));
  }

  destroy() {
    cancelAnimationFrame(this.pending);
    this.said.stop();
    this.watcher.disconnect();
    document.removeEventListener("lx-model", this.onModel);
    document.removeEventListener("lx-cursor", this.onCursor);
    this.root.remove();
  }

  update({ data, setStateValue }) {
    this.setStateValue = setStateValue;
    if (this.data?.sigma !== data.sigma) {
      this.sigma = data.sigma;
      this.dial.input.value = Math.log(data.sigma ?? 1);
    }
    this.data = data;
    fetchModels(data.weights);
    this.dial.hidden = data.sigma === null;
    for (const canvas of Object.values(this.pictures)) {
      fitCanvas(canvas, data.image[2], data.image[1]);
      canvas.classList.toggle("smooth", data.image[2] >= SMOOTH);
    }
    paintImage(this.pictures.original, data.pixels, data.image);
    for (const [row, words] of Object.entries(data.equations)) write(this.table[row].equation, words);
    this.floor = data.sigma === null ? entropy(data.pixels) : null;
    this.schedule();
  }

  schedule() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      if (this.data) this.draw();
    });
  }

  draw() {
    const networks = sharedPage().models.get(this.data.model);
    this.root.dataset.state = stateOf(this.data.model);
    this.root.dataset.painted = networks ? "yes" : "no";
    if (!networks) return;
    this.z = this.cursor ?? this.data.code;
    if (this.priced !== this.z) this.price(networks.decode);
    this.priced = this.z;
    this.show();
    this.frames += 1;
    this.root.dataset.frames = this.frames;
  }

  /** Decode z and the draws around it: what each number of the image costs above a perfect one, and each of the code. */
  price(decode) {
    const { pixels, deviation, draws, image, sigma } = this.data;
    this.errors = new Float64Array(pixels.length); // nats, or squared errors of a Gaussian decoder
    for (const eps of draws) {
      const decoded = decode(Float32Array.from(this.z, (mean, i) => mean + deviation[i] * eps[i]));
      for (let i = 0; i < pixels.length; i += 1) {
        this.errors[i] += (sigma === null ? divergence(pixels[i], decoded[i]) : (pixels[i] - decoded[i]) ** 2) / draws.length;
      }
    }
    this.kl = Float64Array.from(this.z, (mean, i) => (mean ** 2 + deviation[i] ** 2 - 1) / 2 - Math.log(deviation[i]));
    paintImage(this.pictures.decoded, decode(this.z), image);
  }

  /** What stands in the table, in nats, at any sigma. */
  sums(sigma) {
    const n = this.data.pixels.length;
    const isGaussian = this.data.sigma !== null;
    const error = sum(this.errors) / (isGaussian ? 2 * sigma ** 2 : 1);
    const floor = isGaussian ? n * (Math.log(sigma) + Math.log(2 * Math.PI) / 2) : this.floor;
    const kl = sum(this.kl);
    return { floor, error, reconstruction: floor + error, kl, total: floor + error + kl };
  }

  show() {
    const { bound, pixels, image } = this.data;
    const sums = this.sums(this.sigma);
    if (bound.sigma === this.data.sigma && (this.sigma === this.data.sigma)) {
      Object.assign(sums, { bound: bound.nats, gap: sums.total - bound.nats });
    }
    const bars = { reconstruction: sums.error, kl: sums.kl };
    const most = Math.max(...Object.values(bars), 1e-9);
    for (const [name, row] of Object.entries(this.table)) {
      const nats = sums[name];
      const bits = nats / Math.LN2;
      const isDensity = this.data.sigma !== null && ["reconstruction", "total", "bound"].includes(name);
      const perNumber = bits / pixels.length + (isDensity ? 8 : 0);
      const numbers = { nats: [nats, 1], bits: [bits, 1], "bits/dim": [perNumber, 4] };
      for (const [column, [value, digits]] of Object.entries(numbers)) write(row[column], written(value, digits));
      row.bar.style.transform = `scaleX(${(bars[name] ?? 0) / most})`;
    }
    if (bound.error !== null && sums.bound !== undefined) {
      write(this.table.bound.nats, `${written(bound.nats, 1)} ± ${fixed(bound.error, 1)}`);
    }
    const scale = this.data.sigma === null ? 1 : 1 / (2 * this.sigma ** 2);
    this.costs = Float64Array.from({ length: image[1] * image[2] }, (_, p) => {
      let cost = 0;
      for (let i = p; i < pixels.length; i += image[1] * image[2]) cost += this.errors[i] * scale;
      return cost;
    });
    paintHeat(this.pictures.cost, this.costs);
    this.paintCodes();
    if (this.data.sigma !== null) this.paintDial();
    const parts = { floor: written(sums.floor, 1), error: written(sums.error, 1) };
    write(this.parts, say("Reconstruction: {floor} if perfect, {error} on top.", parts));
    const dearest = this.costs.reduce((best, cost, p) => (cost > this.costs[best] ? p : best), 0);
    write(this.note, say("Dearest pixel: {nats} nats. Point at any.", { nats: fixed(this.costs[dearest], 2) }));
  }

  /** Bars of KL, most nats first, and under each what q says of that number over what the prior does. */
  paintCodes() {
    const { order, deviation } = this.data;
    const [context, width, height] = fitted(this.codes);
    const style = getComputedStyle(this.root);
    const [accent, text] = [style.getPropertyValue("--st-primary-color") || "#b3410e", style.color];
    const step = width / order.length;
    const barsEnd = 0.38 * height;
    const most = Math.max(...this.kl, 1e-9);
    const heightOf = (value) => height - ((value + REACH) / (2 * REACH)) * (height - barsEnd - 4);
    order.forEach((k, column) => {
      const middle = (column + 0.5) * step;
      const half = Math.min(0.42 * step, 0.3 * width);
      context.fillStyle = accent;
      const tall = (this.kl[k] / most) * (barsEnd - 16);
      context.fillRect(middle - half, barsEnd - tall, 2 * half, tall);
      violin(context, middle, half, heightOf, 0, 1, text, 0.25);
      violin(context, middle, half, heightOf, this.z[k], deviation[k], accent, 0.85);
      if (step < 60) return;
      context.fillStyle = text;
      context.font = `${0.85 * rem() * devicePixelRatio}px sans-serif`;
      context.textAlign = "center";
      context.fillText(say("z{k}: {nats} nats", { k: k + 1, nats: fixed(this.kl[k], 2) }), middle, barsEnd - tall - 4);
    });
    const values = { n: order.length, nats: fixed(sum(this.kl), 1) };
    const picture = say("KL of {n} numbers of the code, {nats} nats", values);
    steered(this.codes, say("{picture}. Arrow keys go from part to part.", { picture }));
  }

  /** The negative ELBO over sigma, on the dial's own axis. */
  paintDial() {
    const [context, width, height] = fitted(this.dial.curve);
    const style = getComputedStyle(this.root);
    const at = (i) => Math.exp(DIAL.low + (i / CURVE) * (DIAL.high - DIAL.low));
    const values = Array.from({ length: CURVE + 1 }, (_, i) => this.sums(at(i)).total);
    const lowest = Math.min(...values);
    const highest = Math.min(Math.max(...values), lowest + 0.6 * this.data.pixels.length); // it rises without end at left
    const x = (sigma) => ((Math.log(sigma) - DIAL.low) / (DIAL.high - DIAL.low)) * width;
    context.beginPath();
    values.forEach((value, i) => context.lineTo(x(at(i)), height * (0.94 - 0.86 * ((value - lowest) / (highest - lowest)))));
    context.lineWidth = 2.5 * devicePixelRatio;
    context.strokeStyle = style.color;
    context.stroke();
    const best = Math.sqrt(sum(this.errors) / this.data.pixels.length);
    const marks = [{ name: say("here"), sigma: best }, ...this.data.marks, { sigma: this.sigma }];
    marks.forEach(({ name, sigma }) => {
      context.beginPath();
      context.setLineDash(name ? [4 * devicePixelRatio, 3 * devicePixelRatio] : []);
      context.moveTo(x(sigma), 0);
      context.lineTo(x(sigma), height);
      context.strokeStyle = name ? style.color : style.getPropertyValue("--st-primary-color");
      context.stroke();
    });
    context.setLineDash([]);
    const gain = this.sums(this.sigma).total - this.sums(best).total;
    const told = marks.slice(0, -1).map(({ name, sigma }) => `${fixed(sigma, 4)} ${name}`).join("; ");
    const words = { sigma: fixed(this.sigma, 4), told, nats: written(gain, 0) };
    write(this.dial.words, say("σ {sigma}; calibrated {told}; {nats} nats cheaper", words));
    this.dial.input.setAttribute("aria-valuetext", say("sigma {sigma}", words));
  }

  tellPixel(column, row) {
    const cost = this.costs?.[row * this.data.image[2] + column];
    const words = { column: column + 1, row: row + 1, nats: cost === undefined ? "" : fixed(cost, 2) };
    if (cost !== undefined) write(this.note, say("Pixel {column}, {row}: {nats} nats above a perfect one.", words));
  }

  tellNumber(column) {
    const { order, deviation } = this.data;
    const k = order[column];
    if (k === undefined || !this.kl) return;
    const words = { k: k + 1, nats: fixed(this.kl[k], 3), mean: fixed(this.z[k], 2), deviation: fixed(deviation[k], 3) };
    write(this.note, say("Number {k}: KL {nats} nats, q = N({mean}; {deviation}²).", words));
  }
}

function figure(parent, kind, name) {
  const made = element("figure", kind, parent);
  const canvas = element("canvas", "picture", made);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", name);
  element("figcaption", "", made).textContent = name;
  return canvas;
}

function makeTable(parent) {
  const table = element("table", "", parent);
  const head = element("tr", "", element("thead", "", table));
  for (const title of ["", ...COLUMNS]) element("th", "", head).textContent = say(title);
  const body = element("tbody", "", table);
  return Object.fromEntries(Object.entries(ROWS).map(([name, words]) => {
    const line = element("tr", name, body);
    const first = element("th", "", line);
    const bar = element("i", "bar", first);
    element("span", "", first).textContent = say(words);
    return [name, { bar, ...Object.fromEntries(COLUMNS.map((column) => [column, element("td", "", line)])) }];
  }));
}

const sum = (values) => values.reduce((a, b) => a + b, 0);

/** Write a number with a sign as in print, or nothing where there is none. */
function written(value, digits) {
  const form = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return Number.isFinite(value) ? grouped(value, form) : "–";
}

/** Nats that a Bernoulli mean p costs for a grey x above what x itself would. */
function divergence(x, p) {
  const mean = Math.min(Math.max(p, SMALLEST), 1 - SMALLEST);
  const part = (share, of) => (share > 0 ? share * Math.log(share / of) : 0);
  return part(x, mean) + part(1 - x, 1 - mean);
}

/** Nats that grey pixels cost as Bernoulli means, however well they are rebuilt. */
function entropy(pixels) {
  const part = (share) => (share > 0 ? -share * Math.log(share) : 0);
  return sum(pixels.map((x) => part(x) + part(1 - x)));
}

/** Paint costs from black over orange to white, white being the dearest hundredth. */
function paintHeat(canvas, costs) {
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  const high = Array.from(costs).sort((a, b) => a - b)[Math.floor(0.99 * costs.length)] || 1e-9;
  costs.forEach((cost, p) => {
    const heat = 3 * Math.min(1, cost / high);
    picture.data.set([255 * heat, 255 * (heat - 0.8) * 0.7, 255 * (heat - 2), 255], 4 * p); // clamped bytes
  });
  context.putImageData(picture, 0, 0);
}

/** Draw a normal density along the upright axis, to both sides of `middle`, as wide as `half` at its peak. */
function violin(context, middle, half, heightOf, mean, deviation, colour, alpha) {
  const offsets = Array.from({ length: CURVE + 1 }, (_, i) => -3 + (6 * i) / CURVE);
  context.beginPath();
  for (const [side, list] of [[1, offsets], [-1, offsets.toReversed()]]) {
    for (const t of list) context.lineTo(middle + side * half * Math.exp((-t * t) / 2), heightOf(mean + t * deviation));
  }
  context.globalAlpha = alpha;
  context.fillStyle = colour;
  context.fill();
  context.globalAlpha = 1;
}
