// Two sets of scores, a threshold to drag between them, where that is on the ROC curve, and the images beside it.
//
// data: {
//   scores: [usual[], strange[]], names: [usual, strange], colours: of both, low, high: ends of the axis, what is beyond goes to its end,
//   title: of the axis, at: threshold to begin with, false_alarms[], hits[]: the ROC curve, area: in words,
//   image: [C, H, W], sheet: address of the images of both sets, one after the other, columns: of the sheet,
//   hidden: whether the images of the second set are not here
// }
// State for Python: at, when the threshold is let go.

const BINS = 48;
const BESIDE = 6; // images on either side
const STEPS = 400; // of the threshold

export default function (component) {
  return keep(component, Threshold);
}

class Threshold {
  constructor(parent) {
    this.root = element("div", "live threshold", parent);
    const left = element("div", "left", this.root);
    this.words = element("div", "words", left);
    this.histogram = element("canvas", "histogram", left);
    this.histogram.setAttribute("role", "img");
    this.input = element("input", "range", left);
    Object.assign(this.input, { type: "range", min: 0, max: STEPS, step: 1 });
    this.input.setAttribute("aria-label", say("Threshold of the score"));
    this.title = element("div", "title", left);
    this.roc = element("canvas", "roc", element("div", "right", this.root));
    this.roc.setAttribute("role", "img");
    this.area = element("div", "area", this.roc.parentElement);
    this.sides = [say("just below: taken for usual"), say("from it on: taken for strangers")].map((text) => {
      const side = element("div", "beside", this.root);
      element("b", "", side).textContent = text;
      return new Row(side);
    });
    this.sheet = new Image();
    this.sheet.addEventListener("load", () => this.draw());
    this.input.addEventListener("input", () => this.move(Number(this.input.value) / STEPS));
    this.input.addEventListener("change", () => this.report());
    this.histogram.addEventListener("pointerdown", (event) => {
      this.histogram.setPointerCapture(event.pointerId);
      this.move(event.offsetX / this.histogram.clientWidth);
    });
    this.histogram.addEventListener("pointermove", (event) => {
      if (this.histogram.hasPointerCapture(event.pointerId)) this.move(event.offsetX / this.histogram.clientWidth);
    });
    this.histogram.addEventListener("pointerup", () => this.report());
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.root);
  }

  destroy() {
    this.watcher.disconnect();
    this.root.remove();
  }

  update({ data, setStateValue }) {
    this.setStateValue = setStateValue;
    const signature = JSON.stringify([data.names, data.title, data.scores[0].length, data.scores[0][0], data.scores[1][0]]);
    if (signature !== this.signature) this.at = data.at;
    [this.signature, this.data] = [signature, data];
    this.all = data.scores.flatMap((values, kind) => values.map((value, i) => ({ value, kind, i })));
    this.all.sort((a, b) => a.value - b.value);
    if (this.sheet.src !== data.sheet) this.sheet.src = data.sheet;
    write(this.title, data.title);
    write(this.area, data.area);
    this.input.value = Math.round(STEPS * this.placeOf(this.at));
    this.draw();
  }

  placeOf(value) {
    const { low, high } = this.data;
    return Math.min(1, Math.max(0, (value - low) / (high - low)));
  }

  move(place) {
    const { low, high } = this.data;
    this.at = low + Math.min(1, Math.max(0, place)) * (high - low);
    this.input.value = Math.round(STEPS * place);
    this.draw();
  }

  report() {
    this.setStateValue("at", Number(this.at.toPrecision(6)));
  }

  draw() {
    if (!this.data) return;
    const { scores, names } = this.data;
    const caught = scores.map((values) => values.filter((value) => value >= this.at).length);
    const share = (kind) => `${Math.round((100 * caught[kind]) / Math.max(1, scores[kind].length))} %`;
    write(this.words, say("Threshold {at}: {hits} of {strangers} caught, {alarms} of {usual} with them.", {
      at: digits(this.at, 4), hits: share(1), alarms: share(0), strangers: names[1], usual: names[0],
    }));
    this.input.setAttribute("aria-valuetext", this.words.textContent);
    this.paintHistogram();
    this.paintRoc(caught.map((n, kind) => n / Math.max(1, scores[kind].length)));
    if (!this.sheet.complete || !this.sheet.naturalWidth) return;
    const cut = this.all.findIndex(({ value }) => value >= this.at);
    const first = cut < 0 ? this.all.length : cut;
    this.showSide(this.sides[0], this.all.slice(Math.max(0, first - BESIDE), first));
    this.showSide(this.sides[1], this.all.slice(first, first + BESIDE));
    this.root.dataset.painted = "yes";
  }

  showSide(row, found) {
    const { image, names, scores, hidden, columns } = this.data;
    const grey = new Float32Array(image[0] * image[1] * image[2]).fill(0.5);
    const pictures = found.map(({ kind, i }) => (kind === 1 && hidden ? grey : kind * scores[0].length + i));
    row.show(pictures, found.map(({ kind, value }) => `${names[kind]}\n${digits(value, 3)}`), image, { picture: this.sheet, columns });
  }

  paintHistogram() {
    const { scores, names, colours } = this.data;
    const [context, width, height] = fitted(this.histogram);
    this.histogram.setAttribute("aria-label", say("How many of {usual} and of {strangers} have which score", {
      usual: names[0], strangers: names[1],
    }));
    const counts = scores.map((values) => {
      const bins = Array.from({ length: BINS }, () => 0);
      for (const value of values) bins[Math.min(BINS - 1, Math.floor(BINS * this.placeOf(value)))] += 1 / values.length;
      return bins;
    });
    const most = Math.max(...counts.flat());
    counts.forEach((bins, kind) => {
      context.fillStyle = colours[kind];
      context.globalAlpha = 0.65;
      bins.forEach((share, b) => {
        const tall = 0.88 * height * Math.sqrt(share / most); // so that few of them show
        context.fillRect((b * width) / BINS, height - tall, width / BINS - 1, tall);
      });
      context.globalAlpha = 1;
      context.font = `600 ${0.9 * rem() * devicePixelRatio}px sans-serif`;
      context.textAlign = "right";
      context.fillText(names[kind], width - 8, (1.2 + 1.2 * kind) * 16 * devicePixelRatio);
    });
    context.fillStyle = getComputedStyle(this.root).color;
    context.fillRect(this.placeOf(this.at) * width - devicePixelRatio, 0, 2 * devicePixelRatio, height);
  }

  paintRoc([alarms, hits]) {
    const { false_alarms: across, hits: up } = this.data;
    const [context, width, height] = fitted(this.roc);
    const style = getComputedStyle(this.root);
    const line = (points, colour, dash) => {
      context.beginPath();
      for (const [x, y] of points) context.lineTo(x * width, (1 - y) * height);
      context.setLineDash(dash);
      context.lineWidth = 2.5 * devicePixelRatio;
      context.strokeStyle = colour;
      context.stroke();
    };
    line([[0, 0], [1, 1]], style.color, [6, 6]);
    line(across.map((x, i) => [x, up[i]]), this.data.colours[1], []);
    context.beginPath();
    context.arc(alarms * width, (1 - hits) * height, 6 * devicePixelRatio, 0, 2 * Math.PI);
    context.fillStyle = style.getPropertyValue("--st-primary-color");
    context.fill();
    this.roc.setAttribute("aria-label", say("ROC curve, {area}", { area: this.data.area }));
  }
}

/** Write a number with so many digits that count. */
function digits(value, n) {
  return grouped(value, { maximumSignificantDigits: n });
}
