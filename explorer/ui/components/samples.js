// Rows of images to choose one from: every image is a button, a click makes it the chosen one.
// data: { rows: [{ key, label, note, sheet: address of a sheet of square images, n }...], columns,
//         chosen: [key, image] or null }
// State for Python: chosen [key, image]

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  let root = parentElement.querySelector(".samples");
  if (!root) {
    root = document.createElement("div");
    root.className = "samples picker";
    parentElement.appendChild(root);
  }
  const share = (i, n) => (n > 1 ? `${(i / (n - 1)) * 100}%` : "0");
  const buttons = [];
  const mark = (chosen) => buttons.forEach(({ button, key, image }) => {
    button.setAttribute("aria-pressed", String(key === chosen?.[0] && image === chosen?.[1]));
  });

  const rows = data.rows.map(({ key, label, note, sheet, n }) => {
    const line = document.createElement("div");
    line.className = label || note ? "line" : "line bare";
    const title = document.createElement("div");
    const [name, small] = [document.createElement("b"), document.createElement("span")];
    name.textContent = label;
    small.textContent = note;
    title.append(name, small);
    const images = document.createElement("div");
    images.className = "images";
    images.setAttribute("role", "group");
    images.setAttribute("aria-label", label);
    images.style.setProperty("--columns", data.columns);
    const lines = Math.ceil(n / data.columns);
    for (let image = 0; image < n; image += 1) {
      const button = document.createElement("button");
      button.type = "button";
      const numbered = label ? say("sample {i}", { i: image + 1 }) : say("image {i}", { i: image + 1 });
      button.title = [label, note.split("\n")[0], numbered].filter(Boolean).join(", ");
      button.setAttribute("aria-label", button.title);
      button.style.backgroundImage = `url("${sheet}")`;
      button.style.backgroundSize = `${data.columns * 100}% ${lines * 100}%`;
      button.style.backgroundPosition =
        `${share(image % data.columns, data.columns)} ${share(Math.floor(image / data.columns), lines)}`;
      button.addEventListener("click", () => {
        mark([key, image]);
        setStateValue("chosen", [key, image]);
      });
      buttons.push({ button, key, image });
      images.appendChild(button);
    }
    line.append(title, images);
    return line;
  });
  root.style.setProperty("--rows", data.rows.reduce((sum, { n }) => sum + Math.ceil(n / data.columns), 0));
  mark(data.chosen);
  root.replaceChildren(...rows);
}
