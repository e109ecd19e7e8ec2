// Cut a square out of a photo: drag it, size it by a corner, the wheel or + and -, nudge it with the arrow keys.
//
// data: { photo: its address, width, height: of the whole photo in pixels, crop: [left, top, side] to begin with,
//         image: [C, H, W] of what is cut out, eyes: [[x, y]...] of guides, in shares of the square }
// State for Python: crop.

const SMALLEST = 1 / 12; // of the photo's shorter side
const NUDGE = 1 / 200; // of the photo's shorter side, for an arrow key; ten times as much with Shift
const ZOOM = 1.05; // for one notch of the wheel, or + and -
const CORNERS = [[0, 0], [1, 0], [0, 1], [1, 1]];

export default function (component) {
  const { parentElement } = component;
  if (parentElement.cropper?.language !== language()) {
    parentElement.cropper?.root.remove();
    parentElement.cropper = new Cropper(parentElement);
  }
  parentElement.cropper.language = language();
  parentElement.cropper.update(component);
}

class Cropper {
  constructor(parent) {
    this.root = element("div", "crop", parent);
    this.stage = element("div", "stage", this.root);
    this.photo = element("img", "photo", this.stage);
    this.photo.alt = say("your photo");
    this.photo.draggable = false;
    this.photo.addEventListener("load", () => this.draw());
    this.square = element("div", "square", this.stage);
    this.square.tabIndex = 0;
    this.square.setAttribute("role", "application");
    this.square.setAttribute("aria-label", say("The square that is cut out. Arrow keys move it, plus and minus size it."));
    this.handles = CORNERS.map(([x, y]) => {
      const handle = element("i", "handle", this.square);
      [handle.style.left, handle.style.top] = [`${100 * x}%`, `${100 * y}%`];
      return handle;
    });
    const side = element("div", "side", this.root);
    this.preview = pictured("preview", side, say("What the model gets to see"));
    write(element("div", "hint", side), say("Drag the square, size it by a corner or the wheel, and put the eyes on the rings."));
    this.stage.addEventListener("pointerdown", (event) => this.onDown(event));
    this.stage.addEventListener("pointermove", (event) => this.onMove(event));
    this.stage.addEventListener("pointerup", (event) => this.onUp(event));
    this.stage.addEventListener("pointercancel", (event) => this.onUp(event));
    this.stage.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.square.addEventListener("keydown", (event) => this.onKey(event));
  }

  update({ data, setStateValue }) {
    this.setStateValue = setStateValue;
    if (this.data?.photo === data.photo) return; // a rerun
    this.data = data;
    this.crop = data.crop;
    this.least = SMALLEST * Math.min(data.width, data.height);
    for (const [x, y] of data.eyes) {
      const ring = element("i", "ring", this.square);
      [ring.style.left, ring.style.top] = [`${100 * x}%`, `${100 * y}%`];
    }
    fitCanvas(this.preview, data.image[2], data.image[1]);
    this.photo.src = data.photo;
  }

  /** Photo pixels [x, y] under the pointer. */
  at(event) {
    const box = this.photo.getBoundingClientRect();
    const { width, height } = this.data;
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  }

  onDown(event) {
    event.preventDefault();
    this.square.focus({ preventScroll: true });
    this.stage.setPointerCapture(event.pointerId);
    const [x, y] = this.at(event);
    const [left, top, side] = this.crop;
    const corner = this.handles.indexOf(event.composedPath()[0]);
    if (corner >= 0) {
      const fixed = CORNERS[corner].map((share, i) => [left, top][i] + (1 - share) * side);
      this.drag = (to) => this.sizeFrom(fixed, CORNERS[corner], to);
      return;
    }
    const isInside = x >= left && x <= left + side && y >= top && y <= top + side;
    const grip = isInside ? [x - left, y - top] : [side / 2, side / 2];
    this.drag = (to) => this.place(to[0] - grip[0], to[1] - grip[1], this.crop[2]);
    this.drag([x, y]);
  }

  onMove(event) {
    this.drag?.(this.at(event));
  }

  onUp() {
    if (!this.drag) return;
    this.drag = null;
    this.report();
  }

  onWheel(event) {
    event.preventDefault();
    this.zoom(event.deltaY < 0 ? 1 / ZOOM : ZOOM);
    this.reportSoon();
  }

  onKey(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const [left, top, side] = this.crop;
    if (event.key in moves) {
      const step = NUDGE * Math.min(this.data.width, this.data.height) * (event.shiftKey ? 10 : 1);
      this.place(left + step * moves[event.key][0], top + step * moves[event.key][1], side);
    } else if (event.key === "+" || event.key === "-") this.zoom(event.key === "+" ? ZOOM : 1 / ZOOM);
    else return;
    event.preventDefault();
    this.reportSoon();
  }

  /** Size the square about its middle. */
  zoom(factor) {
    const [left, top, side] = this.crop;
    const { width, height } = this.data;
    const sized = Math.min(Math.max(side * factor, this.least), width, height);
    this.place(left + (side - sized) / 2, top + (side - sized) / 2, sized);
  }

  /** Size the square from a corner that stays, so that the opposite one follows the pointer. */
  sizeFrom(fixed, [right, down], to) {
    const { width, height } = this.data;
    const room = Math.min(right ? width - fixed[0] : fixed[0], down ? height - fixed[1] : fixed[1]);
    const wanted = Math.max(Math.abs(to[0] - fixed[0]), Math.abs(to[1] - fixed[1]));
    const side = Math.min(Math.max(wanted, this.least), room);
    this.place(right ? fixed[0] : fixed[0] - side, down ? fixed[1] : fixed[1] - side, side);
  }

  /** Put the square here, or as near as the photo has room. */
  place(left, top, side) {
    const { width, height } = this.data;
    this.crop = [Math.min(Math.max(left, 0), width - side), Math.min(Math.max(top, 0), height - side), side];
    this.draw();
  }

  draw() {
    const { width, height } = this.data;
    const [left, top, side] = this.crop;
    Object.assign(this.square.style, {
      left: `${(100 * left) / width}%`, top: `${(100 * top) / height}%`, width: `${(100 * side) / width}%`,
    });
    if (!this.photo.naturalWidth) return;
    const scale = this.photo.naturalWidth / width; // the photo in the page may be smaller than the whole
    const context = this.preview.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(
      this.photo, left * scale, top * scale, side * scale, side * scale, 0, 0, this.preview.width, this.preview.height,
    );
    this.root.dataset.state = "ready";
  }

  reportSoon() {
    clearTimeout(this.reporting);
    this.reporting = setTimeout(() => this.report(), 250); // a held key is one move
  }

  report() {
    this.setStateValue("crop", this.crop.map(Math.round));
  }
}
