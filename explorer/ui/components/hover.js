// Show the image of the map point under the pointer in a card that follows it, and report when a selection is cleared:
// of one that came with the figure, rather than from this visitor's pointer, Streamlit does not.
// data: { sheet: address of a sheet of square thumbnails, columns, rows, titles[], chart: Streamlit key }

const CARD_PIXELS = 150;

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const mark = document.createElement("span");
  mark.className = "hover";
  parentElement.appendChild(mark);
  const card = document.createElement("div");
  card.className = "lx-hover-card";
  card.setAttribute("aria-hidden", "true"); // follows the pointer; what is chosen stands under the chart in words
  Object.assign(card.style, {
    position: "fixed", zIndex: 1000, display: "none", pointerEvents: "none", padding: "6px",
    background: "#ffffff", color: "#1c1a18", borderRadius: "6px", boxShadow: "0 2px 12px #0007",
    font: "600 16px sans-serif", textAlign: "center",
  });
  const picture = document.createElement("div");
  Object.assign(picture.style, {
    width: `${CARD_PIXELS}px`, height: `${CARD_PIXELS}px`, imageRendering: "pixelated",
    backgroundImage: `url("${data.sheet}")`,
    backgroundSize: `${data.columns * 100}% ${data.rows * 100}%`,
  });
  const title = document.createElement("div");
  card.append(picture, title);
  document.body.appendChild(card);

  let chart = null;
  let pointer = { x: 0, y: 0 };
  const onMove = (event) => { pointer = { x: event.clientX, y: event.clientY }; };
  const onHover = (event) => {
    const index = event.points[0]?.customdata;
    if (index === undefined) return;
    const share = (i, n) => (n > 1 ? `${(i / (n - 1)) * 100}%` : "0");
    const row = Math.floor(index / data.columns);
    picture.style.backgroundPosition = `${share(index % data.columns, data.columns)} ${share(row, data.rows)}`;
    title.textContent = data.titles[index];
    const left = pointer.x + 24 + CARD_PIXELS > window.innerWidth ? pointer.x - CARD_PIXELS - 36 : pointer.x + 24;
    card.style.left = `${left}px`;
    card.style.top = `${Math.min(pointer.y + 16, window.innerHeight - CARD_PIXELS - 50)}px`;
    card.style.display = "block";
  };
  const onUnhover = () => { card.style.display = "none"; };
  const onClear = () => setTriggerValue("cleared", true);
  const events = {
    plotly_hover: onHover, plotly_unhover: onUnhover, plotly_doubleclick: onClear, plotly_deselect: onClear,
  };
  // Streamlit replaces the chart's element when the figure changes, so look again from time to time.
  const attach = () => {
    const found = document.querySelector(`.st-key-${data.chart} .js-plotly-plot`);
    if (found === chart || !found?.on) return;
    onUnhover();
    chart = found;
    chart.setAttribute("role", "figure");
    chart.setAttribute("aria-label", say("Map of the codes of {n} images, a mark for each", { n: data.titles.length }));
    for (const [name, listener] of Object.entries(events)) chart.on(name, listener);
  };
  document.addEventListener("pointermove", onMove, { passive: true });
  const timer = setInterval(attach, 250);
  attach();

  return () => {
    clearInterval(timer);
    document.removeEventListener("pointermove", onMove);
    for (const [name, listener] of Object.entries(events)) chart?.removeListener?.(name, listener);
    card.remove();
    mark.remove();
  };
}
