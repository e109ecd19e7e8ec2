// Rows of images with a line of text under each, decoded or cut out of a sheet; for exported pages.
// A sheet is { picture: an image element, columns }: images of one size, row by row without gaps.

/** A row whose cells are made once and painted anew. */
export class Row {
  constructor(parent) {
    this.root = element("div", "row", parent);
    this.cells = [];
  }

  /** Show pictures, each an image (C, H, W) in [0, 1] or a place on `sheet`, with texts under them. */
  show(pictures, texts, image, sheet = null) {
    while (this.cells.length > pictures.length) this.cells.pop().remove();
    while (this.cells.length < pictures.length) this.cells.push(cell(this.root));
    this.root.style.setProperty("--n", pictures.length);
    pictures.forEach((picture, i) => {
      const { canvas, caption } = this.cells[i];
      fitCanvas(canvas, image[2], image[1]);
      canvas.classList.toggle("smooth", image[2] >= 64); // so many pixels read as a photograph
      canvas.setAttribute("aria-label", say("image {i} of {n}", { i: i + 1, n: pictures.length }));
      if (typeof picture === "number") cut(canvas, sheet, picture);
      else paintImage(canvas, picture, image);
      write(caption, texts[i]);
    });
  }
}

function cell(parent) {
  const made = element("figure", "cell", parent);
  made.canvas = pictured("", made, "");
  made.caption = element("figcaption", "", made);
  return made;
}

/** Paint image `i` of a sheet on a canvas of its size. */
export function cut(canvas, { picture, columns }, i) {
  const { width, height } = canvas;
  const [left, top] = [(i % columns) * width, Math.floor(i / columns) * height];
  canvas.getContext("2d").drawImage(picture, left, top, width, height, 0, 0, width, height);
}

/** Give image `i` of a sheet as (C, H, W) in [0, 1]. */
export function pixelsOf(sheet, i, [channels, height, width]) {
  const canvas = document.createElement("canvas");
  fitCanvas(canvas, width, height);
  cut(canvas, sheet, i);
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const n = width * height;
  return Float32Array.from({ length: channels * n }, (_, k) => data[4 * (k % n) + Math.floor(k / n)] / 255);
}
