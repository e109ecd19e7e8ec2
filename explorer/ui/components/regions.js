// The classes that a classifier sees at each place of a plane, from as few pictures as will do.

const FROM = 6; // cells beside each other, at first
const TO = 48;
const SIDE = 96; // pixels of what is painted, between corners interpolated
const ALPHA = 0.75;
const NAMED_FROM = 4; // pixels from its middle to its border, of an area that is named

const likeliest = (logits) => logits.indexOf(Math.max(...logits));

/**
 * Ask logits(x, y), places 0 to 1 across and down, at the corners of ever more cells. Gives null after each asking, and a
 * Lattice when all corners of one are known: a corner amid others of one class is not asked but interpolated.
 */
export function* latticesOf(logits) {
  let known = null;
  for (let n = FROM; n <= TO; n *= 2) {
    const corners = [];
    for (let i = 0; i < (n + 1) ** 2; i += 1) {
      const [column, row] = [i % (n + 1), Math.floor(i / (n + 1))];
      const between = known && known.between(column / 2, row / 2);
      corners.push(between || logits(column / n, row / n));
      if (!between) yield null;
    }
    known = new Lattice(corners, n);
    yield known;
  }
}

/** A classifier's logits at the corners of n x n cells, row by row; what lies between corners is interpolated. */
class Lattice {
  constructor(logits, n) {
    this.logits = logits;
    this.classes = logits.map(likeliest);
    this.n = n;
    this.isLast = n === TO;
  }

  /** The logits at a place `0 .. n` across and down. */
  at(x, y) {
    const [left, top] = [x, y].map((value) => Math.min(this.n - 1, Math.floor(value)));
    const [a, b] = [x - left, y - top];
    const corner = top * (this.n + 1) + left;
    const [p, q] = [this.logits[corner], this.logits[corner + 1]];
    const [r, s] = [this.logits[corner + this.n + 1], this.logits[corner + this.n + 2]];
    return p.map((value, k) => (1 - b) * ((1 - a) * value + a * q[k]) + b * ((1 - a) * r[k] + a * s[k]));
  }

  /** The logits at a corner, or at a place half way where all corners around are of one class; else null. */
  between(x, y) {
    if (Number.isInteger(x) && Number.isInteger(y)) return this.logits[y * (this.n + 1) + x];
    const own = this.classes[Math.floor(y) * (this.n + 1) + Math.floor(x)];
    for (let row = Math.max(0, Math.ceil(y) - 1); row <= Math.min(this.n, Math.floor(y) + 1); row += 1) {
      for (let column = Math.max(0, Math.ceil(x) - 1); column <= Math.min(this.n, Math.floor(x) + 1); column += 1) {
        if (this.classes[row * (this.n + 1) + column] !== own) return null;
      }
    }
    return this.at(x, y);
  }
}

/** The likeliest class of each of SIDE x SIDE places. */
export function areasOf(lattice) {
  const places = Array.from({ length: SIDE }, (_, i) => ((i + 0.5) / SIDE) * lattice.n);
  return places.flatMap((y) => places.map((x) => likeliest(lattice.at(x, y))));
}

export function paintAreas(context, areas, colours) {
  const small = document.createElement("canvas");
  small.width = small.height = SIDE;
  const pen = small.getContext("2d");
  areas.forEach((k, i) => {
    pen.fillStyle = colours[k];
    pen.fillRect(i % SIDE, Math.floor(i / SIDE), 1, 1);
  });
  context.imageSmoothingEnabled = false;
  context.globalAlpha = ALPHA;
  context.drawImage(small, 0, 0, context.canvas.width, context.canvas.height);
  context.globalAlpha = 1;
}

/** Write the name of each class where it has most room. */
export function nameAreas(context, areas, { classes }) {
  const depths = depthsOf(areas);
  const [across, down] = [context.canvas.width / SIDE, context.canvas.height / SIDE];
  context.font = `600 ${Math.round(0.8 * rem() * devicePixelRatio)}px sans-serif`;
  [context.textAlign, context.textBaseline, context.lineJoin] = ["center", "middle", "round"];
  [context.strokeStyle, context.fillStyle, context.lineWidth] = ["#fff", "#000", 3 * devicePixelRatio];
  classes.forEach((name, k) => {
    const middle = areas.reduce((best, area, i) => (area === k && depths[i] > (depths[best] ?? 0) ? i : best), -1);
    if (middle < 0 || depths[middle] < NAMED_FROM) return;
    const half = context.measureText(name).width / 2 + 3 * devicePixelRatio;
    const x = Math.min(Math.max((middle % SIDE + 0.5) * across, half), context.canvas.width - half);
    const y = (Math.floor(middle / SIDE) + 0.5) * down;
    context.strokeText(name, x, y);
    context.fillText(name, x, y);
  });
}

/** Steps from each place to the nearest of another class or beyond the edge, diagonal ones too. */
function depthsOf(areas) {
  const depths = areas.map(() => 0);
  const step = (i, around) => {
    const isInner = i % SIDE > 0 && i % SIDE < SIDE - 1 && i >= SIDE && i < areas.length - SIDE;
    const same = isInner && around.every((shift) => areas[i + shift] === areas[i]);
    return same ? 1 + Math.min(...around.map((shift) => depths[i + shift])) : 0;
  };
  const before = [-SIDE - 1, -SIDE, -SIDE + 1, -1];
  for (let i = 0; i < areas.length; i += 1) depths[i] = step(i, before);
  const after = before.map((shift) => -shift);
  for (let i = areas.length - 1; i >= 0; i -= 1) depths[i] = Math.min(depths[i], step(i, after));
  return depths;
}
