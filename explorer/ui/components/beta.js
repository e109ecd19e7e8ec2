// What beta does: plane, samples, KL of each number, and rate against distortion, of one model for each beta.
//
// data: {
//   model: name of packed networks, weights: { name: address }, image: [C, H, W],
//   betas: their names[], beta: index of the chosen one, axis[n]: coordinates of the plane's cells from -1 to 1,
//   members: [{ network, kl[D], rate, distortion, used, shown: [i, j] the numbers that the plane shows, reach: what 1 is
//     on the plane, points: [[x, y]...] in hundredths of it, mean[D], root[D][D]: the Gaussian fitted to all codes is
//     mean + root e, flat: [x, y, a, b, c] of its mean and root in the plane, in units of reach }...],
//   noise: [[e...]...]: draws of a standard normal, labels[], colours[], outlines[][x, y]: of classes,
//   withCodes: whether codes lie on the plane,
//   chart: { x, y, lines, marks[][]: of each member },
//   steps[]: where each number is walked to in place of the plane, or none; then each member has base[D]: the code that
//     walks begin at, tells[D]: what each number tells of, scores: in words
// }
// State for Python: beta, when the dial rests.

const PRIOR = "#8d939c";
const FITTED = "#d9485f";

export default function (component) {
  return keep(component, Betas);
}

class Betas extends Dialled {
  constructor(parent) {
    super(parent, "beta");
    const turn = (i) => {
      this.at = i;
      this.schedule();
    };
    this.dial = new Dial(this.root, "β", turn, () => this.report());
    this.sentence = element("div", "sentence", this.root);
    const layout = element("div", "layout", this.root);
    const left = element("div", "left", layout);
    this.square = new Square(left, say("Plane of codes, decoded"));
    this.walks = new Walks(left);
    const middle = element("div", "middle", layout);
    this.samples = [say("Samples of the prior"), say("Samples of the fitted density")].map((name, i) => {
      const title = element("div", "title", middle);
      element("i", i ? "key fitted" : "key prior", title);
      title.append(name);
      return new Images(middle, name);
    });
    element("div", "title", middle).textContent = say("KL of each number, nats");
    this.bars = new Bars(middle);
    const right = element("div", "right", layout);
    this.scores = element("div", "title", right);
    this.chart = new Chart(right);
  }

  arrive() {
    this.at ??= this.data.beta;
    this.at = Math.min(this.at, this.data.betas.length - 1);
  }

  report() {
    this.setStateValue("turned", { beta: Number(this.data.betas[this.at]) });
  }

  draw() {
    const { betas, members, image, noise, chart, steps } = this.data;
    const member = members[this.at];
    const { kl, rate, distortion, used } = member;
    const decode = this.networks[member.network];
    this.dial.show(betas.map(plain), this.at);
    write(this.sentence, say("β = {beta}: {rate} nats of rate buy a distortion of {distortion} nats; {used} of {n} numbers carry more than {least} nats.", {
      beta: plain(betas[this.at]), rate: fixed(rate, 1), distortion: fixed(distortion, 1), used, n: kl.length, least: fixed(0.1, 1),
    }));
    write(this.scores, member.scores ?? "");
    this.square.root.hidden = steps.length > 0;
    this.root.classList.toggle("walking", steps.length > 0);
    if (steps.length) this.walks.show(member, steps, decode, image);
    else this.paintPlane(member, decode);
    this.samples[0].paint(noise.map((e) => decode(Float32Array.from(e))), image);
    this.samples[1].paint(noise.map((e) => decode(drawn(member, e))), image);
    const highest = members.map((one) => Math.max(...one.kl)).sort((one, other) => one - other);
    const most = highest.at(-2) ?? highest[0]; // without β, what is paid knows no bounds
    this.bars.show(kl, kl.map((_, k) => `z${subscript(k + 1)}`), kl.map((nats) => fixed(nats, 1)), most);
    this.chart.show({ ...chart, marks: chart.marks[this.at] });
  }

  paintPlane({ kl, shown: [i, j], reach, flat: [x, y, a, b, c], points }, decode) {
    const { image, axis, labels, colours, outlines, withCodes } = this.data;
    const code = new Float32Array(kl.length);
    this.square.paintSheet(axis, image, (u, v) => {
      code[i] = u * reach;
      code[j] = v * reach;
      return decode(code);
    });
    const rings = [1, 2].flatMap((n) => [
      { at: [0, 0], root: [n / reach, 0, n / reach], colour: PRIOR },
      { at: [x, y], root: [n * a, n * b, n * c], colour: FITTED },
    ]);
    const dots = withCodes ? points.map(([u, v]) => [u / 100, v / 100]) : [];
    this.square.paintFront({ points: dots, labels, colours, outlines, rings });
  }
}

/** Rows of images, each along one number of a code, all others as they are; those that carry most come first. */
class Walks {
  constructor(parent) {
    this.root = element("div", "walks", parent);
    this.rows = [];
  }

  show({ base, tells, kl }, steps, decode, image) {
    const order = Array.from(kl.keys()).sort((k, l) => kl[l] - kl[k]);
    order.forEach((k, i) => {
      this.rows[i] ??= { name: element("div", "small", this.root), images: new Images(this.root, "") };
      const { name, images } = this.rows[i];
      write(name, `z${subscript(k + 1)} ${tells[k]}`);
      images.root.setAttribute("aria-label", say("Along number {k}, which tells {what}", { k: k + 1, what: tells[k] }));
      images.paint(steps.map((step) => decode(Float32Array.from(base, (own, l) => (l === k ? step : own)))), image);
    });
  }
}

/** Turn a draw of a standard normal into one of the fitted Gaussian. */
function drawn({ mean, root }, noise) {
  return Float32Array.from(mean, (value, k) => root[k].reduce((sum, weight, l) => sum + weight * noise[l], value));
}

function subscript(number) {
  return String(number).replaceAll(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);
}
