// A chart of a few lines with a mark that moves, and bars: as SVG and HTML in the theme's colours, made once.

const SVG = "http://www.w3.org/2000/svg";
const EDGES = { left: 3.9, bottom: 2.35, top: 0.6, right: 0.7 }; // of the lines, in heights of type

/** Lines over an axis; either axis may be logarithmic. */
export class Chart {
  constructor(parent) {
    this.root = element("div", "chart", parent);
    this.svg = this.root.appendChild(document.createElementNS(SVG, "svg"));
    this.legend = element("div", "legend", this.root);
  }

  /**
   * Draw lines, each { name, colour, points: [[x, y]...], dashed, dots }, with axes { label, log, ticks } and marks,
   * each { x, y, colour }, or { x } for a line across. What has not changed is left as it is.
   */
  show({ lines, x, y, marks }) {
    const { clientWidth: width, clientHeight: height } = this.svg;
    if (!width) return;
    const size = rem();
    const signature = JSON.stringify([lines, x, y, width, height, size]);
    this.edges = Object.fromEntries(Object.entries(EDGES).map(([side, part]) => [side, part * size]));
    if (signature !== this.drawn) this.drawLines(lines, x, y, width, height);
    this.drawn = signature;
    this.drawMarks(marks, height);
  }

  drawLines(lines, x, y, width, height) {
    const { left, bottom, top, right } = this.edges;
    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const all = lines.flatMap((line) => line.points);
    this.across = axisOf(all.map((point) => point[0]), x, left, width - right);
    this.up = axisOf(all.map((point) => point[1]), y, height - bottom, top);
    for (const tick of x.ticks ?? this.across.ticks) {
      const at = this.across.place(tick);
      shape(this.svg, "line", { x1: at, x2: at, y1: top, y2: height - bottom, class: "grid" });
      text(this.svg, at, height - 0.6 * bottom, short(tick), "middle");
    }
    for (const tick of y.ticks ?? this.up.ticks) {
      const at = this.up.place(tick);
      shape(this.svg, "line", { x1: left, x2: width - right, y1: at, y2: at, class: "grid" });
      text(this.svg, left - 6, at + 0.12 * bottom, short(tick), "end");
    }
    text(this.svg, (left + width - right) / 2, height - 5, x.label, "middle", "axis");
    const turned = text(this.svg, 0, 0, y.label, "middle", "axis");
    turned.setAttribute("transform", `translate(${0.18 * left} ${(height - bottom + top) / 2}) rotate(-90)`);
    for (const line of lines) this.drawLine(line);
    this.marks = shape(this.svg, "g", {});
    this.legend.replaceChildren();
    for (const { name, colour, dashed } of lines) {
      const item = element("span", dashed ? "dashed" : "", this.legend);
      element("i", "", item).style.borderColor = colour;
      item.append(name);
    }
    this.legend.hidden = lines.length < 2;
  }

  drawLine({ colour, points, dashed, dots }) {
    const places = points.map(([x, y]) => [this.across.place(x), this.up.place(y)]);
    const style = { points: places.join(" "), stroke: colour, class: dashed ? "line dashed" : "line" };
    shape(this.svg, "polyline", style);
    if (dots) for (const [cx, cy] of places) shape(this.svg, "circle", { cx, cy, r: 3.5, fill: colour });
  }

  drawMarks(marks, height) {
    this.marks.replaceChildren();
    for (const { x, y, colour } of marks) {
      const at = this.across.place(x);
      if (y === undefined) shape(this.marks, "line", { x1: at, x2: at, y1: this.edges.top, y2: height - this.edges.bottom, class: "here" });
      else shape(this.marks, "circle", { cx: at, cy: this.up.place(y), r: 8, fill: colour, class: "mark" });
    }
  }
}

function shape(parent, kind, attributes) {
  const made = parent.appendChild(document.createElementNS(SVG, kind));
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function text(parent, x, y, words, anchor, className = "tick") {
  const made = shape(parent, "text", { x, y, "text-anchor": anchor, class: className });
  made.textContent = words;
  return made;
}

/** Write a number of an axis in few characters. */
function short(value) {
  if (value >= 10000) return say("{n}k", { n: value / 1000 });
  return plain(Number(value.toPrecision(4)));
}

/** Map values to places: { place, ticks }; a logarithmic axis has no place for 0 and less, which it puts at its end. */
function axisOf(values, { log }, from, to) {
  const good = log ? values.filter((value) => value > 0) : values;
  let low = Math.min(...good);
  let high = Math.max(...good);
  if (low === high) [low, high] = [low - 1, high + 1];
  const margin = log ? (high / low) ** 0.04 : (high - low) * 0.05;
  [low, high] = log ? [low / margin, high * margin] : [low - margin, high + margin];
  const part = log
    ? (value) => Math.log(Math.max(value, low) / low) / Math.log(high / low)
    : (value) => (value - low) / (high - low);
  return { place: (value) => from + part(value) * (to - from), ticks: log ? powers(low, high) : steps(low, high) };
}

function steps(low, high) {
  const raw = (high - low) / 4;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 5, 10].find((n) => n * unit >= raw);
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high; i += 1) ticks.push(i * step);
  return ticks;
}

/** Powers of ten between two values, with 2 and 5 times of them where that makes few. */
function powers(low, high) {
  const ticks = [];
  for (let i = Math.floor(Math.log10(low)); i <= Math.log10(high); i += 1) {
    for (const n of high / low > 300 ? [1] : [1, 2, 5]) {
      if (n * 10 ** i >= low && n * 10 ** i <= high) ticks.push(n * 10 ** i);
    }
  }
  return ticks;
}

/** Bars side by side from 0, one for each value, with the number of each below. */
export class Bars {
  constructor(parent) {
    this.root = element("div", "bars", parent);
  }

  /** Show values up to `most`, with names below and texts above them. */
  show(values, names, texts, most) {
    while (this.root.children.length > values.length) this.root.lastChild.remove();
    while (this.root.children.length < values.length) {
      const made = element("div", "column", this.root);
      element("span", "amount", made);
      element("i", "", element("span", "tall", made));
      element("span", "name", made);
    }
    values.forEach((value, i) => {
      const [amount, track, name] = this.root.children[i].children;
      write(amount, texts[i]);
      write(name, names[i]);
      track.firstChild.style.transform = `scaleY(${Math.min(1, value / most)})`; // unlike a height, needs no layout
    });
  }
}
