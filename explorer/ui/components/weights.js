// Keep the networks of a model for every component of the page. It draws nothing.
// data: bytes of layers.pack; the header names the model.

export default function (component) {
  const page = sharedPage();
  const packed = unpack(component.data);
  if (page.models.has(packed.model)) return;
  page.models.set(packed.model, makeNetworks(packed, page.runtime));
  document.dispatchEvent(new CustomEvent("lx-model", { detail: packed.model }));
}
