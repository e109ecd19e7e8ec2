// How long a code must be: eight images rebuilt by models of the same build with codes of other lengths, and by PCA.
//
// data: {
//   model: name of packed networks, weights: { name: address }, image: [C, H, W], sheet: address of the originals,
//   lengths[], length, bits: chosen ones, 0 bits for codes as they are,
//   rows: [{ name, colour, networks[], codes[][][], ranges[]: [low[], high[]], errors[], rounded[][]: errors at each
//     number of bits }...], each list by length,
//   sentences[]: of each length, chart: { x, y, lines[], marked[][]: y of each line by length }, or over bits
//     { x, y, lines[]: of codecs, bits: true }
// }
// State for Python: length, bits, when a dial rests.

const MOST_BITS = 8;

export default function (component) {
  return keep(component, Lengths);
}

class Lengths extends Dialled {
  constructor(parent) {
    super(parent, "length");
    const rest = () => this.report();
    const dials = element("div", "dials", this.root);
    this.dial = new Dial(dials, say("Numbers in the code"), (i) => this.turn({ length: this.data.lengths[i] }), rest);
    this.bitsDial = new Dial(dials, say("Bits a number"), (i) => this.turn({ bits: i < MOST_BITS ? i + 1 : 0 }), rest);
    this.sentence = element("div", "sentence", this.root);
    const layout = element("div", "layout", this.root);
    this.left = element("div", "rows", layout);
    this.original = row(this.left, say("Original"));
    this.rows = [];
    this.chart = new Chart(element("div", "right", layout));
  }

  arrive() {
    const { data } = this;
    this.turned ??= { length: data.length, bits: data.bits };
    if (this.shown !== data.sheet) {
      loadSheet(data.sheet, data.rows[0].codes[0].length, (sheet) => {
        this.original.images.paint([...Array(sheet.columns).keys()], this.data.image, sheet);
      });
    }
    this.shown = data.sheet;
  }

  turn(change) {
    Object.assign(this.turned, change);
    this.schedule();
  }

  report() {
    this.setStateValue("turned", { ...this.turned });
  }

  draw() {
    const { lengths, rows, sentences, chart, image } = this.data;
    const { length, bits } = this.turned;
    const at = lengths.indexOf(length);
    this.dial.show(lengths.map(String), at);
    this.bitsDial.show([...Array(MOST_BITS).keys()].map((i) => `${i + 1}`).concat("16"), bits ? bits - 1 : MOST_BITS);
    const size = bits ? ` ${say("With {bits} bits for each an image takes {n} bits.", { bits, n: length * bits })}` : "";
    write(this.sentence, sentences[at] + size);
    while (this.rows.length < rows.length) this.rows.push(row(this.left, ""));
    rows.forEach(({ name, codes, ranges, errors, rounded, networks, inputs }, i) => {
      const { title, note, images } = this.rows[i];
      write(title, name);
      const test = say("test error {error}", { error: fixed(errors[at], 4) });
      write(note, bits ? say("gallery error {error}", { error: fixed(rounded[at][bits - 1], 4) }) : test);
      images.paint(codes[at].map((code) => {
        const whole = new Float32Array(inputs ?? code.length); // PCA's one decoder takes as many as there are
        whole.set(bits ? quantised(code, ranges[at], bits) : code);
        return this.networks[networks[at]](whole);
      }), image);
    });
    this.drawChart(chart, rows, at, bits);
  }

  drawChart(chart, rows, at, bits) {
    if (chart.bits) {
      const own = rows.map(({ name, colour, rounded }) => {
        const points = rounded[at].map((error, i) => [this.turned.length * (i + 1), error]);
        return { name, colour, points, dots: true };
      });
      const marks = bits ? own.map(({ colour, points }) => ({ x: points[bits - 1][0], y: points[bits - 1][1], colour })) : [];
      this.chart.show({ ...chart, lines: [...own, ...chart.lines], marks });
      return;
    }
    const values = chart.marked.map((values) => values[at]);
    const marks = values.map((y, i) => ({ x: this.turned.length, y, colour: chart.lines[i].colour }));
    this.chart.show({ ...chart, marks: [{ x: this.turned.length }, ...marks] });
  }
}

/** Round each number to the middle of its cell, as explorer/dials.py does. */
function quantised(code, [low, high], bits) {
  const n = 2 ** bits;
  return code.map((value, i) => {
    const cell = Math.max((high[i] - low[i]) / n, 1e-12);
    return low[i] + (Math.min(Math.max(Math.floor((value - low[i]) / cell), 0), n - 1) + 0.5) * cell;
  });
}

function row(parent, name) {
  const root = element("div", "row", parent);
  const words = element("div", "words", root);
  const title = element("div", "title", words);
  title.textContent = name;
  const note = element("div", "small", words);
  return { title, note, images: new Images(root, name || say("Rebuilt images")) };
}
