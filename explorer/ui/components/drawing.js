// What planes and pad draw alike: elements, images, and a classifier's first guesses.

export function element(tag, className, parent) {
  const made = document.createElement(tag);
  made.className = className;
  parent.appendChild(made);
  return made;
}

/** Keep one `Kind` for a component through its reruns, and destroy it when the component goes. */
export function keep(component, Kind) {
  const { parentElement } = component;
  if (parentElement.kept && parentElement.kept.language !== language()) { // its words are made with it
    parentElement.kept.destroy();
    delete parentElement.kept;
  }
  const failed = JSON.stringify(say("The model's weights did not arrive. Reload the page."));
  document.documentElement.style.setProperty("--failed", failed);
  parentElement.kept ??= new Kind(parentElement);
  const { kept } = parentElement;
  kept.language = language();
  kept.update(component);
  const token = {};
  kept.token = token;
  return () => {
    if (kept.token !== token) return; // a newer run of this component has taken over
    kept.destroy();
    delete parentElement.kept;
  };
}

/** How many pixels the page's type is high: twice as many in a lecture. */
export function rem() {
  return parseFloat(getComputedStyle(document.documentElement).fontSize);
}

/** Set the text of an element, only where it is another: each change costs a layout. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Make a canvas that is said as a picture of what `name` says. */
export function pictured(className, parent, name) {
  const canvas = element("canvas", className, parent);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", name);
  return canvas;
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** The way of an arrow key, [right, up], which then does nothing else; undefined for any other key. */
export function arrow(event) {
  const way = ARROWS[event.key];
  if (way) event.preventDefault();
  return way;
}

/** Let a canvas be reached by keyboard, as what answers arrow keys. */
export function steered(canvas, name) {
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", name);
}

const SAY_MS = 400; // after the last change: what is said is where one stays

/** A line that a screen reader says whenever one has stopped to change it. */
export class Said {
  constructor(parent) {
    this.node = element("div", "said", parent);
    this.node.setAttribute("role", "status");
  }

  /** Say, once nothing else was to be said for a while, what `words` gives then. */
  soon(words) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => write(this.node, words()), SAY_MS);
  }

  stop() {
    clearTimeout(this.waiting);
  }
}

/** Give a canvas its size in pixels; setting it anew would wipe the canvas. */
export function fitCanvas(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
}

/** Make a canvas as large as it is shown, empty: [context, width, height]. */
export function fitted(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((n) => Math.max(1, Math.round(n * devicePixelRatio)));
  fitCanvas(canvas, width, height);
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  return [context, width, height];
}

/** Write an image (C, H, W) in [0, 1] as RGBA bytes. */
function fillPixels(rgba, image, channels, n) {
  for (let i = 0; i < n; i += 1) {
    for (let c = 0; c < 3; c += 1) rgba[4 * i + c] = 255 * image[(channels === 1 ? 0 : c) * n + i]; // clamped bytes round
    rgba[4 * i + 3] = 255;
  }
}

/** Paint an image (C, H, W) in [0, 1] on a canvas of its size. */
export function paintImage(canvas, image, [channels, height, width]) {
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  fillPixels(pixels.data, image, channels, width * height);
  context.putImageData(pixels, 0, 0);
}

/** Go from code or image a to b on the straight line; t is 0 at a and 1 at b. */
export function lerp(a, b, t) {
  return Float32Array.from(a, (value, i) => (1 - t) * value + t * b[i]);
}

/** Give the code at coordinates (u, v) of a plane, as plane.js describes planes. */
export function codeOn({ origin, right, up, twist }, [u, v]) {
  return Float32Array.from(origin, (o, i) => o + u * right[i] + v * up[i] + (twist ? u * v * twist[i] : 0));
}

const metrics = new WeakMap(); // of planes, by their first direction

/** List the squared distances in the whole code from (u, v) on a plane to each of its points. */
export function squaredDistances({ right, up, points }, [u, v]) {
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  if (!metrics.has(right)) metrics.set(right, [dot(right, right), dot(right, up), dot(up, up)]);
  const [rr, ru, uu] = metrics.get(right);
  return points.map(([pu, pv, , away]) => {
    const [du, dv] = [u - pu, v - pv];
    return Math.max(0, rr * du * du + 2 * ru * du * dv + uu * dv * dv + away);
  });
}

export function softmax(logits) {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = logits.map((value) => Math.exp(value - most));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((value) => value / sum);
}

/** Show the most probable classes as bars in `parent`, and say the first of them in words. */
export function showGuesses(parent, probabilities, classes, colours, n) {
  while (parent.children.length < n) {
    const row = element("div", "guess", parent);
    element("span", "name", row);
    element("i", "bar", element("span", "track", row));
    element("span", "percent", row);
  }
  const order = Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a]);
  order.slice(0, n).forEach((k, i) => {
    const [name, track, percent] = parent.children[i].children;
    write(name, classes[k]);
    track.firstChild.style.transform = `scaleX(${probabilities[k]})`; // unlike a width, needs no layout
    track.firstChild.style.background = colours[k];
    write(percent, `${Math.round(100 * probabilities[k])} %`);
  });
  return say("taken for {name}, {n} %", { name: classes[order[0]], n: Math.round(100 * probabilities[order[0]]) });
}

/** Stroke the current path so that it shows on dark and on light. */
export function outlined(context, colour, width) {
  context.lineWidth = 2 * width;
  context.strokeStyle = "#fffc";
  context.stroke();
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.stroke();
}

const DENSITY_CELLS = 72;
const DENSITY_WIDTH = 0.025; // of a field's side

/** Make a small picture of where places (x, y), in shares of a field from its upper left corner, are dense: a Gaussian kernel estimate. */
export function shaded(places, colour) {
  const n = DENSITY_CELLS;
  const density = new Float32Array(n * n);
  const reach = Math.ceil(3 * DENSITY_WIDTH * n);
  for (const [x, y] of places.map(([right, down]) => [right * n, down * n])) {
    for (let row = Math.max(0, Math.floor(y) - reach); row < Math.min(n, y + reach); row += 1) {
      for (let column = Math.max(0, Math.floor(x) - reach); column < Math.min(n, x + reach); column += 1) {
        const [dx, dy] = [(column + 0.5 - x) / n, (row + 0.5 - y) / n];
        density[row * n + column] += Math.exp(-(dx * dx + dy * dy) / (2 * DENSITY_WIDTH ** 2));
      }
    }
  }
  const most = density.reduce((a, b) => Math.max(a, b), 1e-9);
  const small = document.createElement("canvas");
  small.width = small.height = n;
  const pen = small.getContext("2d");
  pen.fillStyle = colour;
  density.forEach((value, i) => {
    pen.globalAlpha = 0.75 * Math.sqrt(value / most);
    pen.fillRect(i % n, Math.floor(i / n), 1, 1);
  });
  return small;
}
