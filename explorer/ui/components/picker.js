// Choose images by picture: thumbnails are buttons, a click puts one into the active slot.
// data: { sheet: address of one row of n square thumbnails, n, titles[n], slots[k], chosen[k] }

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let root = parentElement.querySelector(".picker");
  if (!root) {
    root = document.createElement("div");
    root.className = "picker";
    root.dataset.active = "0";
    parentElement.appendChild(root);
  }
  const active = () => Math.min(Number(root.dataset.active), data.slots.length - 1);

  const slots = document.createElement("div");
  slots.className = "slots";
  data.slots.forEach((name, slot) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "slot";
    button.setAttribute("aria-pressed", String(slot === active()));
    button.title = say("Choose image {name} next", { name });
    const picture = document.createElement("img");
    picture.src = data.chosen[slot];
    picture.alt = say("image {name}", { name });
    const label = document.createElement("span");
    label.textContent = name;
    button.append(label, picture);
    button.addEventListener("click", () => {
      root.dataset.active = String(slot);
      slots.querySelectorAll(".slot").forEach((other, i) => {
        other.setAttribute("aria-pressed", String(i === slot));
      });
    });
    slots.appendChild(button);
  });

  const thumbnails = document.createElement("div");
  thumbnails.className = "thumbnails";
  thumbnails.setAttribute("role", "group");
  thumbnails.setAttribute("aria-label", say("Images to choose from"));
  for (let image = 0; image < data.n; image += 1) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "thumbnail";
    button.title = data.titles[image];
    button.setAttribute("aria-label", data.titles[image]);
    button.style.backgroundImage = `url("${data.sheet}")`;
    button.style.backgroundSize = `${data.n * 100}% 100%`;
    button.style.backgroundPosition = data.n > 1 ? `${(image / (data.n - 1)) * 100}% 0` : "0 0";
    button.addEventListener("click", () => {
      const slot = active();
      root.dataset.active = String((slot + 1) % data.slots.length);
      setTriggerValue("picked", { slot, image });
    });
    thumbnails.appendChild(button);
  }
  root.replaceChildren(slots, thumbnails);
}
