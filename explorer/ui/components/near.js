// What is real near the pins of a plane, and the walk between two; for exported pages, as the app shows it.
// data: { plane: as plane.js says, pins: [[u, v]...], sheet: of the images of the plane's points, or null, noun }

const NEIGHBOURS = 9;
const STEPS = 10;

export default function (component) {
  return keep(component, Near);
}

class Near {
  constructor(parent) {
    this.root = element("div", "near", parent);
    this.hint = element("p", "hint", this.root);
    this.groups = ["A", "B", "walk"].map(() => {
      const group = element("section", "group", this.root);
      group.heading = element("h2", "title", group);
      group.row = new Row(group);
      return group;
    });
    this.onModel = () => this.draw();
    document.addEventListener("lx-model", this.onModel);
  }

  destroy() {
    document.removeEventListener("lx-model", this.onModel);
    this.root.remove();
  }

  update({ data }) {
    this.data = data;
    const wanted = data.sheet
      ? say("Click to pin a point and see the {noun} nearest to it; pin a second one to walk between.", { noun: data.noun })
      : say("Click to pin two points and see the walk between them.");
    write(this.hint, wanted);
    this.draw();
  }

  draw() {
    const { plane, pins, sheet } = this.data;
    const networks = sharedPage().models.get(plane.model);
    this.hint.hidden = pins.length > (sheet ? 0 : 1);
    this.groups.forEach((group, i) => { group.hidden = !networks || (i < 2 ? !sheet || !pins[i] : pins.length < 2); });
    if (!networks) return;
    const codes = pins.map((pin) => codeOn(plane, pin));
    if (sheet) pins.forEach((pin, i) => this.showNearest(this.groups[i], "AB"[i], networks.decode(codes[i]), pin));
    if (pins.length < 2) return;
    const walk = Array.from({ length: STEPS }, (_, i) => lerp(codes[0], codes[1], i / (STEPS - 1)));
    write(this.groups[2].heading, say("From A to B, straight"));
    this.groups[2].row.show(walk.map((code) => networks.decode(code)), walk.map(() => ""), plane.image);
  }

  showNearest(group, name, decoded, pin) {
    const { plane, sheet, noun } = this.data;
    const squares = squaredDistances(plane, pin);
    const nearest = Array.from(squares.keys()).sort((a, b) => squares[a] - squares[b]).slice(0, NEIGHBOURS);
    write(group.heading, say("Pin {name} and the nearest {noun}", { name, noun }));
    const texts = [say("decoded"), ...nearest.map((i) => fixed(Math.sqrt(squares[i]), 2))];
    group.row.show([decoded, ...nearest], texts, plane.image, sheet);
  }
}
