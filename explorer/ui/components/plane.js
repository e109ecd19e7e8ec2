// A plane of codes that answers the pointer: what the decoder makes of the point under it, at once.
//
// data: {
//   model, classifier: names of packed networks (classifier may be null), weights: { name: address }, classes[], colours[],
//   outlines[][x, y]: corners of each class's mark, about 1 from its middle,
//   origin[D], right[D], up[D]: the code at coordinates (u, v) is origin + u right + v up,
//   twist[D]: or null; u v twist is added to that, as between four codes that lie on no plane,
//   axis[n]: coordinates of the centres of the sheet's n x n cells, ascending, for both directions,
//   flat: one row of cells instead, v is 0, names: [u, v], image: [C, H, W],
//   points: [[u, v, class, squared distance from the plane]...], typical: usual distance between codes,
//   small: for half a page, layers: any of "sheet", "regions" (of the classifier), "codes", "density", "prior", "posterior", ellipse: [u, v, sigma u, sigma v] or null,
//   pins: [[u, v]...], at most two, to begin with; group: planes of one group share the cursor, or null,
//   bare: nothing beside the plane, whose code something else shows, and one pin
// }
// An event "lx-cursor" { group, from: the plane, place } says where the cursor is, or with place null that it is gone.
// An event "lx-code" { group, code, sigma } on the document puts the cursor and an ellipse at a code; an event
// "lx-joined" with the plane's group asks for it when the plane has come.
// State for Python: pins.

const MAX_PINS = 2;
const NUDGE = 1 / 200; // of the plane's side, for an arrow key; ten times as much with Shift
const GRAB_PIXELS = 16;
const CODE_PIXELS = 5; // radius of a code's mark
const TOP = 3;
const SLICE_MS = { pointing: 5, idle: 150 }; // at a time, for decoding the sheet behind
const POINTING_MS = 400; // after its last move the pointer counts as moving
const SMOOTH_FROM = 64; // pixels of a side: so many read as a photograph
const KEEPS_UP_MS = 33; // for one picture; what takes longer lags behind the pointer
const TIMED = 9; // pictures, of whose times the middle one counts

export default function (component) {
  return keep(component, LivePlane);
}

class LivePlane {
  constructor(parent) {
    this.root = element("div", "live", parent);
    this.layout = element("div", "layout", this.root);
    const sheet = element("div", "sheet", this.layout);
    this.back = element("canvas", "back", sheet); // what does not move with the pointer
    this.back.setAttribute("aria-hidden", "true"); // the one before it has the name of both
    this.front = element("canvas", "front", sheet); // cursor and pins
    const side = element("div", "side", this.layout);
    this.picture = pictured("picture", side, say("What the point decodes to"));
    const words = element("div", "words", side);
    this.where = element("div", "where", words);
    this.guesses = element("div", "guesses", words);
    this.note = element("div", "note", words);
    this.said = new Said(side);
    this.pins = null;
    this.active = -1; // the pin that arrow keys move
    this.cursor = null; // [u, v] under the pointer, here or in a linked plane
    this.dragging = false;
    this.pending = 0;
    this.frames = 0;
    this.sheets = 0;
    this.moved = -Infinity;
    this.took = []; // ms that the last pictures under the pointer took
    this.listen();
  }

  listen() {
    const front = this.front;
    front.addEventListener("pointermove", (event) => this.onMove(event));
    front.addEventListener("pointerdown", (event) => this.onDown(event));
    front.addEventListener("pointerup", (event) => this.onUp(event));
    front.addEventListener("pointercancel", (event) => this.onUp(event));
    front.addEventListener("pointerleave", () => { if (!this.dragging) this.point(null); });
    front.addEventListener("keydown", (event) => this.onKey(event));
    this.onModel = () => this.refresh();
    this.onLinked = (event) => {
      if (event.detail.from === this || !this.data?.group || event.detail.group !== this.data.group) return;
      this.cursor = event.detail.place && this.valueAt(event.detail.place);
      this.schedule();
    };
    this.onCode = (event) => {
      if (!this.data?.group || event.detail.group !== this.data.group) return;
      const { code, sigma } = event.detail;
      this.cursor = [code[0], code[1]]; // only a native plane is sent codes
      this.ellipse = sigma && [code[0], code[1], 2 * sigma[0], 2 * sigma[1]];
      this.schedule();
    };
    document.addEventListener("lx-code", this.onCode);
    document.addEventListener("lx-model", this.onModel);
    document.addEventListener("lx-cursor", this.onLinked);
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(this.back.parentElement);
  }

  destroy() {
    cancelAnimationFrame(this.pending);
    cancelAnimationFrame(this.painting);
    this.watcher.disconnect();
    this.said.stop();
    document.removeEventListener("lx-model", this.onModel);
    document.removeEventListener("lx-cursor", this.onLinked);
    document.removeEventListener("lx-code", this.onCode);
    this.root.remove();
  }

  update({ data, setStateValue }) {
    const joins = !this.data && data.group;
    this.setStateValue = setStateValue;
    if (data.model !== this.data?.model) this.took = [];
    this.data = data;
    fetchModels(data.weights);
    this.pins ??= data.pins.map((pin) => [...pin]);
    if (this.active < 0) this.active = this.pins.length - 1;
    this.layout.classList.toggle("flat", data.flat);
    this.layout.classList.toggle("bare", data.bare === true);
    this.layout.classList.toggle("small", data.small === true);
    this.back.parentElement.style.aspectRatio = `${data.axis.length} / ${this.nRows}`;
    const step = (i) => data.axis[i + 1] - data.axis[i];
    this.edges = [data.axis[0] - step(0) / 2, data.axis.at(-1) + step(data.axis.length - 2) / 2];
    const names = data.names.filter(Boolean).join(say(", "));
    const keys = say("Plane of codes: {names}. Arrow keys move a pin, with Shift further; Delete lets it go.", { names });
    steered(this.front, keys);
    fitCanvas(this.picture, data.image[2], data.image[1]);
    this.isSmooth = data.image[2] >= SMOOTH_FROM;
    this.picture.style.imageRendering = this.isSmooth ? "auto" : "";
    this.accent = getComputedStyle(this.root).getPropertyValue("--st-primary-color") || "#c0392b";
    this.refresh();
    if (joins) document.dispatchEvent(new CustomEvent("lx-joined", { detail: data.group }));
  }

  /** The model's networks, once they are here. */
  get networks() {
    return sharedPage().models.get(this.data.model);
  }

  /** The classifier's network, once it is here. */
  get classify() {
    return sharedPage().models.get(this.data.classifier)?.classify;
  }

  get nRows() {
    return this.data.flat ? 1 : this.data.axis.length;
  }

  refresh() {
    if (!this.data) return;
    this.root.dataset.state = stateOf(this.data.model);
    this.resize();
  }

  resize() {
    const [width, height] = [this.back.clientWidth, this.back.clientHeight].map((n) => Math.round(n * devicePixelRatio));
    if (!width || !this.data) return;
    for (const canvas of [this.back, this.front]) fitCanvas(canvas, width, height);
    this.paintBack();
    this.schedule();
  }

  // Places: 0 is the left or lower edge of the plane, 1 the right or upper one.

  placeOf([u, v]) {
    return [this.placeAlong(u), this.data.flat ? 0.5 : this.placeAlong(v)];
  }

  valueAt([x, y]) {
    return [this.valueAlong(x), this.data.flat ? 0 : this.valueAlong(y)];
  }

  placeAlong(value) {
    const { axis } = this.data;
    const knots = [this.edges[0], ...axis, this.edges[1]];
    const place = (i) => (i === 0 ? 0 : i === knots.length - 1 ? 1 : (i - 0.5) / axis.length);
    let i = knots.findIndex((knot) => knot > value) - 1;
    if (i === -1) i = 0;
    if (i < -1) i = knots.length - 2;
    return place(i) + ((value - knots[i]) / (knots[i + 1] - knots[i])) * (place(i + 1) - place(i));
  }

  valueAlong(place) {
    const { axis } = this.data;
    const knots = [this.edges[0], ...axis, this.edges[1]];
    const inner = Math.min(Math.max(place, 0), 1) * axis.length + 0.5; // centres stand at 1, 2, ... n
    const i = Math.min(Math.max(Math.floor(inner), 0), axis.length);
    const from = i === 0 ? 0.5 : i;
    const to = i === axis.length ? axis.length + 0.5 : i + 1;
    return knots[i] + ((inner - from) / (to - from)) * (knots[i + 1] - knots[i]);
  }

  /** Canvas pixels [x, y] of coordinates [u, v]. */
  pixelOf(spot) {
    const [x, y] = this.placeOf(spot);
    return [x * this.back.width, (1 - y) * this.back.height];
  }

  eventPlace(event) {
    const box = this.front.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height];
  }

  // Gestures

  /** Move the cursor to a place (null: away), here and in linked planes. */
  point(place) {
    this.cursor = place && this.valueAt(place);
    this.ellipse = null;
    this.tell(place);
    this.schedule();
  }

  /** Tell whoever is linked to this plane where its cursor is, or the pin that keys move. */
  tell(place) {
    if (!this.data.group) return;
    document.dispatchEvent(new CustomEvent("lx-cursor", { detail: { group: this.data.group, from: this, place } }));
  }

  onMove(event) {
    this.moved = event.timeStamp;
    const place = this.eventPlace(event);
    if (this.dragging) this.pins[this.active] = this.valueAt(place);
    this.point(place);
  }

  onDown(event) {
    event.preventDefault();
    this.front.focus({ preventScroll: true });
    this.front.setPointerCapture(event.pointerId);
    const place = this.eventPlace(event);
    const distances = this.pins.map((pin) => {
      const [x, y] = this.pixelOf(pin);
      return Math.hypot(x - place[0] * this.back.width, y - (1 - place[1]) * this.back.height) / devicePixelRatio;
    });
    const nearest = distances.indexOf(Math.min(...distances));
    const grabbed = nearest >= 0 && distances[nearest] <= GRAB_PIXELS;
    if (grabbed || this.pins.length === (this.data.bare ? 1 : MAX_PINS)) this.active = nearest;
    else this.active = this.pins.push(null) - 1;
    this.dragging = true;
    if (!grabbed) this.pins[this.active] = this.valueAt(place);
    this.point(place);
  }

  onUp(event) {
    if (!this.dragging) return;
    this.dragging = false;
    if (event.pointerType !== "mouse") this.point(null);
    this.report();
  }

  onKey(event) {
    const way = arrow(event);
    if (["Delete", "Backspace"].includes(event.key) && this.pins.length) {
      event.preventDefault();
      this.pins.splice(this.active, 1);
      this.active = this.pins.length - 1;
      this.tell(null);
    } else if (way) {
      if (this.active < 0) this.active = this.pins.push(this.valueAt([0.5, 0.5])) - 1;
      const step = NUDGE * (event.shiftKey ? 10 : 1);
      const place = this.placeOf(this.pins[this.active]);
      this.pins[this.active] = this.valueAt(place.map((p, i) => p + step * way[i]));
      this.cursor = null;
      this.tell(this.placeOf(this.pins[this.active]));
    } else return;
    this.schedule();
    clearTimeout(this.reporting);
    this.reporting = setTimeout(() => this.report(), 250); // a held key is one move
    this.said.soon(() => this.words());
  }

  report() {
    this.setStateValue("pins", this.pins.map((pin) => pin.map((value) => Math.round(value * 1e4) / 1e4)));
  }

  // Drawing

  schedule() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      this.draw();
    });
  }

  draw() {
    this.paintFront();
    if (!this.networks || this.data.bare) return;
    this.spot = this.cursor ?? this.pins[this.active] ?? this.spot ?? this.valueAt([0.5, 0.5]);
    const began = performance.now();
    const image = this.networks.decode(codeOn(this.data, this.spot));
    this.took = [...this.took, performance.now() - began].slice(-TIMED);
    paintImage(this.picture, image, this.data.image);
    this.describe(this.spot, image);
    this.frames += 1;
    this.picture.dataset.frames = this.frames;
  }

  describe(spot, image) {
    const { classes, colours, points, typical } = this.data;
    write(this.where, this.coordinates(spot));
    this.guess = "";
    if (this.classify) this.guess = showGuesses(this.guesses, softmax(this.classify(image)), classes, colours, TOP);
    const notes = [];
    if (points.length) {
      const ratio = Math.sqrt(Math.min(...squaredDistances(this.data, spot))) / typical;
      notes.push(say("nearest real code: {n} × the usual distance between codes", { n: fixed(ratio, 1) }));
    }
    write(this.note, [...notes, ...this.pace()].join("; "));
  }

  /** Say, in a sentence or in none, that pictures lag behind the pointer, where the last ones took too long. */
  pace() {
    const usual = [...this.took].sort((a, b) => a - b)[this.took.length >> 1];
    if (usual <= KEEPS_UP_MS) return [];
    return [say("{n} ms a picture in this browser: it lags behind the pointer", { n: fixed(usual, 0) })];
  }

  /** Write coordinates with the names of their directions. */
  coordinates(spot) {
    const { flat, names } = this.data;
    return names.slice(0, flat ? 1 : 2).map((name, i) => `${name} ${fixed(spot[i], 2)}`).join("   ");
  }

  /** Say where the pin is that was moved, what it is taken for, and which image's code is nearest. */
  words() {
    const { classes, points } = this.data;
    if (this.active < 0) return say("No pin");
    const squares = squaredDistances(this.data, this.pins[this.active]);
    const i = squares.indexOf(Math.min(...squares));
    const image = points.length && { name: classes[points[i][2]], i: i + 1 };
    const nearest = image ? say("nearest image: {name}, number {i}", image) : "";
    const pin = { name: "AB"[this.active], place: this.coordinates(this.pins[this.active]) };
    return [say("Pin {name}: {place}", pin), this.guess, nearest].filter(Boolean).join("; ");
  }

  paintFront() {
    const context = this.front.getContext("2d");
    context.clearRect(0, 0, this.front.width, this.front.height);
    const scale = devicePixelRatio;
    if (this.ellipse) this.paintEllipse(context, this.ellipse);
    if (this.pins.length === 2) this.line(context, this.pins.map((pin) => this.pixelOf(pin)), scale);
    this.pins.forEach((pin, i) => this.dot(context, this.pixelOf(pin), "AB"[i], 13 * scale, i === this.active));
    if (this.cursor && !this.dragging) this.cross(context, this.pixelOf(this.cursor), 11 * scale, scale);
  }

  line(context, [[x0, y0], [x1, y1]], scale) {
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    outlined(context, this.accent, 3 * scale);
  }

  dot(context, [x, y], name, radius, isActive) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = this.accent;
    context.fill();
    context.lineWidth = radius / (isActive ? 3 : 6);
    context.strokeStyle = "#fff";
    context.stroke();
    context.fillStyle = "#fff";
    context.font = `700 ${1.15 * radius}px sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(name, x, y);
  }

  cross(context, [x, y], arm, scale) {
    context.beginPath();
    context.arc(x, y, arm, 0, 2 * Math.PI);
    outlined(context, this.accent, 3 * scale);
  }

  paintBack() {
    const context = this.back.getContext("2d");
    const { model, origin, right, up, twist, axis, layers, points, ellipse } = this.data;
    const { width, height } = this.back;
    const signature = JSON.stringify(
      [model, origin, right, up, twist, axis, layers, ellipse, width, height, this.accent, !this.networks, !this.classify],
    );
    if (signature === this.painted) return; // a rerun changed nothing here
    this.painted = signature;
    this.root.dataset.painted = "no";
    context.clearRect(0, 0, width, height);
    if (layers.includes("density")) this.paintDensity(context);
    const above = () => {
      if (layers.includes("prior")) for (const radius of [1, 2, 3]) this.paintEllipse(context, [0, 0, radius, radius]);
      if (layers.includes("codes")) for (const point of points) this.paintCode(context, point);
      if (layers.includes("posterior") && ellipse) this.paintEllipse(context, ellipse);
    };
    cancelAnimationFrame(this.painting);
    if (layers.includes("regions") && this.networks && this.classify) this.paintRegions(context, () => this.finishBack(above));
    else if (layers.includes("sheet") && this.networks) this.paintSheet(context, () => this.finishBack(above));
    else this.finishBack(above);
  }

  finishBack(above) {
    above();
    if (!this.networks) return;
    this.sheets += 1;
    this.root.dataset.sheets = this.sheets;
    this.root.dataset.painted = "yes";
  }

  /** Decode the sheet behind, a few cells a frame, then call `done`. */
  paintSheet(context, done) {
    const { axis, flat, image: [channels, height, width] } = this.data;
    const [n, nRows] = [axis.length, this.nRows];
    const [across, down] = [this.back.width / n, this.back.height / nRows];
    const cell = document.createElement("canvas");
    [cell.width, cell.height] = [width, height];
    const cellContext = cell.getContext("2d");
    const pixels = cellContext.createImageData(width, height);
    context.imageSmoothingEnabled = this.isSmooth;
    context.imageSmoothingQuality = "high";
    const isDense = this.data.layers.includes("density");
    let next = 0;
    const slice = () => {
      const start = performance.now();
      const end = start + (start - this.moved < POINTING_MS ? SLICE_MS.pointing : SLICE_MS.idle);
      while (next < n * nRows && performance.now() < end) {
        const [column, row] = [next % n, Math.floor(next / n)];
        const x = this.networks.decode(codeOn(this.data, [axis[column], flat ? 0 : axis[n - 1 - row]]));
        fillPixels(pixels.data, x, channels, width * height);
        cellContext.putImageData(pixels, 0, 0);
        const [left, right] = [column, column + 1].map((i) => Math.round(i * across));
        const [top, bottom] = [row, row + 1].map((i) => Math.round(i * down));
        context.globalAlpha = isDense ? 0.55 : 1;
        context.drawImage(cell, left, top, right - left, bottom - top);
        context.globalAlpha = 1;
        next += 1;
      }
      if (next < n * nRows) this.painting = requestAnimationFrame(slice);
      else done();
    };
    slice();
  }

  /** Colour each place by the class that its picture is taken for: from few pictures at once, then from more at the borders. */
  paintRegions(context, done) {
    const { width, height } = this.back;
    const lattices = latticesOf((x, y) => this.classify(this.networks.decode(codeOn(this.data, this.valueAt([x, 1 - y])))));
    const slice = () => {
      const start = performance.now();
      const end = start + (start - this.moved < POINTING_MS ? SLICE_MS.pointing : SLICE_MS.idle);
      let made = null;
      while (!made && performance.now() < end) made = lattices.next().value;
      if (made) {
        const areas = areasOf(made);
        context.clearRect(0, 0, width, height);
        paintAreas(context, areas, this.data.colours);
        this.root.dataset.regions = made.n;
        if (made.isLast) {
          nameAreas(context, areas, this.data);
          return done();
        }
      }
      this.painting = requestAnimationFrame(slice);
      return undefined;
    };
    slice();
  }

  /** Shade where gallery codes are dense: a Gaussian kernel estimate. */
  paintDensity(context) {
    const places = this.data.points.map((point) => this.placeOf(point));
    context.imageSmoothingEnabled = true;
    context.drawImage(shaded(places.map(([x, y]) => [x, 1 - y]), this.accent), 0, 0, this.back.width, this.back.height);
  }

  paintCode(context, [u, v, label]) {
    const [x, y] = this.pixelOf([u, v]);
    const radius = CODE_PIXELS * devicePixelRatio;
    context.beginPath();
    for (const [right, up] of this.data.outlines[label]) context.lineTo(x + radius * right, y - radius * up);
    context.closePath();
    context.fillStyle = this.data.colours[label];
    context.fill();
    context.lineWidth = devicePixelRatio;
    context.strokeStyle = "#fff";
    context.stroke();
  }

  paintEllipse(context, [u, v, sigmaU, sigmaV]) {
    context.beginPath();
    for (let i = 0; i <= 72; i += 1) {
      const angle = (2 * Math.PI * i) / 72;
      context.lineTo(...this.pixelOf([u + sigmaU * Math.cos(angle), v + sigmaV * Math.sin(angle)]));
    }
    outlined(context, this.accent, 2 * devicePixelRatio);
  }
}
