// Class x style: every class in one style, under a pad that moves the style, and in the styles of some images.
//
// data: {
//   model: name of packed networks, weights: { name: address }, image: [C, H, W], classes[], shares[]: words under each,
//   sheet: address of the images that styles are taken from, sources: [{ code[D], label }...], shown: [i, j] the
//   numbers that the pad moves, reach: what the pad's half side is, points: [[x, y]...] in hundredths of it,
//   labels[], colours[], outlines[][x, y]: of classes,
//   strengths[]: of the style, style: { u, v, strength } to begin with; u, v null: the first image's
// }
// State for Python: u, v, strength, when they rest.

const NUDGE = 0.05; // of the pad's half side, for an arrow key

export default function (component) {
  return keep(component, Styles);
}

class Styles extends Dialled {
  constructor(parent) {
    super(parent, "style");
    const layout = element("div", "layout", this.root);
    const left = element("div", "left", layout);
    element("div", "title", left).textContent = say("Move the style");
    this.pad = new Square(left, "");
    const { front } = this.pad;
    steered(front, say("Two numbers of the style. Arrow keys move it."));
    front.addEventListener("pointerdown", (event) => {
      front.setPointerCapture(event.pointerId);
      this.held = true;
      this.point(event);
    });
    front.addEventListener("pointermove", (event) => { if (this.held) this.point(event); });
    for (const end of ["pointerup", "pointercancel"]) front.addEventListener(end, () => this.rest());
    front.addEventListener("keydown", (event) => this.onKey(event));
    const turn = (i) => this.turn({ strength: this.data.strengths[i] });
    this.dial = new Dial(left, say("How much of it"), turn, () => this.report());
    this.note = element("div", "small", left);
    this.said = new Said(left);
    const table = element("div", "table", layout);
    this.heads = element("div", "heads", table);
    this.lines = element("div", "lines", table);
    this.rows = [];
  }

  arrive() {
    const { data } = this;
    if (this.source !== data.sheet) {
      const { code } = data.sources[0];
      const [i, j] = data.shown;
      const { u, v, strength } = this.source ? { ...this.at, u: null } : data.style;
      this.at = { u: u ?? code[i], v: u === null ? code[j] : v, strength };
      loadSheet(data.sheet, data.sources.length, (sheet) => {
        this.sheet = sheet;
        this.schedule();
      });
    }
    this.source = data.sheet;
  }

  turn(change) {
    Object.assign(this.at, change);
    this.schedule();
  }

  point(event) {
    const box = this.pad.front.getBoundingClientRect();
    const { reach } = this.data;
    const within = (value) => Math.min(1, Math.max(-1, value)) * reach;
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    this.turn({ u: within(2 * x - 1), v: within(1 - 2 * y) });
  }

  rest() {
    if (this.held) this.report();
    this.held = false;
  }

  onKey(event) {
    const way = arrow(event);
    if (!way) return;
    const { reach } = this.data;
    const [u, v] = way.map((step, k) => {
      return Math.min(reach, Math.max(-reach, [this.at.u, this.at.v][k] + step * NUDGE * reach));
    });
    this.turn({ u, v });
    this.said.soon(() => this.note.textContent);
    this.report();
  }

  report() {
    clearTimeout(this.reporting);
    const round = (value) => Math.round(value * 100) / 100;
    this.reporting = setTimeout(() => {
      this.setStateValue("turned", { u: round(this.at.u), v: round(this.at.v), strength: this.at.strength });
    }, REPORT_AFTER_MS);
  }

  draw() {
    const { classes, shares, image, sources, shown: [i, j], reach, points, labels, colours, outlines, strengths } = this.data;
    const { u, v, strength } = this.at;
    this.dial.show(strengths.map(plain), strengths.indexOf(strength));
    this.pad.paintFront({
      points: [...points.map(([x, y]) => [x / 100, y / 100]), [u / reach, v / reach]],
      labels: [...labels, 0], colours, outlines, marked: points.length,
      rings: [1, 2].map((n) => ({ at: [0, 0], root: [n / reach, 0, n / reach], colour: "#8d939c" })),
    });
    write(this.note, say("numbers {i} and {j} of the style: {u}; {v}", {
      i: i + 1, j: j + 1, u: fixed(u, 2), v: fixed(v, 2),
    }));
    this.showHeads(classes, shares);
    const moved = Float32Array.from(sources[0].code);
    [moved[i], moved[j]] = [u, v];
    const codes = [moved, ...sources.map(({ code }) => code)];
    while (this.rows.length < codes.length) this.rows.push(lineOf(this.lines));
    while (this.rows.length > codes.length) this.rows.pop().root.remove();
    codes.forEach((code, k) => {
      const row = this.rows[k];
      row.root.classList.toggle("moved", k === 0);
      const styled = code.map((value) => value * strength);
      const decode = this.networks[Object.keys(this.networks)[0]];
      row.images.paint(classes.map((_, c) => decode([...styled, ...classes.map((__, other) => Number(other === c))])), image);
      row.source.hidden = k === 0;
      if (k && this.sheet) {
        fitCanvas(row.source, image[2], image[1]);
        cut(row.source, this.sheet, k - 1);
      }
      write(row.words, k ? "" : say("this style"));
      row.words.hidden = k > 0;
    });
  }

  showHeads(classes, shares) {
    const signature = JSON.stringify([classes, shares]);
    if (signature === this.headed) return;
    this.headed = signature;
    this.heads.replaceChildren();
    element("span", "", this.heads).textContent = say("style of");
    classes.forEach((name, c) => {
      const head = element("span", "", this.heads);
      element("b", "", head).textContent = name;
      if (shares.length) element("small", "", head).textContent = shares[c];
    });
  }
}

function lineOf(parent) {
  const root = element("div", "line", parent);
  const words = element("div", "title", root);
  const source = element("canvas", "source", root);
  source.setAttribute("aria-hidden", "true");
  return { root, words, source, images: new Images(root, say("Every class in one style")) };
}
