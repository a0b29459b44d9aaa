// The timeline: expressions, what was heard, people, attention, valence and visits over one time axis, to be read off.
import { Board, LEFT, RIGHT, TITLE, element } from "./chart.js";
import { clock, leading, mostly, percent, plural, signed, words } from "./format.js";
import { EMOTIONS, lanes } from "./past.js";

const LANES = 6, LANE = 9, LETTER = 6.8;
const $ = (id) => document.getElementById(id);

const told = (p) => [
  `${clock(p.begin)}`,
  p.watched ? plural(Number(p.faces.mean.toFixed(1)), "person", "people") : `not watched: ${mostly(p.unknown.people)}`,
  p.withheld ? "withheld: too few people" : p.emotion ? leading(p.emotion.p) : "",
  p.attention ? `attention ${percent(p.attention.ratio)}` : "",
  p.emotion ? `valence ${signed(p.emotion.valence)}` : "",
  p.bursts.map((b) => `${b.count}\u00a0×\u00a0${words(b.label)}`).join(", "),
].filter(Boolean).join(" · ");

/** Draw into the element `#timeline`; the pointer and the arrow keys read off a window into `#reading`. */
export class Timeline {
  constructor() {
    this.box = $("timeline");
    this.data = null;
    this.cursor = null;
    new ResizeObserver(() => this.draw()).observe(this.box);
    for (const kind of ["pointermove", "pointerdown"]) this.box.addEventListener(kind, (event) => this.point(event.clientX));
    this.box.addEventListener("pointerleave", () => this.mark(null));
    this.box.addEventListener("blur", () => this.mark(null));
    this.box.addEventListener("keydown", (event) => this.key(event));
  }

  show(data) { this.data = data; this.draw(); }

  draw() {
    const width = this.box.clientWidth;
    if (!this.data || width < 50) return;
    const { points, visits, heard, from, to } = this.data, board = this.board = new Board(width, from, to);
    expressions(board, points);
    sounds(board, heard);
    people(board, points);
    attention(board, points);
    valence(board, points);
    if (visits) stays(board, visits);
    unwatched(board, points);
    const label = `Expressions, sounds, people, attention and valence from ${clock(from)} to ${clock(to)}`;
    this.box.replaceChildren(board.finish(label));
    this.box.setAttribute("aria-label", label);
    this.mark(this.cursor);
  }

  key(event) {
    const points = this.data ? this.data.points : [], step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!points.length || !(step || event.key === "Home" || event.key === "End" || event.key === "Escape")) return;
    event.preventDefault();
    const now = points.findIndex((p) => p.begin === this.cursor);
    if (event.key === "Escape") this.mark(null);
    else if (event.key === "Home") this.mark(points[0].begin);
    else if (event.key === "End" || now < 0) this.mark(points.at(-1).begin);
    else this.mark(points[Math.min(Math.max(now + step, 0), points.length - 1)].begin);
  }

  point(clientX) {
    if (!this.data) return;
    const { from, to, points } = this.data, x = clientX - this.box.getBoundingClientRect().left - LEFT;
    const time = from + (x / (this.board.x(to) - LEFT)) * (to - from);
    const found = points.find((p) => p.begin <= time && time < p.end);
    this.mark(found ? found.begin : null);
  }

  mark(begin) {
    this.cursor = begin;
    this.box.querySelector(".cursor")?.remove();
    const p = this.data && this.data.points.find((q) => q.begin === begin);
    $("reading").textContent = p ? told(p) : "";
    $("reading-hint").hidden = Boolean(p);
    if (!p) return;
    const x = (this.board.x(p.begin) + this.board.x(p.end)) / 2;
    this.board.svg.append(element("line", { x1: x, x2: x, y1: TITLE, y2: this.board.y - 22, class: "cursor" }));
  }
}

const part = (p, name) => (p.emotion ? p.emotion.p[name] : 0);

function expressions(board, points) {
  const at = board.plot("Expressions", 168, [[0, "0 %"], [0.5, "50 %"], [1, "100 %"]]);
  board.stack(points, EMOTIONS, part, at);
  for (const p of points) if (p.withheld) board.svg.append(board.rect(p.begin, p.end, at(0.06), at(0), "withheld"));
}

function sounds(board, heard) {
  const at = board.plot("Heard", 16, []), y = at(0.5);
  board.under.append(element("line", { x1: LEFT, x2: board.width - RIGHT, y1: y, y2: y, class: "grid" }));
  const sorted = [...heard].sort((a, b) => a.begin - b.begin);
  sorted.forEach(({ begin, end, label, count = 1 }, k) => {
    const mark = board.rect(begin, end, at(1), at(0), "sound"), text = words(label);
    mark.append(element("title", {}, `${clock(begin)} ${count > 1 ? `${count}\u00a0×\u00a0` : ""}${text}`));
    board.svg.append(mark);
    const after = Math.max(board.x(end), board.x(begin) + 1) + 4, next = k + 1 < sorted.length ? board.x(sorted[k + 1].begin) : board.width;
    if (after + LETTER * text.length + 2 < next) board.svg.append(element("text", { x: after, y: y + 4, class: "tick sound-name" }, text));
  });
}

function people(board, points) {
  const most = Math.max(1, ...points.map((p) => p.faces.max)), ticks = most > 1 ? [[0, "0"], [1, `${most}`]] : [[0, "0"], [1, "1"]];
  const at = board.plot("People", 52, ticks);
  board.steps(points, (p) => (p.watched ? p.faces.mean / most : null), at, 0, "people");
}

function attention(board, points) {
  const at = board.plot("Attention: turned to the camera", 52, [[0, "0 %"], [1, "100 %"]]);
  board.steps(points, (p) => (p.attention ? p.attention.ratio : null), at, 0, "attention");
}

function valence(board, points) {
  const largest = Math.max(0, ...points.map((p) => (p.emotion ? Math.abs(p.emotion.valence) : 0)));
  const most = Math.min(1, Math.ceil(Math.max(largest, 0.2) * 5) / 5), share = (v) => (v / most + 1) / 2;
  const at = board.plot("Valence: displeased to pleased", 56, [[0, signed(-most, 1)], [0.5, "0"], [1, signed(most, 1)]]);
  board.steps(points, (p) => (p.emotion ? share(p.emotion.valence) : null), at, 0.5, "valence");
}

function stays(board, visits) {
  const { placed, count, left } = lanes(visits, LANES, board.to), height = Math.max(count, 1) * LANE;
  const at = board.plot(`Visits${left ? ` (${left} more at the same time)` : ""}`, height, []);
  for (const [visit, lane] of placed) {
    const bar = board.rect(visit.begin, visit.end ?? board.to, at(1) + lane * LANE, at(1) + lane * LANE + LANE - 2, visit.end === null ? "visit here" : "visit");
    bar.append(element("title", {}, `from ${clock(visit.begin)}${visit.end === null ? ", still here" : ` to ${clock(visit.end)}`}`));
    board.svg.append(bar);
  }
  if (!placed.length) board.svg.append(element("text", { x: LEFT, y: at(0.5) + 4, class: "tick" }, "nobody so far"));
}

/** Shade the time in which no picture was seen, over all plots. */
function unwatched(board, points) {
  for (const p of points) if (!p.watched) board.under.prepend(board.rect(p.begin, p.end, TITLE, board.y, "off"));
}
