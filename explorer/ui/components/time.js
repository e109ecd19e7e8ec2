// A space as it organises itself: maps, plane and curves of models as they were after some of their epochs.
//
// data: {
//   model: name of packed networks, weights: { name: address }, image: [C, H, W], epochs[], epoch: index of the chosen,
//   axis[n]: coordinates of the plane's cells from -1 to 1, reach: what 1 is on plane and first map,
//   states: [{ network, maps: [[[x, y]...] of each map, in hundredths of its half side], says: [text of each map] }...],
//   maps: titles of them[], labels[], colours[], outlines[][x, y]: of classes,
//   sheet, columns: all images of the gallery, names[]: of each dot,
//   places[]: of each dot's image on the sheet, charts: [{ x, y, lines, values: [y of each state] }...]
// }
// State for Python: epoch, when the dial rests.

const GLIDE_MS = 450;
const STAY_MS = 1300;
const GRAB = 5; // hundredths of a map's half side, from the pointer to a dot
const NUDGE = 8; // as many, for an arrow key

export default function (component) {
  return keep(component, Times);
}

class Times extends Dialled {
  constructor(parent) {
    super(parent, "time");
    const top = element("div", "top", this.root);
    this.button = element("button", "", top);
    this.button.type = "button";
    this.button.addEventListener("click", () => this.play(!this.playing));
    this.dial = new Dial(top, say("Epoch"), (i) => { this.play(false); this.turn(i); }, () => this.report());
    const layout = element("div", "layout", this.root);
    this.plane = framed(layout, say("What the plane decodes to"));
    this.maps = [];
    this.layout = layout;
    this.right = element("div", "right", layout);
    this.charts = [];
    this.marked = -1;
    this.play(false);
  }

  destroy() {
    this.play(false);
    super.destroy();
  }

  arrive() {
    const { data } = this;
    this.at = Math.min(this.at ?? data.epoch, data.epochs.length - 1);
    if (this.sheetOf !== data.sheet) loadSheet(data.sheet, data.columns, (sheet) => { this.sheet = sheet; });
    this.sheetOf = data.sheet;
    while (this.maps.length < data.maps.length) this.maps.push(this.newMap(this.maps.length));
    while (this.charts.length < data.charts.length) this.charts.push(new Chart(this.right));
    this.layout.appendChild(this.right);
    this.from ??= data.states[this.at].maps;
  }

  newMap(k) {
    const map = framed(this.layout, this.data.maps[k]);
    map.note = element("div", "small note", map.root);
    const { front } = map.square;
    steered(front, say("{map}. Arrow keys go from image to image.", { map: this.data.maps[k] }));
    front.addEventListener("pointermove", (event) => this.point(k, event));
    front.addEventListener("keydown", (event) => this.onKey(k, event));
    for (const end of ["pointerleave", "blur"]) front.addEventListener(end, () => this.mark(-1));
    map.said = new Said(map.root);
    map.spot = [0, 0];
    return map;
  }

  turn(i) {
    if (i === this.at) return;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.from = still ? this.data.states[i].maps : this.places();
    this.began = performance.now();
    this.at = i;
    this.schedule();
  }

  play(on) {
    clearInterval(this.playing);
    this.playing = on && setInterval(() => {
      if (this.at + 1 < this.data.epochs.length) this.turn(this.at + 1);
      if (this.at + 1 === this.data.epochs.length) this.play(false);
    }, STAY_MS);
    if (on && this.at + 1 === this.data.epochs.length) this.turn(0);
    if (!on && this.data) this.report();
    write(this.button, on ? say("Pause") : say("Play"));
    this.button.setAttribute("aria-pressed", String(Boolean(on)));
  }

  report() {
    this.setStateValue("turned", { epoch: this.data.epochs[this.at] });
  }

  /** Where each dot is at this moment, on its way to where it was after the chosen epoch. */
  places() {
    const t = Math.min(1, (performance.now() - (this.began ?? 0)) / GLIDE_MS);
    const to = this.data.states[this.at].maps;
    if (t === 1) return to;
    return to.map((map, k) => map.map(([x, y], i) => {
      const [fromX, fromY] = this.from[k][i];
      return [fromX + t * (x - fromX), fromY + t * (y - fromY)];
    }));
  }

  point(k, event) {
    const box = event.target.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 200 - 100;
    const y = 100 - ((event.clientY - box.top) / box.height) * 200;
    this.markNearest(k, [x, y], GRAB);
  }

  onKey(k, event) {
    const [way, map] = [arrow(event), this.maps[k]];
    if (!way) return;
    map.spot = map.spot.map((value, i) => Math.min(100, Math.max(-100, value + NUDGE * way[i])));
    this.markNearest(k, map.spot, Infinity);
    map.said.soon(() => this.data.names[this.marked] ?? "");
  }

  markNearest(k, [x, y], reach) {
    const away = this.places()[k].map(([u, v]) => Math.hypot(u - x, v - y));
    const nearest = away.indexOf(Math.min(...away));
    this.mark(away[nearest] < reach ? nearest : -1);
  }

  mark(i) {
    if (i === this.marked) return;
    this.marked = i;
    this.schedule();
  }

  draw() {
    const { epochs, states, image, axis, reach, maps, labels, colours, outlines, charts } = this.data;
    const state = states[this.at];
    const decode = this.networks[state.network];
    this.dial.show(epochs.map(String), this.at);
    if (this.decoded !== state) this.plane.square.paintSheet(axis, image, (u, v) => decode([u * reach, v * reach]));
    this.decoded = state;
    this.places().forEach((places, k) => {
      const points = places.map(([x, y]) => [x / 100, y / 100]);
      this.maps[k].square.paintFront({ points, labels, colours, outlines, marked: this.marked });
      write(this.maps[k].title, maps[k]);
      write(this.maps[k].note, this.marked < 0 ? state.says[k] : this.data.names[this.marked]);
    });
    this.showMarked(image);
    charts.forEach((chart, k) => {
      const marks = [{ x: epochs[this.at] }, { x: epochs[this.at], y: chart.values[this.at], colour: chart.lines[0].colour }];
      this.charts[k].show({ ...chart, marks });
    });
    if (performance.now() - (this.began ?? 0) < GLIDE_MS && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.schedule();
    }
  }

  /** Show the image under the pointer on the plane's corner. */
  showMarked(image) {
    this.inset ??= element("canvas", "inset", this.plane.square.root);
    this.inset.setAttribute("aria-hidden", "true");
    this.inset.hidden = this.marked < 0 || !this.sheet;
    if (this.inset.hidden) return;
    fitCanvas(this.inset, image[2], image[1]);
    cut(this.inset, this.sheet, this.data.places[this.marked]);
  }
}

function framed(parent, name) {
  const root = element("div", "framed", parent);
  const title = element("div", "title", root);
  title.textContent = name;
  return { root, title, square: new Square(root, name) };
}
