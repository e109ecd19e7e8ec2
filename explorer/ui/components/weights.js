// Keep the networks of a model for every component of the page. All it leaves here is an empty mark of its own.
// data: bytes of layers.pack; the header names the model.

export default function (component) {
  const { parentElement } = component;
  if (!parentElement.querySelector(".sent")) element("span", "sent", parentElement);
  const page = sharedPage();
  const packed = unpack(component.data);
  if (page.models.has(packed.model)) return;
  page.models.set(packed.model, makeNetworks(packed, page.runtime));
  document.dispatchEvent(new CustomEvent("lx-model", { detail: packed.model }));
}
