// Run an exported page: the app's components on weights and images that lie in the same file.
//
// The element "scene" holds {
//   page: its key, language: what it speaks, parts: [{ kind, data, title }...], styles: { kind: style sheet },
//   switches: [layer, label]... to switch on planes, samples[][D]: codes in place of images that may not travel,
//   sheet: { address, columns, titles[] } of images, or null, picks: places of the chosen ones among them,
//   noun: what the images are, or null where none are near the points of a plane
// }
// Elements of type "application/octet-stream" hold bytes, the even ones before the odd ones, gzip and base64: networks
// (layers.pack), and with the id "codes" a code of each image that can be chosen, in float32.

const KEYS_OF_SLIDERS = /^(Arrow|Page|Home|End)/;
const PACKED = 'script[type="application/octet-stream"]';

const scene = JSON.parse(document.getElementById("scene").textContent);
const main = document.querySelector("main");
const bar = document.querySelector(".bar");

/** One component of the app, in a shadow tree with its own styles. */
class Part {
  constructor(kind, data, parent, on = {}) {
    Object.assign(this, { kind, data: { ...data, weights: {} }, on }); // which lie in this file
    this.host = element("div", `part ${kind} ${document.body.className}`, parent);
    this.shadow = this.host.attachShadow({ mode: "open" });
    const styles = new CSSStyleSheet();
    styles.replaceSync(scene.styles[kind]);
    this.shadow.adoptedStyleSheets = [styles];
    for (const name of ["keydown", "keyup"]) this.host.addEventListener(name, keepKeys);
    this.update({});
  }

  update(changes) {
    Object.assign(this.data, changes);
    const tell = (name, value) => this.on[name]?.(value);
    KINDS[this.kind]({ data: this.data, parentElement: this.shadow, setStateValue: tell, setTriggerValue: tell });
  }
}

/** Keep a key that was used here, as on a plane or a slider, from what listens around it, as slides do. */
function keepKeys(event) {
  const isSlider = event.composedPath()[0].type === "range";
  if (event.defaultPrevented || (isSlider && KEYS_OF_SLIDERS.test(event.key))) event.stopPropagation();
}

function input(label, kind, properties, act) {
  const made = element("label", `control ${kind}`, bar);
  const node = element("input", "", made);
  Object.assign(node, { type: kind, ...properties });
  element("span", "", made).textContent = label;
  node.addEventListener("input", () => act(node));
  made.addEventListener("keydown", keepKeys);
}

function toggle(label, checked, act) {
  input(label, "checkbox", { checked }, (box) => act(box.checked));
}

function slider(label, [min, max, step, value], act) {
  input(label, "range", { min, max, step, value }, (range) => act(Number(range.value)));
}

function button(label, act) {
  const made = element("button", "control", bar);
  Object.assign(made, { type: "button", textContent: label });
  made.addEventListener("click", act);
}

function layerSwitches(planes) {
  for (const [name, label] of scene.switches) {
    toggle(label, planes[0].data.layers.includes(name), (isOn) => {
      for (const plane of planes) {
        const others = plane.data.layers.filter((layer) => layer !== name);
        plane.update({ layers: isOn ? [...others, name] : others });
      }
    });
  }
}

/** Offer the images of the sheet for places A, B, ...; `act` is told all picks when one is made. */
function offerImages([, height, width], act) {
  const { sheet, picks } = scene;
  const canvas = document.createElement("canvas");
  fitCanvas(canvas, width, height);
  const chosen = () => picks.map((i) => {
    cut(canvas, sheet, i);
    return canvas.toDataURL();
  });
  const data = {
    sheet: sheet.address, n: sheet.titles.length, titles: sheet.titles, slots: [..."ABCD"].slice(0, picks.length),
    chosen: chosen(),
  };
  const below = element("details", "", document.body);
  main.after(below);
  element("summary", "", below).textContent = picks.length > 1 ? say("Choose other images") : say("Begin with another image");
  const part = new Part("picker", data, below, {
    picked: ({ slot, image }) => {
      picks[slot] = image;
      act(picks);
      part.update({ chosen: chosen() });
    },
  });
}

let taken = 0;

/** Give the next of the sampled codes, again from the first after the last. */
function nextSample() {
  taken += 1;
  return Float32Array.from(scene.samples[(taken - 1) % scene.samples.length]);
}

/** Lay a sheet between four codes, as `latent.bilinear` does: A top left, B top right, C and D below. */
function between([a, b, c, d]) {
  const minus = (p, q) => p.map((value, i) => value - q[i]);
  return { origin: c, right: minus(d, c), up: minus(a, c), twist: minus(minus(b, a), minus(d, c)) };
}

const PAGES = {
  latent_plane() {
    let near = null;
    const planes = scene.parts.map(({ data, title }) => {
      const frame = element("section", "framed", main);
      if (title) element("h2", "", frame).textContent = title;
      return new Part("plane", data, frame, { pins: (pins) => near?.update({ pins }) });
    });
    layerSwitches(planes);
    const [{ data: plane }] = scene.parts;
    if (planes.length > 1 || plane.flat) return planes;
    near = new Part("near", { plane, pins: plane.pins, sheet: scene.sheet, noun: scene.noun }, main);
    return [...planes, near];
  },

  draw() {
    const parts = scene.parts.map(({ kind, data }) => new Part(kind, data, main));
    const [pad, ...planes] = parts;
    slider(say("Brush"), [0.5, 4, 0.1, pad.data.brush], (brush) => pad.update({ brush }));
    toggle(say("Soft edge"), pad.data.soft, (soft) => pad.update({ soft }));
    toggle(say("Erase"), pad.data.erase, (erase) => pad.update({ erase }));
    if (planes.length) layerSwitches(planes);
    if (scene.sheet) {
      offerImages(pad.data.image, ([i]) => {
        pad.update({ start: pixelsOf(scene.sheet, i, pad.data.image), version: `${pad.data.version}, again` });
      });
    }
    return parts;
  },

  attributes() {
    const [{ data }] = scene.parts;
    const face = new Part("edit", data, main);
    if (scene.samples.length) {
      button(say("Another face, a sample"), () => face.update({ code: nextSample(), original: "", made: say("sample") }));
    }
    return [face];
  },

  interpolate(codes) {
    const [{ kind, data }] = scene.parts;
    const length = codes.length / scene.nCodes;
    const fromCodes = kind === "walk" ? (ends) => ({ ends }) : (ends) => between(ends.map(({ code }) => code));
    const ofPicks = (picks) => fromCodes(picks.map((i) => ({
      code: codes.slice(i * length, (i + 1) * length),
      pixels: scene.sheet && pixelsOf(scene.sheet, i, data.image),
    })));
    const part = new Part(kind, { ...data, ...ofPicks(scene.picks) }, main, {
      t: (t) => part.update({ t }),
      steps: (steps) => part.update({ steps }),
    });
    if (scene.sheet) offerImages(data.image, (picks) => part.update(ofPicks(picks)));
    if (scene.samples.length) {
      const sampled = () => scene.picks.map(() => ({ code: nextSample(), pixels: null }));
      button(say("Between samples"), () => part.update(fromCodes(sampled())));
    }
    return [part];
  },
};

/** Take bytes out of an element of the page. */
async function inflate(node) {
  const packed = new Blob([decodeBase64(node.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const parted = new Uint8Array(await new Response(packed).arrayBuffer());
  const half = parted.length / 2;
  return Uint8Array.from(parted, (_, i) => parted[i % 2 ? half + (i - 1) / 2 : i / 2]);
}

async function begin() {
  speak(scene.language);
  const theme = new URLSearchParams(location.search).get("theme");
  if (theme) document.documentElement.dataset.theme = theme;
  if (!globalThis.DecompressionStream) {
    throw new Error(say("This browser cannot unpack what is in this page; any of 2023 or later can. Please update it"));
  }
  if (scene.sheet) {
    scene.sheet.picture = new Image();
    scene.sheet.picture.src = scene.sheet.address;
    await scene.sheet.picture.decode();
  }
  const codes = document.getElementById("codes");
  const parts = PAGES[scene.page](codes && new Float32Array((await inflate(codes)).buffer));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => parts.forEach((part) => part.update({})));
  const { models, runtime } = sharedPage();
  for (const node of document.querySelectorAll(`${PACKED}:not(#codes)`)) {
    const packed = unpack(await inflate(node));
    models.set(packed.model, makeNetworks(packed, runtime));
    document.dispatchEvent(new CustomEvent("lx-model", { detail: packed.model }));
  }
  document.documentElement.dataset.state = "ready";
}

begin().catch((error) => {
  const notice = element("p", "notice", document.querySelector("header"));
  notice.setAttribute("role", "alert");
  notice.textContent = `${error.message}.`;
  throw error;
});
