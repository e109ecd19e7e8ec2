// What pages with a dial share: the dial, a chart with a mark, bars, rows of decoded images, and one way to redraw.

const REPORT_AFTER_MS = 250; // a held arrow key is one move

/** A slider over a list of values, each with its name below. */
export class Dial {
  constructor(parent, name, onMove, onRest) {
    this.root = element("div", "dial", parent);
    const label = element("label", "dial-name", this.root);
    this.words = element("span", "", label);
    this.words.textContent = name;
    this.value = element("output", "dial-value", label);
    const line = element("div", "dial-line", this.root);
    this.input = element("input", "range", line);
    Object.assign(this.input, { type: "range", min: 0, step: 1 });
    this.input.setAttribute("aria-label", name);
    this.ticks = element("div", "ticks", line);
    this.input.addEventListener("input", () => onMove(Number(this.input.value)));
    this.input.addEventListener("change", () => {
      clearTimeout(this.resting);
      this.resting = setTimeout(() => onRest?.(), REPORT_AFTER_MS);
    });
  }

  /** Offer values by their names, `at` is chosen. */
  show(names, at) {
    this.input.max = names.length - 1;
    this.input.value = at;
    this.input.setAttribute("aria-valuetext", names[at]);
    write(this.value, names[at]);
    while (this.ticks.children.length > names.length) this.ticks.lastChild.remove();
    names.forEach((name, i) => {
      const tick = this.ticks.children[i] ?? element("span", "", this.ticks);
      write(tick, name);
      tick.style.left = `${names.length > 1 ? (100 * i) / (names.length - 1) : 0}%`;
      tick.classList.toggle("at", i === at);
    });
  }
}

/** What every page with a dial does: it redraws once for each frame, and when decoders arrive. */
export class Dialled {
  constructor(parent, className) {
    this.root = element("div", `live dialled ${className}`, parent);
    this.frames = 0;
    this.pending = 0;
    this.onModel = () => this.schedule();
    document.addEventListener("lx-model", this.onModel);
    this.watcher = new ResizeObserver(() => this.schedule());
    this.watcher.observe(this.root);
  }

  destroy() {
    cancelAnimationFrame(this.pending);
    this.watcher.disconnect();
    document.removeEventListener("lx-model", this.onModel);
    this.root.remove();
  }

  update({ data, setStateValue }) {
    this.setStateValue = setStateValue;
    this.data = data;
    fetchModels(data.weights);
    this.arrive();
    this.schedule();
  }

  get networks() {
    return sharedPage().models.get(this.data.model);
  }

  schedule() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      if (!this.data) return;
      this.root.dataset.state = stateOf(this.data.model);
      if (!this.networks) return;
      this.draw();
      this.frames += 1;
      this.root.dataset.frames = this.frames;
      this.root.dataset.painted = "yes";
    });
  }
}

/** A row of images with a title before it, decoded into canvases that are made once. */
export class Images {
  constructor(parent, name) {
    this.root = element("div", "images", parent);
    this.root.setAttribute("role", "img");
    this.root.setAttribute("aria-label", name);
    this.canvases = [];
  }

  /** Paint pictures, each (C, H, W) in [0, 1], or a place on a `sheet` { picture, columns }. */
  paint(pictures, image, sheet) {
    while (this.canvases.length > pictures.length) this.canvases.pop().remove();
    while (this.canvases.length < pictures.length) {
      this.canvases.push(element("canvas", "", this.root));
      this.canvases.at(-1).setAttribute("aria-hidden", "true"); // the row has a name
    }
    pictures.forEach((picture, i) => {
      const canvas = this.canvases[i];
      fitCanvas(canvas, image[2], image[1]);
      if (typeof picture === "number") cut(canvas, sheet, picture);
      else paintImage(canvas, picture, image);
    });
  }
}

/** Load the picture of a sheet, and say so when it is there. */
export function loadSheet(address, columns, done) {
  const picture = new Image();
  picture.addEventListener("load", () => done({ picture, columns }));
  picture.src = address;
}

/** A square of decoded images with codes over it: a decoded sheet behind, dots and rings in front. */
export class Square {
  constructor(parent, name) {
    this.root = element("div", "square", parent);
    this.sheet = element("canvas", "back", this.root);
    this.sheet.setAttribute("aria-hidden", "true");
    this.front = element("canvas", "front", this.root);
    this.front.setAttribute("role", "img");
    this.front.setAttribute("aria-label", name);
  }

  /** Decode n x n cells at `axis`, ascending, for both directions; decode(u, v) gives an image (C, H, W) in [0, 1]. */
  paintSheet(axis, [channels, height, width], decode) {
    const n = axis.length;
    fitCanvas(this.sheet, n * width, n * height);
    const context = this.sheet.getContext("2d");
    const pixels = context.createImageData(width, height);
    for (let row = 0; row < n; row += 1) {
      for (let column = 0; column < n; column += 1) {
        fillPixels(pixels.data, decode(axis[column], axis[n - 1 - row]), channels, width * height);
        context.putImageData(pixels, column * width, row * height);
      }
    }
  }

  /**
   * Paint dots at `points` [[x, y]...], 1 is the right or upper edge and -1 the other, in the colours and outlines of their labels;
   * and `rings`, each { at: [x, y], root: [a, b, c], colour }: what [[a, 0], [b, c]] makes of a circle around `at`.
   */
  paintFront({ points, labels, colours, outlines, rings = [], marked = -1 }) {
    const side = Math.round(this.front.clientWidth * devicePixelRatio);
    fitCanvas(this.front, side, side);
    const context = this.front.getContext("2d");
    context.clearRect(0, 0, side, side);
    const place = ([x, y]) => [((x + 1) * side) / 2, ((1 - y) * side) / 2];
    const radius = Math.max(3, side / 100);
    context.strokeStyle = "#fff";
    context.lineWidth = radius / 3;
    points.forEach((point, i) => {
      const [x, y] = place(point);
      context.beginPath();
      for (const [right, up] of outlines[labels[i]]) context.lineTo(x + radius * right, y - radius * up);
      context.closePath();
      context.fillStyle = colours[labels[i]];
      context.fill();
      context.stroke();
    });
    for (const { at: [u, v], root: [a, b, c], colour } of rings) {
      context.beginPath();
      for (let i = 0; i <= 72; i += 1) {
        const [cos, sin] = [Math.cos((Math.PI * i) / 36), Math.sin((Math.PI * i) / 36)];
        context.lineTo(...place([u + a * cos, v + b * cos + c * sin]));
      }
      outlined(context, colour, side / 110);
    }
    if (marked < 0) return;
    context.beginPath();
    context.arc(...place(points[marked]), 4 * radius, 0, 2 * Math.PI);
    outlined(context, "#d9485f", radius);
  }
}
