// The timeline: plots over one time axis, to be read off, zoomed, exported, and watched with thresholds.
import { Board, HEAD, LEFT, RIGHT, element } from "./chart.js";
import { csv, png, save } from "./exporting.js";
import { clock, few, leading, mostly, percent, plural, signed, words } from "./format.js";
import { PLOTS } from "./plots.js";
import { make, say } from "./page.js";

const LEAST_DRAG = 8, KEY = "thresholds";
const $ = (id) => document.getElementById(id);

/** What a window of the timeline holds, in a line. */
export const told = (p) => [
  clock(p.begin),
  p.watched ? plural(p.faces.max, "person", "people") : `not watched: ${mostly(p.unknown.people)}`,
  p.withheld ? "withheld: too few people" : p.emotion ? leading(p.emotion.p) : "",
  p.attention ? `attention ${percent(p.attention.ratio)}` : "",
  p.emotion ? `valence ${signed(p.emotion.valence)}` : "",
  p.bursts.map((b) => `${b.count}\u00a0×\u00a0${words(b.label)}`).join(", "),
  p.language ? `words: ${few(p.language) || "cannot be judged"}` : "",
  p.voice ? `voices: ${p.voice.arousal === undefined ? "arousal not known" : `arousal ${signed(p.voice.arousal)}`}` : "",
  p.watched && p.coverage < 0.9 ? `watched ${percent(p.coverage)} of it` : "",
].filter(Boolean).join(" · ");

function kept() {
  try { return JSON.parse(localStorage.getItem(KEY)) ?? {}; } catch { return {}; }
}

/** One plot on the page: heading, legend, its menu and the drawing. */
class Figure {
  constructor(plot, timeline) {
    Object.assign(this, { plot, timeline });
    this.key = make("ul", "legend");
    this.beyond = make("span", "hint beyond-count");
    this.box = make("div", "chart");
    this.root = make("section", "plot", make("div", "plot-head", make("h3", "", plot.title), this.key, this.beyond, this.menu()), this.box);
    this.root.dataset.plot = plot.name;
    this.root.setAttribute("aria-label", plot.title);
  }

  menu() {
    const button = (text, act) => {
      const made = make("button", "", text);
      made.type = "button";
      made.addEventListener("click", act);
      return made;
    };
    const { name, title, threshold } = this.plot, stem = () => `${name}-${new Date(this.timeline.data.from).toISOString().slice(0, 19).replaceAll(":", "")}`;
    const summary = make("summary", "", "⋯"), choices = make("div", "choices");
    summary.setAttribute("aria-label", `${title}: save, threshold`);
    choices.append(
      button("Save as CSV", () => save(`${stem()}.csv`, csv(this.plot.table(this.timeline.data)))),
      button("Save as PNG", async () => save(`${stem()}.png`, await png(this.board.svg))),
    );
    if (name === "expressions") choices.append(this.neutral());
    if (threshold) choices.append(this.threshold(threshold));
    return make("details", "menu", summary, choices);
  }

  neutral() {
    const box = Object.assign(make("input"), { type: "checkbox", id: "neutral" });
    box.addEventListener("change", () => this.timeline.draw());
    return make("label", "", box, " neutral, too");
  }

  threshold({ unit, min, max }) {
    const field = Object.assign(make("input"), { type: "number", min, max, step: "any", value: this.timeline.limits[this.plot.name] ?? "" });
    field.id = `limit-${this.plot.name}`;
    field.addEventListener("change", () => {
      if (field.reportValidity()) this.timeline.limit(this.plot.name, field.value === "" ? null : Number(field.value));
    });
    return make("label", "", "Threshold ", field, ` ${unit}`);
  }

  draw(data, width, axis, first) {
    const { plot } = this, limit = data.limits[plot.name];
    const board = this.board = new Board(width, plot.height(data), data.from, data.to);
    board.shade(plot.name === "sounds" ? data.silent : data.unseen, first || plot.name === "sounds");
    plot.draw(board, data);
    const beyond = limit === undefined ? 0 : data.points.filter((p) => (plot.threshold.value(p) ?? -Infinity) > limit).length;
    if (limit !== undefined) board.limit(plot.place(limit, data), `${limit}`);
    this.beyond.textContent = limit === undefined ? "" : `above ${limit} in ${plural(beyond, "window")}`;
    this.key.replaceChildren(...plot.legend(data).map(([kind, text]) => make("li", kind, make("span", "", text))));
    this.key.hidden = !this.key.children.length;
    this.box.replaceChildren(board.finish(axis));
  }
}

/** Draw into the element `#timeline`; `zoom(from, to)` is called with a stretch that was chosen, `zoom()` to go back. */
export class Timeline {
  constructor(zoom) {
    Object.assign(this, { zoom, box: $("timeline"), data: null, cursor: null, drag: null, limits: kept() });
    this.figures = PLOTS.map((plot) => new Figure(plot, this));
    this.box.append(...this.figures.map((figure) => figure.root));
    new ResizeObserver(() => this.draw()).observe(this.box);
    this.box.addEventListener("pointerdown", (event) => this.press(event));
    this.box.addEventListener("pointermove", (event) => this.move(event));
    this.box.addEventListener("pointerup", (event) => this.release(event));
    this.box.addEventListener("pointercancel", () => this.select(null));
    this.box.addEventListener("pointerleave", () => { if (!this.drag) this.mark(null); });
    this.box.addEventListener("blur", () => this.mark(null));
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("dblclick", () => this.zoom());
  }

  show(data) { this.data = data; this.draw(); }

  /** Set or, with null, forget the threshold of a plot. */
  limit(name, value) {
    if (value === null) delete this.limits[name]; else this.limits[name] = value;
    try { localStorage.setItem(KEY, JSON.stringify(this.limits)); } catch { /* a browser that keeps nothing */ }
    this.draw();
  }

  draw() {
    const width = this.box.clientWidth;
    if (!this.data || width < 50) return;
    const data = Object.assign(this.data, { limits: this.limits, neutral: $("neutral").checked });
    const shown = this.figures.filter(({ plot }) => !plot.needs || plot.needs(data));
    for (const figure of this.figures) figure.root.hidden = !shown.includes(figure);
    shown.forEach((figure, k) => figure.draw(data, width, k === shown.length - 1 || k === 0, k === 0));
    this.box.setAttribute("aria-label", `Expressions, sounds, people, attention and valence from ${clock(data.from)} to ${clock(data.to)}`);
    this.mark(this.cursor);
    this.select(this.drag);
  }

  time(clientX) {
    const { from, to } = this.data, x = clientX - this.box.getBoundingClientRect().left - LEFT;
    return Math.min(to, Math.max(from, from + (x / (this.box.clientWidth - LEFT - RIGHT)) * (to - from)));
  }

  press(event) {
    if (!this.data || event.button || !event.target.closest(".chart")) return;
    this.drag = { x: event.clientX, begin: this.time(event.clientX), end: null };
    this.point(event);
  }

  move(event) {
    if (!this.data) return;
    if (this.drag && (this.drag.end !== null || Math.abs(event.clientX - this.drag.x) > LEAST_DRAG)) {
      if (this.drag.end === null) this.box.setPointerCapture(event.pointerId);
      this.select({ ...this.drag, end: this.time(event.clientX) });
    } else if (event.target.closest(".chart")) this.point(event);
  }

  release() {
    const { drag } = this;
    this.select(null);
    if (drag && drag.end !== null && Math.abs(drag.end - drag.begin) >= 1000) this.zoom(...[drag.begin, drag.end].sort((a, b) => a - b));
  }

  select(drag) {
    this.drag = drag;
    for (const old of this.box.querySelectorAll(".selection")) old.remove();
    if (!drag || drag.end === null) return;
    const [begin, end] = [drag.begin, drag.end].sort((a, b) => a - b);
    for (const { root, board } of this.figures) if (!root.hidden) board.svg.append(board.rect(begin, end, HEAD, HEAD + board.height, "selection"));
  }

  key(event) {
    if (event.target !== this.box || !this.data) return;
    const { points, from, to } = this.data, step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], { key } = event;
    const now = points.findIndex((p) => p.begin === this.cursor), middle = points[now]?.begin ?? (from + to) / 2;
    if (key === "+" || key === "-") this.zoomBy(key === "+" ? 0.25 : 1, middle);
    else if (key === "Escape") { this.mark(null); this.zoom(); }
    else if (!points.length || !(step || key === "Home" || key === "End")) return;
    else if (key === "Home") this.mark(points[0].begin);
    else if (key === "End" || now < 0) this.mark(points.at(-1).begin);
    else this.mark(points[Math.min(Math.max(now + step, 0), points.length - 1)].begin);
    event.preventDefault();
  }

  zoomBy(half, middle) {
    const span = Math.max(10e3, (this.data.to - this.data.from) * half);
    this.zoom(middle - span, middle + span);
  }

  point(event) {
    const time = this.time(event.clientX), found = this.data.points.find((p) => p.begin <= time && time < p.end);
    this.mark(found ? found.begin : null);
  }

  mark(begin) {
    this.cursor = begin;
    for (const old of this.box.querySelectorAll(".cursor")) old.remove();
    const p = this.data && this.data.points.find((q) => q.begin === begin);
    say("reading", p ? told(p) : "");
    $("reading-hint").hidden = Boolean(p);
    if (!p) return;
    for (const { root, board } of this.figures) {
      if (root.hidden || !board) continue;
      const x = (board.x(p.begin) + board.x(p.end)) / 2;
      board.svg.append(element("line", { x1: x, x2: x, y1: HEAD, y2: HEAD + board.height, class: "cursor" }));
    }
  }
}
