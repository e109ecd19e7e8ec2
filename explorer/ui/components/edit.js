// A face under sliders: what the decoder makes of its code, moved along directions of attributes, and a meter
// of how far the score of every attribute moved with it.
//
// data: {
//   model: name of a packed network "decode", weights: { name: address }, image: [C, H, W], code[D],
//   original: address of a picture, or "", made: what the decoded code is called,
//   sliders: [{ name, label, note, step[D], effects[M], value }...]: one step adds `step` to the code, and moves
//   the score of attribute m of the meter by effects[m]; value: steps to begin with,
//   meter: [{ name, label, kind: "asked" | "held" | "side" }...], M of them,
//   measured: { moves: { name: steps }, moved[M], notes, hint: in its place }: what is found in the picture, or null,
//   reach: sliders and bars go from -reach to reach
// }
// State for Python: moves { name: steps }, when a slider is let go.

const STEP = 0.05;
const REPORT_MS = 250; // a held arrow key is one move
const KINDS = { asked: later("asked for"), held: later("held still"), side: later("came along, largest first") };
const SAME = 0.005; // less shows as 0.00

export default function (component) {
  return keep(component, FaceEditor);
}

class FaceEditor {
  constructor(parent) {
    this.root = element("div", "live edit", parent);
    const layout = element("div", "layout", this.root);
    const left = element("div", "left", layout);
    const faces = element("div", "faces", left);
    this.original = figure(faces, "img", "original", say("original"), say("original face"));
    this.rebuilt = figure(faces, "canvas", "reconstruction", say("reconstruction"), say("reconstructed face"));
    this.edited = figure(faces, "canvas", "edited", say("edited"), say("edited face"));
    this.sliders = element("div", "sliders", left);
    this.reset = element("button", "button", left);
    this.reset.type = "button";
    this.reset.textContent = say("Reset");
    this.reset.addEventListener("click", () => this.moveAll(() => 0));
    this.meter = element("div", "meter", layout);
    this.meter.tabIndex = 0; // it scrolls
    this.meter.setAttribute("role", "region");
    this.meter.setAttribute("aria-label", say("How far each score moved, in standard deviations"));
    this.rows = new Map(); // { row, input, value, note } by name of the attribute
    this.moves = {};
    this.bars = [];
    this.frames = 0;
    this.pending = 0;
    this.onModel = () => this.schedule();
    document.addEventListener("lx-model", this.onModel);
  }

  destroy() {
    cancelAnimationFrame(this.pending);
    clearTimeout(this.reporting);
    document.removeEventListener("lx-model", this.onModel);
    this.root.remove();
  }

  update({ data, setStateValue }) {
    this.setStateValue = setStateValue;
    this.data = data;
    fetchModels(data.weights);
    for (const face of [this.rebuilt, this.edited]) fitCanvas(face.picture, data.image[2], data.image[1]);
    this.original.hidden = !data.original;
    if (data.original) this.original.picture.src = data.original;
    write(this.rebuilt.caption, data.made);
    this.updateSliders();
    this.updateMeter();
    this.schedule();
  }

  updateSliders() {
    const names = this.data.sliders.map((slider) => slider.name);
    for (const [name, { row }] of this.rows) {
      if (names.includes(name)) continue;
      row.remove();
      this.rows.delete(name);
      delete this.moves[name];
    }
    for (const { name, label, note, value } of this.data.sliders) {
      if (!this.rows.has(name)) this.addSlider(name, label, value);
      write(this.rows.get(name).note, note);
      this.rows.get(name).note.title = note; // it may be cut off
      this.sliders.appendChild(this.rows.get(name).row); // in the order of the choice
    }
    this.reset.hidden = !names.length;
    this.root.style.setProperty("--sliders", names.length);
  }

  addSlider(name, label, value) {
    const row = element("label", "slider", this.sliders);
    element("span", "name", row).textContent = label;
    const input = element("input", "range", row);
    const { reach } = this.data;
    Object.assign(input, { type: "range", min: -reach, max: reach, step: STEP, value });
    input.addEventListener("input", () => {
      this.moves[name] = Number(input.value);
      this.schedule();
    });
    input.addEventListener("change", () => this.report());
    input.addEventListener("dblclick", () => this.moveAll((other, now) => (other === name ? 0 : now)));
    this.rows.set(name, { row, input, value: element("output", "value", row), note: element("span", "small", row) });
    this.moves[name] = Number(input.value);
  }

  moveAll(to) {
    for (const [name, { input }] of this.rows) {
      input.value = to(name, this.moves[name]);
      this.moves[name] = Number(input.value);
    }
    this.schedule();
    this.report();
  }

  report() {
    clearTimeout(this.reporting);
    this.reporting = setTimeout(() => this.setStateValue("moves", { ...this.moves }), REPORT_MS);
  }

  updateMeter() {
    const signature = JSON.stringify(this.data.meter);
    if (signature === this.metered) return;
    this.metered = signature;
    this.meter.replaceChildren();
    this.notes = element("div", "small notes", this.meter);
    this.notes.setAttribute("role", "status");
    element("div", "title", this.meter).textContent = say("How far each score moved");
    const ticks = element("span", "ticks", element("div", "scale", this.meter));
    for (const tick of [-this.data.reach, 0, this.data.reach]) element("span", "tick", ticks).textContent = signed(tick, 0);
    this.bars = [];
    for (const [kind, title] of Object.entries(KINDS)) {
      const group = element("div", `group ${kind}`, this.meter);
      this.data.meter.forEach((entry, m) => {
        if (entry.kind !== kind) return;
        if (!group.children.length) element("div", "heading", group).textContent = say(title);
        this.bars[m] = bar(group, entry.label);
      });
    }
    element("div", "small", this.meter).textContent = this.data.measured
      ? say("In standard deviations of each score. Bar: of the code. Mark, once a slider is let go: of the edited picture, as the encoder reads it.")
      : say("In standard deviations of each score, read from the code.");
  }

  schedule() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      this.draw();
    });
  }

  draw() {
    this.showMoves();
    const networks = sharedPage().models.get(this.data.model);
    this.root.dataset.state = stateOf(this.data.model);
    this.root.dataset.painted = networks ? "yes" : "no";
    if (!networks) return;
    const { code, image, sliders } = this.data;
    if (this.rebuiltFrom !== this.data.code) paintImage(this.rebuilt.picture, networks.decode(code), image);
    this.rebuiltFrom = this.data.code;
    const moved = Float32Array.from(code);
    for (const { name, step } of sliders) {
      for (let i = 0; i < moved.length; i += 1) moved[i] += this.moves[name] * step[i];
    }
    paintImage(this.edited.picture, networks.decode(moved), image);
    this.frames += 1;
    this.edited.picture.dataset.frames = this.frames;
  }

  /** Write the sliders' values, and move the bars. */
  showMoves() {
    const { sliders, measured, reach } = this.data;
    for (const [name, { input, value }] of this.rows) {
      write(value, signed(this.moves[name], 2));
      input.setAttribute("aria-valuetext", say("{n} steps", { n: value.textContent }));
    }
    const moved = this.bars.map((_, m) => sliders.reduce((sum, s) => sum + this.moves[s.name] * s.effects[m], 0));
    const within = (value) => Math.min(1, Math.max(-1, value / reach));
    const ranks = Array.from(moved.keys()).sort((a, b) => Math.abs(moved[b]) - Math.abs(moved[a]));
    const isStill = Math.abs(moved[ranks[0]] ?? 0) < SAME; // then keep the order there is
    const isMeasured = !isStill && measured && sliders.every((s) => (measured.moves[s.name] ?? 0) === this.moves[s.name]);
    write(this.notes, (isMeasured && measured.notes) || (measured?.hint ?? ""));
    ranks.forEach((m, rank) => {
      const { row, fill, mark, amount } = this.bars[m];
      if (!isStill) row.style.order = rank + 1;
      fill.style.transform = `scaleX(${within(moved[m])})`; // unlike a width, needs no layout
      write(amount, signed(moved[m], 2));
      mark.hidden = !isMeasured;
      if (isMeasured) mark.style.left = `${50 + 50 * within(measured.moved[m])}%`;
    });
  }
}

function figure(parent, tag, className, name, whole) {
  const made = element("figure", `face ${className}`, parent);
  made.picture = tag === "img" ? element(tag, "picture", made) : pictured("picture", made, whole);
  if (tag === "img") made.picture.alt = whole;
  made.caption = element("figcaption", "caption", made);
  made.caption.textContent = name;
  return made;
}

/** A bar from the middle to either side, and a mark over it. */
function bar(parent, label) {
  const row = element("div", "row", parent);
  element("span", "name", row).textContent = label;
  const track = element("span", "track", row);
  const fill = element("i", "fill", track);
  const mark = element("i", "mark", track);
  return { row, fill, mark, amount: element("span", "amount", row) };
}

/** Write a number with its sign, as in a table. */
function signed(value, digits) {
  const text = fixed(Math.abs(value), digits);
  if (Number(Math.abs(value).toFixed(digits)) === 0) return text;
  return `${value < 0 ? "−" : "+"}${text}`;
}
