// Walks between two codes, for exported pages: pixel fade, straight line and arc, at steps and at any place between.
//
// data: {
//   model: name of a packed network "decode", image: [C, H, W], ends: two of { code[D], pixels[C * H * W] or null },
//   steps: pictures of a walk, t: where the large pictures at the right are, 0 to 1
// }
// Without pixels there is no fade. State: steps, t.

const MOST_STEPS = 16;

export default function (component) {
  return keep(component, Walks);
}

class Walks {
  constructor(parent) {
    this.root = element("div", "live walk", parent);
    this.rows = {};
    for (const [key, name, note] of [
      ["fade", say("Pixel fade"), say("pixels mixed; t under each")],
      ["linear", say("Linear"), say("decoded; norm of the code under each")],
      ["spherical", say("Spherical"), say("decoded; norm of the code under each")],
    ]) {
      const group = element("div", "group", this.root);
      const words = element("div", "words", group);
      element("b", "", words).textContent = name;
      element("span", "", words).textContent = note;
      this.rows[key] = { group, steps: new Row(group), now: new Row(element("div", "now", group)) };
    }
    const sliders = element("div", "sliders", this.root);
    this.t = slider(sliders, say("From A to B: t"), { min: 0, max: 1, step: 0.01 }, (t) => this.setStateValue("t", t));
    const steps = { min: 3, max: MOST_STEPS, step: 1 };
    this.steps = slider(sliders, say("Steps"), steps, (n) => this.setStateValue("steps", n));
    this.onModel = () => this.draw();
    document.addEventListener("lx-model", this.onModel);
  }

  destroy() {
    document.removeEventListener("lx-model", this.onModel);
    this.root.remove();
  }

  update({ data, setStateValue }) {
    this.setStateValue = setStateValue;
    this.data = data;
    this.t.show(data.t, fixed(data.t, 2));
    this.steps.show(data.steps, data.steps);
    this.draw();
  }

  draw() {
    const { model, image, ends: [a, b], steps, t } = this.data;
    const networks = sharedPage().models.get(model);
    this.root.dataset.state = networks ? sharedPage().runtime.kind : "loading";
    if (!networks) return;
    const places = Array.from({ length: steps }, (_, i) => i / (steps - 1));
    const fade = this.rows.fade;
    fade.group.hidden = !a.pixels || !b.pixels;
    if (!fade.group.hidden) {
      const mixed = (place) => lerp(a.pixels, b.pixels, place);
      fade.steps.show(places.map(mixed), places.map((place) => fixed(place, 2)), image);
      fade.now.show([mixed(t)], [`t ${fixed(t, 2)}`], image);
    }
    for (const [name, walk] of [["linear", lerp], ["spherical", slerp]]) {
      const codes = [...places, t].map((place) => walk(a.code, b.code, place));
      const norms = codes.map((code) => fixed(norm(code), 2));
      const pictures = codes.map((code) => networks.decode(code));
      this.rows[name].now.show([pictures.pop()], [`|z| ${norms.pop()}`], image);
      this.rows[name].steps.show(pictures, norms, image);
    }
  }
}

/** A slider with its name and value: show(value, text). */
function slider(parent, name, bounds, onInput) {
  const row = element("label", "slider", parent);
  element("span", "name", row).textContent = name;
  const input = element("input", "range", row);
  Object.assign(input, { type: "range", ...bounds });
  const value = element("output", "value", row);
  input.addEventListener("input", () => onInput(Number(input.value)));
  return {
    show: (number, text) => {
      input.value = number;
      write(value, text);
    },
  };
}

function norm(code) {
  return Math.sqrt(code.reduce((sum, value) => sum + value * value, 0));
}

/** Go from a to b on the arc between their directions, as explorer/latent.py does. */
function slerp(a, b, t) {
  const [normA, normB] = [norm(a), norm(b)];
  if (normA * normB === 0) return lerp(a, b, t);
  const cosine = a.reduce((sum, value, i) => sum + value * b[i], 0) / (normA * normB);
  const omega = Math.acos(Math.min(1, Math.max(-1, cosine)));
  if (Math.sin(omega) < 1e-3) return lerp(a, b, t); // float32 knows the angle to 4e-4
  const length = ((1 - t) * normA + t * normB) / Math.sin(omega);
  const [left, right] = [(length * Math.sin((1 - t) * omega)) / normA, (length * Math.sin(t * omega)) / normB];
  return a.map((value, i) => left * value + right * b[i]);
}
