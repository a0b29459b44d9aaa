// SVG in the pixels of the page, drawn anew for each window; no library, no inline styles (the page's policy forbids them).
import { day, time } from "./format.js";

const NS = "http://www.w3.org/2000/svg";
const STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
export const LEFT = 42, RIGHT = 10, TITLE = 24;

export function element(name, attributes = {}, text = "") {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

const px = (value) => value.toFixed(1);

/** A bar for a share from 0 to 1. */
export function bar(share, name) {
  const svg = element("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(element("rect", { width: 100 * share, height: 10, class: `e-${name}` }));
  return svg;
}

export function swatch(name) {
  const svg = element("svg", { viewBox: "0 0 10 10", "aria-hidden": "true", class: "swatch" });
  svg.append(element("rect", { width: 10, height: 10, rx: 2, class: name }));
  return svg;
}

/** Round moments of the day between `from` and `to`, at most `most` of them. */
export function moments(from, to, most) {
  const step = 1000 * (STEPS.find((s) => (to - from) / (1000 * s) <= most) || STEPS.at(-1));
  const shift = new Date(to).getTimezoneOffset() * 60e3, found = [];
  for (let t = Math.ceil((from - shift) / step) * step + shift; t <= to; t += step) found.push(t);
  return { step, found };
}

/** One time axis and what is drawn above each other along it. */
export class Board {
  constructor(width, from, to) {
    Object.assign(this, { width, from, to, y: 0 });
    this.svg = element("svg", { width, role: "presentation" });
    this.under = element("g");
    this.svg.append(this.under);
  }

  x(time) { return LEFT + ((Math.min(Math.max(time, this.from), this.to) - this.from) / (this.to - this.from)) * (this.width - LEFT - RIGHT); }

  /** Begin a plot of that height with its title; its ticks are `[share of the height, text]`. */
  plot(title, height, ticks) {
    this.y += TITLE;
    this.svg.append(element("text", { x: LEFT, y: this.y - 8, class: "title" }, title));
    const top = this.y, at = (share) => top + height * (1 - Math.min(Math.max(share, 0), 1));
    for (const [share, text] of ticks) {
      this.under.append(element("line", { x1: LEFT, x2: this.width - RIGHT, y1: px(at(share)), y2: px(at(share)), class: "grid" }));
      this.svg.append(element("text", { x: LEFT - 6, y: px(at(share) + 4), class: "tick y" }, text));
    }
    this.y += height + 4;
    return at;
  }

  rect(begin, end, top, bottom, kind) {
    const left = this.x(begin), width = Math.max(this.x(end) - left, 1);
    return element("rect", { x: px(left), y: px(top), width: px(width), height: px(Math.max(bottom - top, 0)), class: kind });
  }

  /** A step for each point that has a value, as a line and the area down to `base`; a gap where there is none. */
  steps(points, value, at, base, kind) {
    let line = "", area = "", last = null;
    for (const p of points) {
      const v = value(p);
      if (v === null) { last = null; continue; }
      const [left, right, y] = [px(this.x(p.begin)), px(this.x(p.end)), px(at(v))];
      line += last !== null && p.begin - last < 2000 ? `V${y}H${right}` : `M${left} ${y}H${right}`;
      area += `M${left} ${px(at(base))}V${y}H${right}V${px(at(base))}Z`;
      last = p.end;
    }
    this.svg.append(element("path", { d: area, class: `area ${kind}` }), element("path", { d: line, class: `line ${kind}` }));
  }

  /** Distributions piled on each other: `parts` from below, each value a share. */
  stack(points, parts, value, at) {
    const paths = Object.fromEntries(parts.map((name) => [name, ""]));
    for (const p of points) {
      let below = 0;
      for (const name of parts) {
        const share = value(p, name);
        if (share > 0) paths[name] += `M${px(this.x(p.begin))} ${px(at(below))}H${px(this.x(p.end))}V${px(at(below + share))}H${px(this.x(p.begin))}Z`;
        below += share;
      }
    }
    this.svg.append(...parts.map((name) => element("path", { d: paths[name], class: `stack e-${name}` })));
  }

  /** What a tick says: the time, or at midnight the day. */
  static tick(t, step) {
    const when = new Date(t);
    return step >= 3600e3 && when.getHours() + when.getMinutes() === 0 ? day(when) : time(when, step < 60e3);
  }

  /** The time axis; nothing is drawn below it. */
  finish(label) {
    const { step, found } = moments(this.from, this.to, Math.max(2, Math.floor((this.width - LEFT) / 90)));
    for (const t of found) {
      const x = px(this.x(t));
      this.under.append(element("line", { x1: x, x2: x, y1: TITLE, y2: this.y, class: "grid" }));
      if (this.x(t) < this.width - 24) this.svg.append(element("text", { x, y: this.y + 14, class: "tick x" }, Board.tick(t, step)));
    }
    this.y += 22;
    this.svg.setAttribute("height", this.y);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.y}`);
    this.svg.append(element("title", {}, label));
    return this.svg;
  }
}
