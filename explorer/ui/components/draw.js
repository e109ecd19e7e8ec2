// A drawing pad whose image runs through encoder, decoder and classifier while it is drawn.
//
// data: {
//   model: name of packed networks that rebuild the drawing, variational: whether its encoder gives log_var,
//   placed: name of the networks that place it on a native plane, or null, group: the plane's group,
//   classifier, classes[], colours[], image: [C, H, W], errors[]: the gallery's squared errors, ascending,
//   noun: what its images are, weights: { name: address } of all these networks,
//   brush: radius in pixels of the image, soft, erase, start: an image [C * H * W] to begin with, or null,
//   version: changes when `start` is to be loaded anew
// }

const UNDO_STEPS = 50;
const TOP_GUESSES = 3;

export default function (component) {
  return keep(component, DrawingPad);
}

class DrawingPad {
  constructor(parent) {
    this.root = element("div", "draw", parent);
    const left = element("div", "column", this.root);
    this.pad = pictured("pad", left, say("Your drawing, made by pointer or touch; without one, choose an image"));
    const buttons = element("div", "buttons", left);
    this.button(buttons, say("Undo"), () => this.undo());
    this.button(buttons, say("Clear"), () => this.clear());
    const middle = element("div", "column", this.root);
    this.rebuilt = pictured("rebuilt", middle, say("What the model makes of it"));
    const words = element("div", "words", this.root);
    this.guesses = element("div", "guesses", words);
    this.note = element("div", "note", words);
    this.said = new Said(words);
    this.undone = [];
    this.frames = 0;
    this.pending = 0;
    this.stroke = null; // last point of the stroke being drawn, in pixels of the image
    this.pad.addEventListener("pointerdown", (event) => this.onDown(event));
    this.pad.addEventListener("pointermove", (event) => this.onMove(event));
    for (const name of ["pointerup", "pointercancel"]) this.pad.addEventListener(name, () => { this.stroke = null; });
    this.onModel = () => this.schedule();
    document.addEventListener("lx-model", this.onModel);
    this.onJoined = (event) => { if (event.detail === this.data?.group) this.schedule(); };
    document.addEventListener("lx-joined", this.onJoined);
  }

  button(parent, name, act) {
    const made = element("button", "button", parent);
    made.type = "button";
    made.textContent = name;
    made.addEventListener("click", act);
  }

  destroy() {
    cancelAnimationFrame(this.pending);
    this.said.stop();
    document.removeEventListener("lx-model", this.onModel);
    document.removeEventListener("lx-joined", this.onJoined);
    this.root.remove();
  }

  update({ data }) {
    const [channels, height, width] = data.image;
    this.data = data;
    fetchModels(data.weights);
    this.size = channels * height * width;
    this.x ??= new Float32Array(this.size);
    for (const canvas of [this.pad, this.rebuilt]) fitCanvas(canvas, width, height);
    if (data.start && data.version !== this.version) {
      this.remember();
      this.x.set(data.start);
    }
    this.version = data.version;
    this.schedule();
  }

  remember() {
    this.undone.push(this.x.slice());
    if (this.undone.length > UNDO_STEPS) this.undone.shift();
  }

  undo() {
    if (this.undone.length) this.x = this.undone.pop();
    this.schedule();
  }

  clear() {
    this.remember();
    this.x.fill(0);
    this.schedule();
  }

  /** Where an event is, in pixels of the image. */
  spot(event) {
    const box = this.pad.getBoundingClientRect();
    const [, height, width] = this.data.image;
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  }

  onDown(event) {
    event.preventDefault();
    this.pad.setPointerCapture(event.pointerId);
    this.remember();
    this.stroke = this.spot(event);
    this.stamp(this.stroke, this.stroke);
    this.schedule();
  }

  onMove(event) {
    if (!this.stroke) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const part of events.length ? events : [event]) {
      const to = this.spot(part);
      this.stamp(this.stroke, to);
      this.stroke = to;
    }
    this.schedule();
  }

  /** Lay the brush along a segment; soft edges fall off over the brush's radius. */
  stamp([x0, y0], [x1, y1]) {
    const { image: [channels, height, width], brush, soft, erase } = this.data;
    const length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const [px, py] = [x + 0.5, y + 0.5];
        const t = length ? Math.min(1, Math.max(0, ((px - x0) * (x1 - x0) + (py - y0) * (y1 - y0)) / length)) : 0;
        const distance = Math.hypot(px - x0 - t * (x1 - x0), py - y0 - t * (y1 - y0));
        const ink = soft ? Math.exp(-((distance / brush) ** 2)) : Number(distance <= brush);
        if (ink < 0.02) continue;
        for (let c = 0; c < channels; c += 1) {
          const i = (c * height + y) * width + x;
          this.x[i] = erase ? Math.min(this.x[i], 1 - ink) : Math.max(this.x[i], ink);
        }
      }
    }
  }

  schedule() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      this.draw();
    });
  }

  draw() {
    const { model, variational, placed, group, classifier, classes, colours, image } = this.data;
    const { models } = sharedPage();
    paintImage(this.pad, this.x, image);
    const networks = models.get(model);
    this.root.dataset.state = stateOf(model);
    if (!networks) return;
    const code = networks.encode(this.x);
    const xHat = networks.decode(variational ? code.subarray(0, code.length / 2) : code);
    paintImage(this.rebuilt, xHat, image);
    this.judge(xHat);
    const classify = models.get(classifier)?.classify;
    const guess = classify && showGuesses(this.guesses, softmax(classify(this.x)), classes, colours, TOP_GUESSES);
    this.said.soon(() => [guess, this.note.textContent].filter(Boolean).join("; "));
    const place = models.get(placed)?.encode(this.x);
    if (place) {
      const half = place.length / 2;
      const sigma = place.subarray(half).map((logVar) => Math.exp(logVar / 2));
      const detail = { group, code: place.subarray(0, half), sigma };
      document.dispatchEvent(new CustomEvent("lx-code", { detail }));
    }
    this.frames += 1;
    this.rebuilt.dataset.frames = this.frames;
  }

  /** Say how unlike the training data the drawing is: its error among the gallery's errors. */
  judge(xHat) {
    const mse = this.x.reduce((sum, value, i) => sum + (value - xHat[i]) ** 2, 0) / this.size;
    const share = this.data.errors.filter((error) => error < mse).length / this.data.errors.length;
    const values = { mse: fixed(mse, 4), share: Math.round(100 * share), noun: this.data.noun };
    this.note.textContent = say("squared error {mse}: more than {share} % of the {noun} have", values);
  }
}
