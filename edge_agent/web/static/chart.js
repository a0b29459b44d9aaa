// Charts as SVG, drawn anew for each window; no library, no inline styles (the page's policy forbids them).
const NS = "http://www.w3.org/2000/svg";
const WIDTH = 900;

export const EMOTIONS = ["happiness", "surprise", "neutral", "sadness", "fear", "anger", "disgust", "contempt"];

export function element(name, attributes = {}, text = "") {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

function canvas(height, label) {
  return element("svg", { viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label });
}

const colour = (name) => `var(--${name})`;

/** A bar for a share from 0 to 1. */
export function bar(share, name) {
  const svg = element("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(element("rect", { width: 100 * share, height: 10, fill: colour(name) }));
  return svg;
}

export function swatch(name) {
  const svg = element("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" });
  svg.append(element("rect", { width: 10, height: 10, rx: 2, fill: colour(name) }));
  return svg;
}

/** Stacked shares of the windows that have an answer; a gap where there is none. A dot for each window with a burst. */
export function timeline(windows) {
  const height = 240, top = 16, svg = canvas(height, "Shares of the eight expressions over time");
  const step = WIDTH / Math.max(windows.length, 30), usable = height - top;
  windows.forEach((window, k) => {
    const x = k * step, width = step + 0.5;
    if (!window.emotion) {
      svg.append(element("rect", { x, y: height - 3, width, height: 3, class: "none" }));
    } else {
      let y = height;
      for (const name of EMOTIONS) {
        const part = window.emotion.p[name] * usable;
        if (part > 0) svg.append(element("rect", { x, y: y - part, width, height: part, fill: colour(name) }));
        y -= part;
      }
    }
    if (window.bursts.length) {
      const dot = element("circle", { cx: x + step / 2, cy: 8, r: 4, class: "burst" });
      dot.append(element("title", {}, window.bursts.map((b) => `${b.count} × ${b.label.replace("_", " ")}`).join(", ")));
      svg.append(dot);
    }
  });
  return svg;
}

/** Mean people (solid) against their highest, attention (dashed) against 1. */
export function presence(windows) {
  const height = 110, svg = canvas(height, "People and attention over time");
  const step = WIDTH / Math.max(windows.length, 30), most = Math.max(1, ...windows.map((w) => w.faces.mean));
  const at = (share) => height - 6 - share * (height - 18);
  svg.append(element("line", { x1: 0, x2: WIDTH, y1: at(0), y2: at(0), class: "grid" }), element("line", { x1: 0, x2: WIDTH, y1: at(1), y2: at(1), class: "grid" }));
  const path = (value) => {
    let drawing = false, d = "";
    windows.forEach((window, k) => {
      const v = value(window);
      if (v === null) { drawing = false; return; }
      d += `${drawing ? "L" : "M"}${((k + 0.5) * step).toFixed(1)} ${at(v).toFixed(1)}`;
      if (!drawing) d += "h0.01";
      drawing = true;
    });
    return d;
  };
  svg.append(element("path", { d: path((w) => w.faces.mean / most), class: "people" }));
  svg.append(element("path", { d: path((w) => (w.attention ? w.attention.ratio : null)), class: "attention" }));
  return { svg, most };
}
