// A field to point at or to sketch a curve on, and what others did there.
//
// data: {
//   kind: "point" or "curve", name: what it is, said, axes: [across, up], x: [low, high], y: [low, high],
//   places: text of each place of a curve, dots: [[x, y, k]], colours[], outlines[]: of the dots, by k,
//   crowd: points or curves of others, truth: point, curve or null, value: one's own or null, open: whether it can change
// }
// State for Python: value, when a point or a whole curve is there and let go of.

const MARGIN = { left: 78, right: 12, top: 10, bottom: 40 };
const TICKS = 5;
const KEY_STEPS = 40; // of an arrow key from end to end
const KEY_MS = 500; // after the last key

export default function (component) {
  return keep(component, Sketch);
}

class Sketch {
  constructor(parent) {
    this.root = element("div", "live sketch", parent);
    this.canvas = element("canvas", "field", this.root);
    this.canvas.tabIndex = 0;
    this.said = new Said(this.root);
    this.active = 0;
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointermove", (event) => this.drag(event));
    this.canvas.addEventListener("pointerup", () => this.letGo());
    this.canvas.addEventListener("pointercancel", () => this.letGo());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.root);
  }

  destroy() {
    this.watcher.disconnect();
    this.said.stop();
    clearTimeout(this.waiting);
    this.root.remove();
  }

  update({ data, setStateValue }) {
    this.setStateValue = setStateValue;
    const asked = JSON.stringify([data.name, data.kind, data.places, data.open]);
    if (asked !== this.asked || !data.open) this.value = data.value;
    [this.asked, this.data] = [asked, data];
    this.canvas.setAttribute("role", data.open ? "application" : "img");
    this.canvas.setAttribute("aria-label", data.open ? `${data.name} ${this.help()}` : data.name);
    this.canvas.style.touchAction = data.open ? "none" : "auto";
    this.root.classList.toggle("open", data.open);
    this.draw();
  }

  help() {
    return this.isCurve ? say("Arrow keys: left and right choose a place, up and down move it.") : say("Arrow keys move the point.");
  }

  get isCurve() {
    return this.data.kind === "curve";
  }

  get n() {
    return this.data.places.length;
  }

  press(event) {
    if (!this.data.open) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.last = null;
    this.dragging = true;
    this.drag(event);
  }

  drag(event) {
    if (!this.dragging) return;
    const spot = this.spotAt(event.offsetX, event.offsetY);
    if (this.isCurve) this.sweep(spot);
    else this.value = spot;
    this.draw();
  }

  /** Set the places between the last spot of the hand and this one. */
  sweep([x, y]) {
    this.value ??= Array.from({ length: this.n }, () => y);
    const from = this.last ?? [x, y];
    for (let i = Math.ceil(Math.min(from[0], x) - 0.5); i <= Math.max(from[0], x) + 0.5; i += 1) {
      if (i < 0 || i >= this.n) continue;
      const t = x === from[0] ? 1 : Math.min(1, Math.max(0, (i - from[0]) / (x - from[0])));
      this.value[i] = from[1] + t * (y - from[1]);
    }
    this.last = [x, y];
    this.active = Math.min(this.n - 1, Math.max(0, Math.round(x)));
  }

  letGo() {
    if (!this.dragging) return;
    this.dragging = false;
    this.report();
  }

  key(event) {
    const way = this.data.open && arrow(event);
    if (!way) return;
    const { x, y } = this.data;
    const [dx, dy] = [(way[0] * (x[1] - x[0])) / KEY_STEPS, (way[1] * (y[1] - y[0])) / KEY_STEPS];
    const middle = (y[0] + y[1]) / 2;
    if (this.isCurve) {
      this.value ??= Array.from({ length: this.n }, () => middle);
      this.active = Math.min(this.n - 1, Math.max(0, this.active + way[0]));
      this.value[this.active] = clamp(this.value[this.active] + dy, y);
    } else {
      const [u, v] = this.value ?? [(x[0] + x[1]) / 2, middle];
      this.value = [clamp(u + dx, x), clamp(v + dy, y)];
    }
    this.draw();
    this.said.soon(() => this.words());
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.report(), KEY_MS);
  }

  words() {
    const { places, axes } = this.data;
    if (this.isCurve) return `${axes[0]} ${places[this.active]}: ${short(this.value[this.active])}`;
    return this.value.map((v, i) => `${axes[i]} ${fixed(v, 2)}`).join(", ");
  }

  report() {
    if (this.value) this.setStateValue("value", this.value.map((v) => Number(v.toPrecision(6))));
  }

  get box() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const [across, up] = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
    return { left: MARGIN.left, top: MARGIN.top, across: Math.max(1, across), up: Math.max(1, up) };
  }

  /** Give the spot in units of the field, of a curve its place and height, at a pixel of the page. */
  spotAt(left, top) {
    const { box } = this;
    const { x, y } = this.data;
    const share = [(left - box.left) / box.across, 1 - (top - box.top) / box.up];
    const across = this.isCurve ? [-0.5, this.n - 0.5] : x;
    return [clamp(across[0] + share[0] * (across[1] - across[0]), across), clamp(y[0] + share[1] * (y[1] - y[0]), y)];
  }

  pixel([u, v]) {
    const { box } = this;
    const { x, y } = this.data;
    const across = this.isCurve ? [-0.5, this.n - 0.5] : x;
    return [box.left + ((u - across[0]) / (across[1] - across[0])) * box.across, box.top + (1 - (v - y[0]) / (y[1] - y[0])) * box.up];
  }

  draw() {
    if (!this.data) return;
    const [context] = fitted(this.canvas);
    context.scale(devicePixelRatio, devicePixelRatio);
    const style = getComputedStyle(this.root);
    [this.ink, this.accent] = [style.color, style.getPropertyValue("--st-primary-color")];
    this.paintAxes(context);
    if (this.isCurve) this.paintCurves(context);
    else this.paintPoints(context);
    context.setTransform(1, 0, 0, 1, 0, 0);
    this.root.dataset.painted = "yes";
    this.root.dataset.value = JSON.stringify(this.value ?? null);
  }

  paintAxes(context) {
    const { box } = this;
    const { x, y, axes, places } = this.data;
    context.strokeStyle = context.fillStyle = this.ink;
    context.globalAlpha = 0.35;
    context.strokeRect(box.left, box.top, box.across, box.up);
    context.globalAlpha = 1;
    context.font = "14px sans-serif";
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (let i = 0; i < TICKS; i += 1) {
      const value = y[0] + (i * (y[1] - y[0])) / (TICKS - 1);
      context.fillText(short(value), box.left - 6, this.pixel([0, value])[1]);
    }
    context.textAlign = "center";
    const across = this.isCurve ? places.map((text, i) => [i, text]) : [0, 1, 2, 3, 4].map((i) => {
      const value = x[0] + (i * (x[1] - x[0])) / 4;
      return [value, short(value)];
    });
    const widest = 6 + Math.max(...across.map(([, text]) => context.measureText(text).width));
    const every = Math.ceil((widest * (across.length - 1)) / box.across); // so that none lies over the next
    across.forEach(([at, text], i) => {
      if (i % every === 0) context.fillText(text, this.pixel([at, y[0]])[0], box.top + box.up + 12);
    });
    context.font = "600 14px sans-serif";
    context.fillText(axes[0], box.left + box.across / 2, box.top + box.up + 30);
    context.save();
    context.translate(12, box.top + box.up / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(axes[1], 0, 0);
    context.restore();
  }

  paintPoints(context) {
    const { dots, colours, outlines, crowd, truth } = this.data;
    context.globalAlpha = crowd.length ? 0.35 : 0.8;
    for (const [u, v, k] of dots) {
      const [left, top] = this.pixel([u, v]);
      context.beginPath();
      for (const [right, up] of outlines[k]) context.lineTo(left + 5 * right, top - 5 * up);
      context.closePath();
      context.fillStyle = colours[k];
      context.fill();
    }
    context.globalAlpha = 1;
    if (crowd.length) this.paintCrowd(context, crowd);
    if (truth) this.mark(context, truth, "✓", this.ink);
    if (this.value) this.mark(context, this.value, "", this.accent);
  }

  /** Shade where points are dense, and show each. */
  paintCrowd(context, crowd) {
    const { left, top, across, up } = this.box;
    const inside = crowd.map((spot) => this.pixel(spot)).map(([px, py]) => [(px - left) / across, (py - top) / up]);
    context.drawImage(shaded(inside, this.accent), left, top, across, up);
    context.fillStyle = this.accent;
    for (const spot of crowd) {
      context.beginPath();
      context.arc(...this.pixel(spot), 3, 0, 2 * Math.PI);
      context.fill();
    }
  }

  mark(context, spot, text, colour) {
    const [left, top] = this.pixel(spot);
    context.beginPath();
    context.arc(left, top, 11, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.fill();
    context.lineWidth = 3;
    context.strokeStyle = "#fff";
    context.stroke();
    context.fillStyle = colour === this.ink ? "#888" : "#fff";
    context.font = "700 14px sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(text, left, top + 1);
  }

  paintCurves(context) {
    const { crowd, truth } = this.data;
    const line = (values, colour, width, alpha, dash) => {
      context.beginPath();
      values.forEach((value, i) => context.lineTo(...this.pixel([i, value])));
      context.setLineDash(dash);
      [context.lineWidth, context.strokeStyle, context.globalAlpha] = [width, colour, alpha];
      context.stroke();
      context.setLineDash([]);
      context.globalAlpha = 1;
    };
    for (const values of crowd) line(values, this.accent, 2, Math.max(0.15, 0.8 / Math.sqrt(crowd.length)), []);
    if (truth) line(truth, this.ink, 4, 1, []);
    if (!this.value) return;
    line(this.value, this.accent, 3, 1, [8, 5]);
    this.value.forEach((value, i) => {
      context.beginPath();
      context.arc(...this.pixel([i, value]), i === this.active && this.data.open ? 7 : 4, 0, 2 * Math.PI);
      context.fillStyle = this.accent;
      context.fill();
    });
  }
}

function clamp(value, [low, high]) {
  return Math.min(high, Math.max(low, value));
}

/** Write a number with three digits that count. */
function short(value) {
  return plain(Number(value.toPrecision(3))).replace("-", "−");
}
