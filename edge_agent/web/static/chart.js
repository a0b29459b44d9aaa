// SVG in the pixels of the page, drawn anew for each window; no library, no inline styles (the page's policy forbids them).
import { day, time } from "./format.js";

const NS = "http://www.w3.org/2000/svg";
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
/** Opacity classes of what was watched in part: `[least coverage, class]`. */
const LEVELS = [[0.9, ""], [0.6, "most"], [0.3, "half"], [0, "little"]];
export const LEFT = 44, RIGHT = 12, FOOT = 20, HEAD = 6;

export function element(name, attributes = {}, text = "") {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

const px = (value) => value.toFixed(1);
const level = (coverage) => LEVELS.find(([least]) => coverage >= least)[1];

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

/** One plot of `height` pixels over the time from `from` to `to`. */
export class Board {
  constructor(width, height, from, to) {
    Object.assign(this, { width, height, from, to });
    this.svg = element("svg", { width, role: "presentation" });
    this.shades = element("g");
    this.under = element("g");
    this.svg.append(this.shades, this.under);
  }

  x(time) { return LEFT + ((Math.min(Math.max(time, this.from), this.to) - this.from) / (this.to - this.from)) * (this.width - LEFT - RIGHT); }

  /** The height of a share of the plot. */
  at(share) { return HEAD + this.height * (1 - Math.min(Math.max(share, 0), 1)); }

  /** Lines with what they stand for: `[share of the height, text]`. */
  ticks(pairs) {
    for (const [share, text] of pairs) {
      const y = px(this.at(share));
      this.under.append(element("line", { x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y, class: "grid" }));
      this.svg.append(element("text", { x: LEFT - 6, y: px(this.at(share) + 4), class: "tick y" }, text));
    }
  }

  rect(begin, end, top, bottom, kind) {
    const left = this.x(begin), width = Math.max(this.x(end) - left, 1);
    return element("rect", { x: px(left), y: px(top), width: px(width), height: px(Math.max(bottom - top, 0)), class: kind });
  }

  /** A step for each point that has a value, as a line and the area down to `base`; a gap where there is none. */
  steps(points, value, base, kind) {
    const lines = {}, areas = {};
    let last = null, before = null;
    for (const p of points) {
      const v = value(p);
      if (v === null) { last = null; continue; }
      const [left, right, y] = [px(this.x(p.begin)), px(this.x(p.end)), px(this.at(v))], faded = level(p.coverage);
      const joined = last !== null && p.begin - last < 2000 && before === faded;
      lines[faded] = (lines[faded] ?? "") + (joined ? `V${y}H${right}` : `M${left} ${y}H${right}`);
      areas[faded] = `${areas[faded] ?? ""}M${left} ${px(this.at(base))}V${y}H${right}V${px(this.at(base))}Z`;
      [last, before] = [p.end, faded];
    }
    for (const [faded, d] of Object.entries(areas)) this.svg.append(element("path", { d, class: `area ${kind} ${faded}` }));
    for (const [faded, d] of Object.entries(lines)) this.svg.append(element("path", { d, class: `line ${kind} ${faded}` }));
  }

  /** Shares piled on each other: `parts` from below, each value a share of the height. */
  stack(points, parts, value) {
    const paths = new Map();
    for (const p of points) {
      let below = 0;
      for (const name of parts) {
        const share = value(p, name), kind = `stack e-${name} ${level(p.coverage)}`;
        if (share > 0) paths.set(kind, `${paths.get(kind) ?? ""}M${px(this.x(p.begin))} ${px(this.at(below))}H${px(this.x(p.end))}V${px(this.at(below + share))}H${px(this.x(p.begin))}Z`);
        below += share;
      }
    }
    for (const [kind, d] of paths) this.svg.append(element("path", { d, class: kind }));
  }

  /** Shade time without data; `named`: with the reason where it fits. */
  shade(spans, named) {
    for (const { begin, end, kind, why } of spans) {
      if (end <= this.from || begin >= this.to) continue;
      const box = this.rect(begin, end, HEAD, HEAD + this.height, `shade w-${kind}`);
      box.append(element("title", {}, why));
      this.shades.append(box);
      const left = this.x(begin), room = this.x(end) - left;
      if (named && kind !== "clock" && room > 6.6 * why.length + 10) {
        this.svg.append(element("text", { x: px(left + room / 2), y: px(HEAD + this.height / 2 + 4), class: "tick why" }, why));
      }
    }
  }

  /** A dashed line at the reader's own threshold. */
  limit(share, text) {
    if (share < 0 || share > 1) return;
    const y = px(this.at(share));
    this.svg.append(element("line", { x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y, class: "limit" }));
    this.svg.append(element("text", { x: this.width - RIGHT, y: px(this.at(share) - 4), class: "tick limit-text" }, text));
  }

  /** What a tick says: the time, or at midnight the day. */
  static tick(t, step) {
    const when = new Date(t);
    return step >= 3600e3 && when.getHours() + when.getMinutes() === 0 ? day(when) : time(when, step < 60e3);
  }

  /** Close the plot; `axis`: with the times below it. */
  finish(axis) {
    const { step, found } = moments(this.from, this.to, Math.max(2, Math.floor((this.width - LEFT) / 90)));
    const bottom = HEAD + this.height, whole = bottom + (axis ? FOOT : 4);
    for (const t of found) {
      const x = px(this.x(t));
      this.under.append(element("line", { x1: x, x2: x, y1: HEAD, y2: bottom, class: "grid" }));
      if (axis && this.x(t) < this.width - 26) this.svg.append(element("text", { x, y: bottom + 15, class: "tick x" }, Board.tick(t, step)));
    }
    this.svg.setAttribute("height", whole);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${whole}`);
    return this.svg;
  }
}
