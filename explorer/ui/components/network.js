// Run described networks (explorer/layers.py) for one image at a time, in WebAssembly or plain JavaScript.
//
// Between layers a tensor is flat, as torch has it, or (pixels, channels), channels padded to a multiple of four, in one
// memory. A convolution of either kind is a table of taps: for each output pixel, which input pixels meet which
// slice of the weights. The table is made once; layer.wat (or `plainLayer`) then walks it.

const LANES = 4;
const padded = (n) => Math.ceil(n / LANES) * LANES;

const WAITS_MS = [500, 1500, 4000]; // before weights that did not arrive are asked for again

/** What the components of one page share: the networks by model, how far others are, and the memory they work in. */
export function sharedPage() {
  globalThis.latentExplorer ??= { models: new Map(), asked: new Map(), runtime: engine(decodeBase64(LAYER_WASM)) };
  return globalThis.latentExplorer;
}

/** Fetch the models of { name: address } that are not here. An event "lx-model" on the document says what came. */
export function fetchModels(addresses) {
  const { models, asked } = sharedPage();
  for (const [model, address] of Object.entries(addresses)) {
    if (models.has(model) || asked.get(model) === "loading") continue;
    asked.set(model, "loading");
    fetchModel(model, new URL(address, document.baseURI));
  }
}

async function fetchModel(model, url) {
  const page = sharedPage();
  for (const wait of [...WAITS_MS, null]) {
    const packed = await fetchPacked(url).catch((error) => console.error(`${url}: ${error.message}`));
    if (packed) page.models.set(model, makeNetworks(packed, page.runtime));
    if (packed || wait === null) break;
    await new Promise((resolve) => { setTimeout(resolve, wait); });
  }
  page.asked.set(model, page.models.has(model) ? "here" : "failed");
  document.dispatchEvent(new CustomEvent("lx-model", { detail: model }));
}

async function fetchPacked(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`status ${response.status}`);
  return unpack(new Uint8Array(await response.arrayBuffer()));
}

/** Say how a model runs, "webassembly" or "javascript", or that it is still "loading" or has "failed" to come. */
export function stateOf(model) {
  const { models, asked, runtime } = sharedPage();
  return models.has(model) ? runtime.kind : asked.get(model) ?? "loading";
}

export function decodeBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** Read bytes of `layers.pack` -> { model, networks: { name: layers }, weights: Float32Array }. */
export function unpack(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const { buffer } = bytes.slice(4 + length);
  const numbers = header.dtype === "float16" ? fromHalf(buffer) : new Float32Array(buffer);
  return { ...header, weights: withRest(numbers, header.rest ?? []) };
}

/** Take the weights out of all numbers, and give back what rounding took from runs [start, n] of them. */
function withRest(numbers, runs) {
  let at = numbers.length - runs.reduce((sum, [, n]) => sum + n, 0);
  const weights = numbers.subarray(0, at);
  for (const [start, n] of runs) {
    for (let i = start; i < start + n; i += 1, at += 1) weights[i] += numbers[at];
  }
  return weights;
}

/** Widen finite float16 numbers: the same bits, 13 places up, are a float32 whose exponent is 112 too small. */
function fromHalf(buffer) {
  const halves = new Uint16Array(buffer);
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i += 1) bits[i] = ((halves[i] & 0x8000) << 16) | ((halves[i] & 0x7fff) << 13);
  const values = new Float32Array(bits.buffer);
  for (let i = 0; i < values.length; i += 1) values[i] *= 2 ** 112;
  return values;
}

/** List, for each output pixel, the taps [input pixel, kernel place] of a (transposed) convolution. */
function tapsOf(layer) {
  if (layer.op === "dense") return [[[0, 0]]];
  const [, inHeight, inWidth] = layer.in;
  const [, outHeight, outWidth] = layer.out;
  const [kernelHeight, kernelWidth] = layer.kernel;
  const source = (out, k, axis) => { // the input row or column that output `out` meets through kernel place k
    const shift = k * layer.dilation[axis] - layer.padding[axis];
    if (!layer.transposed) return out * layer.stride[axis] + shift;
    const spread = out - shift;
    return spread % layer.stride[axis] === 0 ? spread / layer.stride[axis] : -1;
  };
  const pixels = [];
  for (let y = 0; y < outHeight; y += 1) {
    for (let x = 0; x < outWidth; x += 1) {
      const taps = [];
      for (let ky = 0; ky < kernelHeight; ky += 1) {
        const row = source(y, ky, 0);
        if (row < 0 || row >= inHeight) continue;
        for (let kx = 0; kx < kernelWidth; kx += 1) {
          const column = source(x, kx, 1);
          if (column >= 0 && column < inWidth) taps.push([row * inWidth + column, ky * kernelWidth + kx]);
        }
      }
      pixels.push(taps);
    }
  }
  return pixels;
}

/** layer.wat in JavaScript, for a browser without WebAssembly SIMD; same arguments, in bytes. */
function plainLayer(memory) {
  return (x, w, b, y, taps, nPixels, inBytes, outBytes, lowest) => {
    const floats = new Float32Array(memory.buffer);
    const table = new Int32Array(memory.buffer);
    const nOut = outBytes / 4;
    const nIn = inBytes / 4;
    let t = taps / 4;
    for (let pixel = 0; pixel < nPixels; pixel += 1) {
      const out = y / 4 + pixel * nOut;
      for (let o = 0; o < nOut; o += 1) floats[out + o] = floats[b / 4 + o];
      const count = table[t];
      t += 1;
      for (let k = 0; k < count; k += 1, t += 2) {
        const from = (x + table[t]) / 4;
        let row = (w + table[t + 1]) / 4;
        for (let i = 0; i < nIn; i += 1, row += nOut) {
          const value = floats[from + i];
          if (value !== 0) for (let o = 0; o < nOut; o += 1) floats[out + o] += value * floats[row + o];
        }
      }
      for (let o = 0; o < nOut; o += 1) floats[out + o] = Math.max(lowest, floats[out + o]);
    }
  };
}

/** Memory that grows, where there is no WebAssembly. */
function plainMemory() {
  const memory = { buffer: new ArrayBuffer(65536) };
  memory.grow = (pages) => {
    const larger = new Uint8Array(memory.buffer.byteLength + 65536 * pages);
    larger.set(new Uint8Array(memory.buffer));
    memory.buffer = larger.buffer;
  };
  return memory;
}

/** The memory that all networks of the page share, and the kernel that works in it. */
export function engine(wasmBytes) {
  const hasWasm = typeof WebAssembly === "object" && WebAssembly.validate(wasmBytes); // false where SIMD is unknown
  const memory = hasWasm ? new WebAssembly.Memory({ initial: 1 }) : plainMemory();
  let used = 16; // byte 0 stays free, so that no address is falsy
  const allocate = (nBytes) => {
    const address = used;
    used += Math.ceil(nBytes / 16) * 16;
    const missing = used - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    return address;
  };
  if (!hasWasm) return { memory, allocate, layer: plainLayer(memory), kind: "javascript" };
  const instance = new WebAssembly.Instance(new WebAssembly.Module(wasmBytes), { env: { memory } });
  return { memory, allocate, layer: instance.exports.layer, kind: "webassembly" };
}

/** Make the networks of one unpacked model: { name: (Float32Array input) => Float32Array output }. */
export function makeNetworks(packed, runtime) {
  const base = runtime.allocate(packed.weights.byteLength);
  new Float32Array(runtime.memory.buffer, base, packed.weights.length).set(packed.weights);
  const made = {};
  for (const [name, layers] of Object.entries(packed.networks)) made[name] = network(layers, base, runtime);
  return made;
}

/** Compile one list of layers; `base` is the address of the weights. */
function network(layers, base, runtime) {
  const steps = stepsOf(layers, base, runtime);
  const room = roomIn(runtime);
  return (values) => {
    const input = room(values.length);
    new Float32Array(runtime.memory.buffer, input, values.length).set(values);
    const tensor = run(steps, { address: input, n: values.length });
    return new Float32Array(runtime.memory.buffer, tensor.address, tensor.n).slice();
  };
}

// What a layer's op compiles to: (layer, base, runtime) => step, and a step maps a tensor { address, n } to the next.
const OPERATORS = {
  dense: matrixStep,
  conv: matrixStep,
  resample: resampleStep,
  permute: permuteStep,
  concat: concatStep,
  sum: sumStep,
  to_channels_last: (layer, base, runtime) => moveStep(layer.shape, true, runtime),
  to_channels_first: (layer, base, runtime) => moveStep(layer.shape, false, runtime),
  normalise: inPlace(normalise),
  scale: inPlace(scale),
  // one loop each: a shared loop over a function value is ten times slower
  relu: inPlace((x) => { for (let i = 0; i < x.length; i += 1) x[i] = Math.max(0, x[i]); }),
  sigmoid: inPlace((x) => { for (let i = 0; i < x.length; i += 1) x[i] = 1 / (1 + Math.exp(-x[i])); }),
  tanh: inPlace((x) => { for (let i = 0; i < x.length; i += 1) x[i] = Math.tanh(x[i]); }),
  silu: inPlace((x) => { for (let i = 0; i < x.length; i += 1) x[i] /= 1 + Math.exp(-x[i]); }),
  gelu: inPlace((x) => { for (let i = 0; i < x.length; i += 1) x[i] *= 0.5 * (1 + erf(x[i] / Math.SQRT2)); }),
  gelu_tanh: inPlace((x) => {
    const slope = Math.sqrt(2 / Math.PI);
    for (let i = 0; i < x.length; i += 1) x[i] *= 0.5 * (1 + Math.tanh(slope * (x[i] + 0.044715 * x[i] ** 3)));
  }),
  log: inPlace((x) => { for (let i = 0; i < x.length; i += 1) x[i] = Math.log(Math.max(1e-12, x[i])); }),
  leaky_relu: inPlace((x, { slope }) => { for (let i = 0; i < x.length; i += 1) if (x[i] < 0) x[i] *= slope; }),
  elu: inPlace((x, { alpha }) => { for (let i = 0; i < x.length; i += 1) if (x[i] < 0) x[i] = alpha * Math.expm1(x[i]); }),
  softplus: inPlace((x, { beta, threshold }) => {
    for (let i = 0; i < x.length; i += 1) if (beta * x[i] <= threshold) x[i] = Math.log1p(Math.exp(beta * x[i])) / beta;
  }),
};

/** The error function to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26). */
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}

/** Bring each `size` numbers in a row to mean 0 and variance 1. */
function normalise(x, { size, eps }) {
  for (let start = 0; start < x.length; start += size) {
    let mean = 0;
    let variance = 0;
    for (let i = start; i < start + size; i += 1) mean += x[i] / size;
    for (let i = start; i < start + size; i += 1) variance += (x[i] - mean) ** 2 / size;
    const factor = 1 / Math.sqrt(variance + eps);
    for (let i = start; i < start + size; i += 1) x[i] = (x[i] - mean) * factor;
  }
}

/** Multiply and add by a weight and a bias for each `repeat` numbers in a row, `size` of them in turn. */
function scale(x, { size, repeat, weight, bias }, weights) {
  for (let i = 0, k = 0; i < x.length; i += repeat, k = (k + 1) % size) {
    for (let j = i; j < i + repeat; j += 1) x[j] = x[j] * weights[weight + k] + weights[bias + k];
  }
}

function stepsOf(layers, base, runtime) {
  return layers.map((layer) => {
    if (!Object.hasOwn(OPERATORS, layer.op)) throw new Error(`unsupported layer ${layer.op}`);
    return OPERATORS[layer.op](layer, base, runtime);
  });
}

function run(steps, tensor) {
  return steps.reduce((x, step) => step(x), tensor);
}

/** The numbers of a tensor; memory that grows leaves them behind. */
function numbers(runtime, { address, n }) {
  return new Float32Array(runtime.memory.buffer, address, n);
}

/** Make steps that change a tensor where it is, by change(numbers, layer, weights). */
function inPlace(change) {
  return (layer, base, runtime) => {
    const step = (x) => {
      change(numbers(runtime, x), layer, new Float32Array(runtime.memory.buffer, base));
      return x;
    };
    return Object.assign(step, { inPlace: true });
  };
}

/** A place of its own in memory: (numbers) => address, the same one until more numbers are asked for. */
function roomIn(runtime) {
  let address = 0;
  let room = 0;
  return (n) => {
    if (room < n) [address, room] = [runtime.allocate(4 * padded(n)), n];
    return address;
  };
}

/** Compile branches, which all read the same tensor: one that would begin by changing it begins with a copy. */
function branchesOf(layer, base, runtime) {
  return layer.branches.map((layers) => {
    const steps = stepsOf(layers, base, runtime);
    return steps[0]?.inPlace ? [concatOf([[]], runtime), ...steps] : steps;
  });
}

function concatStep(layer, base, runtime) {
  return concatOf(branchesOf(layer, base, runtime), runtime);
}

/** Put what branches make of a tensor one after the other; one empty branch is a copy. */
function concatOf(branches, runtime) {
  const room = roomIn(runtime);
  return (x) => {
    const parts = branches.map((steps) => run(steps, x));
    const n = parts.reduce((sum, part) => sum + part.n, 0);
    const whole = { address: room(n), n };
    let at = 0;
    for (const part of parts) {
      numbers(runtime, whole).set(numbers(runtime, part), at);
      at += part.n;
    }
    return whole;
  };
}

/** Add what two branches or more make of a tensor, in the place of what the last one makes. */
function sumStep(layer, base, runtime) {
  const branches = branchesOf(layer, base, runtime);
  if (branches.at(-1).length === 0) branches.at(-1).push(concatOf([[]], runtime));
  return (x) => {
    const parts = branches.map((steps) => run(steps, x));
    const whole = parts.pop();
    const sum = numbers(runtime, whole);
    parts.forEach((part, k) => add(numbers(runtime, part), sum, layer.relu && k === parts.length - 1));
    return whole;
  };
}

function add(more, sum, isRelu) {
  if (isRelu) for (let i = 0; i < sum.length; i += 1) sum[i] = Math.max(0, sum[i] + more[i]);
  else for (let i = 0; i < sum.length; i += 1) sum[i] += more[i];
}

/** A dense layer or a convolution: a tap table and one call of the kernel for each group of channels. */
function matrixStep(layer, base, runtime) {
  const isDense = layer.op === "dense";
  const groups = layer.groups ?? 1;
  const nIn = isDense ? layer.in : layer.in[0] / groups;
  const nOut = padded(isDense ? layer.out : layer.out[0] / groups);
  const pixels = tapsOf(layer);
  const table = new Int32Array(pixels.length + 2 * pixels.reduce((sum, taps) => sum + taps.length, 0));
  let at = 0;
  for (const taps of pixels) {
    table[at] = taps.length;
    at += 1;
    for (const [pixel, place] of taps) {
      table[at] = 4 * pixel * padded(groups * nIn);
      table[at + 1] = 4 * place * nIn * nOut;
      at += 2;
    }
  }
  const tapsAddress = runtime.allocate(table.byteLength);
  new Int32Array(runtime.memory.buffer, tapsAddress, table.length).set(table);
  const out = runtime.allocate(4 * pixels.length * nOut);
  const lowest = layer.relu ? 0 : -Infinity;
  const slice = isDense ? 0 : 4 * layer.kernel[0] * layer.kernel[1] * nIn * nOut;
  const multiply = (x, group) => {
    runtime.layer(
      x.address + 4 * group * nIn, base + 4 * layer.weight + group * slice, base + 4 * (layer.bias + group * nOut),
      out, tapsAddress, pixels.length, 4 * nIn, 4 * nOut, lowest,
    );
    return { address: out, n: isDense ? layer.out : pixels.length * nOut };
  };
  return groups === 1 ? (x) => multiply(x, 0) : groupsStep(layer, multiply, runtime);
}

/** Lay the channels of all groups of a convolution side by side. */
function groupsStep({ groups, out: [channels, height, width] }, multiply, runtime) {
  const stride = padded(channels);
  const whole = { address: runtime.allocate(4 * height * width * stride), n: height * width * stride };
  const nOut = channels / groups;
  return (x) => {
    for (let group = 0; group < groups; group += 1) {
      const part = numbers(runtime, multiply(x, group));
      const to = numbers(runtime, whole);
      for (let pixel = 0; pixel < height * width; pixel += 1) {
        for (let c = 0; c < nOut; c += 1) to[pixel * stride + group * nOut + c] = part[pixel * padded(nOut) + c];
      }
    }
    return whole;
  };
}

/** Pooling, resizing and padding: each pixel a weighted sum, or the maximum, of those where rows and columns cross. */
function resampleStep({ in: [channels, , width], rows, columns, max }, base, runtime) {
  const stride = padded(channels);
  const n = rows.length * columns.length * stride;
  const out = runtime.allocate(4 * n);
  const gather = (from, to, at, row, column) => {
    for (const [y, weightOfRow] of row) {
      for (const [x, weightOfColumn] of column) {
        const pixel = (y * width + x) * stride;
        const weight = weightOfRow * weightOfColumn;
        for (let c = 0; c < stride; c += 1) {
          const value = from[pixel + c];
          to[at + c] = max ? Math.max(to[at + c], value) : to[at + c] + weight * value;
        }
      }
    }
  };
  return (x) => {
    const from = numbers(runtime, x);
    const to = new Float32Array(runtime.memory.buffer, out, n).fill(max ? -Infinity : 0);
    let at = 0;
    for (const row of rows) {
      for (const column of columns) {
        gather(from, to, at, row, column);
        at += stride;
      }
    }
    return { address: out, n };
  };
}

/** Axes in another order: from a table of where each number comes from. */
function permuteStep({ shape, order }, base, runtime) {
  const steps = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
  let places = [0];
  for (const axis of order) {
    places = places.flatMap((place) => Array.from({ length: shape[axis] }, (_, i) => place + i * steps[axis]));
  }
  const table = Int32Array.from(places);
  const whole = { address: runtime.allocate(4 * table.length), n: table.length };
  return (x) => {
    const from = numbers(runtime, x);
    const to = numbers(runtime, whole);
    for (let i = 0; i < table.length; i += 1) to[i] = from[table[i]];
    return whole;
  };
}

/** Between (C, H, W) and (H, W, padded C). */
function moveStep([channels, height, width], toLast, runtime) {
  const nPixels = height * width;
  const stride = padded(channels);
  const n = toLast ? nPixels * stride : nPixels * channels;
  const out = runtime.allocate(4 * n);
  return (x) => {
    const from = new Float32Array(runtime.memory.buffer, x.address);
    const to = new Float32Array(runtime.memory.buffer, out, n);
    for (let c = 0; c < channels; c += 1) {
      for (let p = 0; p < nPixels; p += 1) {
        if (toLast) to[p * stride + c] = from[c * nPixels + p];
        else to[c * nPixels + p] = from[p * stride + c];
      }
    }
    return { address: out, n };
  };
}
