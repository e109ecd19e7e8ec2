// The first screen of every page: how much room its picture has, and in a lecture the way from page to page.
// data: { lecture: whether it is one, title, place, places: of this page among those that there are }
// On the document's root it keeps `--room`, the height in pixels from the picture's top to the lower edge of the window.
// In a lecture the arrow keys, Page Down and Page Up, which a presenter's clicker sends, go on and back.

const EDGE = 18; // pixels below the picture, 12 of them its own, for rings
const LEAST = 150; // pixels of a picture, even where nothing is left
const STEPS = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 };
const HAS_OWN_KEYS = "input, textarea, select, canvas, [contenteditable], [role=slider], [role=application], [role=radio], [role=combobox], [role=listbox], [role=option], [role=tab], [role=menuitem], [role=spinbutton]";

export default function (component) {
  return keep(component, Stage);
}

class Stage {
  constructor(parent) {
    this.root = element("div", "stage", parent);
    this.bar = element("nav", "steps", this.root);
    this.bar.setAttribute("aria-label", say("Lecture"));
    this.back = this.button("‹", say("Previous page"), () => this.step(-1));
    this.where = element("span", "", this.bar);
    this.on = this.button("›", say("Next page"), () => this.step(1));
    this.button("×", say("End the lecture"), () => document.querySelector(".st-key-lecture input")?.click());
    this.onKey = (event) => this.pressed(event);
    document.addEventListener("keydown", this.onKey, true); // before a slider takes what a clicker sends
    this.measure = () => this.room();
    document.addEventListener("touchstart", pointAt, { capture: true, passive: true });
    window.addEventListener("resize", this.measure);
    this.watcher = new ResizeObserver(this.measure);
    this.looker = new MutationObserver(() => this.look());
    this.looker.observe(document.body, { childList: true, subtree: true });
    this.look();
  }

  destroy() {
    document.removeEventListener("keydown", this.onKey, true);
    document.removeEventListener("touchstart", pointAt, true);
    window.removeEventListener("resize", this.measure);
    this.watcher.disconnect();
    this.looker.disconnect();
    document.documentElement.classList.remove("lx-lecture");
    this.root.remove();
  }

  update({ data }) {
    this.data = data;
    document.documentElement.classList.toggle("lx-lecture", data.lecture);
    this.bar.hidden = !data.lecture;
    write(this.where, `${data.place} / ${data.places}`);
    this.room();
  }

  button(sign, name, act) {
    const made = element("button", "", this.bar);
    made.type = "button";
    made.textContent = sign;
    made.setAttribute("aria-label", name);
    made.title = name;
    made.addEventListener("click", act);
    return made;
  }

  /** Watch the picture that there is now, and what may move it. */
  look() {
    const shown = [...document.querySelectorAll(".st-key-picture")].find((node) => node.offsetParent);
    if (shown === this.shown) return;
    this.shown = shown;
    this.watcher.disconnect();
    const main = document.querySelector(".stMainBlockContainer");
    for (const node of [main, shown, document.querySelector(".st-key-control")]) if (node) this.watcher.observe(node);
    this.room();
  }

  room() {
    if (!this.shown?.isConnected) return;
    const scrolled = document.querySelector(".stMain")?.scrollTop ?? 0;
    const top = this.shown.getBoundingClientRect().top + scrolled;
    const below = [...document.querySelectorAll(".st-key-control")].find((node) => getComputedStyle(node).position === "fixed");
    const free = window.innerHeight - top - EDGE - (below?.offsetHeight ?? 0);
    const room = `${Math.max(LEAST, Math.floor(free))}px`;
    const { style } = document.documentElement;
    if (style.getPropertyValue("--room") !== room) style.setProperty("--room", room);
  }

  /** Go to another page by the link that the sidebar has for it. */
  step(by) {
    const links = [...document.querySelectorAll('[data-testid="stSidebar"] [data-testid="stPageLink"] a')];
    links[this.data.place - 1 + by]?.click();
  }

  pressed(event) {
    const by = STEPS[event.key];
    if (!this.data?.lecture || !by || event.altKey || event.ctrlKey || event.metaKey) return;
    const focused = event.composedPath()[0];
    if (!event.key.startsWith("Page") && focused.closest?.(HAS_OWN_KEYS)) return;
    event.preventDefault();
    event.stopPropagation();
    this.step(by);
  }
}

/** Tell a chart where a finger is: Plotly chooses what is under the pointer, and a touch alone moves none. */
function pointAt({ target, touches: [{ clientX, clientY }] }) {
  if (target.matches?.(".nsewdrag")) target.dispatchEvent(new MouseEvent("mousemove", { clientX, clientY, bubbles: true }));
}
