// The plots of the timeline: what each draws of the chosen period, what its table holds, and where a threshold may lie.
import { HEAD, LEFT, element } from "./chart.js";
import { clock, signed, words } from "./format.js";
import { EMOTIONS, OTHERS, lanes } from "./past.js";

const LANES = 6, LANE = 11, ROW = 22;
const SOUNDS = ["laughter", "crying", "cough", "sneeze", "sigh", "scream", "gasp", "groan"];

/** The class of a sound's colour: its own for the usual ones, one of the same for any other. */
export function colour(label) {
  const known = SOUNDS.indexOf(label);
  return `s-${known >= 0 ? known : [...label].reduce((sum, c) => sum + c.codePointAt(0), 0) % 8}`;
}

const watched = (value) => (p) => (p.watched ? value(p) : null);
const emotion = (value) => (p) => (p.emotion ? value(p.emotion) : null);
const round = (value) => (value === null ? "" : Number(value.toFixed(4)));
const table = (names, ...values) => (data) => [["start", "seconds", "coverage", ...names], ...data.points.map((p) => [
  new Date(p.begin).toISOString(), (p.end - p.begin) / 1000, round(p.coverage), ...values.map((value) => round(value(p))),
])];

/** The largest of what `value` gives, rounded up to one of `scales`. */
const scale = (points, value, scales) => {
  const most = Math.max(0, ...points.map(value));
  return scales.find((s) => s >= most) ?? Math.ceil(most);
};

const others = (e) => OTHERS.reduce((sum, name) => sum + e.p[name], 0);

const expressions = {
  name: "expressions", title: "Expressions", legend: (data) => (data.neutral ? EMOTIONS : OTHERS).map((name) => [`e-${name}`, name]),
  height: () => 150,
  threshold: { unit: "% other than neutral", value: (p) => (p.emotion ? 100 * others(p.emotion) : null), min: 0, max: 100 },
  top: (data) => (data.neutral ? 1 : scale(data.points, (p) => (p.emotion ? others(p.emotion) : 0), [0.25, 0.5, 1])),
  draw(board, data) {
    const top = this.top(data), parts = data.neutral ? EMOTIONS : OTHERS;
    board.ticks([[0, "0 %"], [0.5, `${50 * top} %`], [1, `${100 * top} %`]]);
    board.stack(data.points, parts, (p, name) => (p.emotion ? p.emotion.p[name] / top : 0));
    for (const p of data.points) if (p.withheld) board.svg.append(board.rect(p.begin, p.end, board.at(0.06), board.at(0), "withheld"));
  },
  place(value, data) { return data.neutral ? -1 : value / 100 / this.top(data); },
  table: table(EMOTIONS, ...EMOTIONS.map((name) => emotion((e) => e.p[name]))),
};

const sounds = {
  name: "sounds", title: "Heard", legend: () => [],
  rows(data) {
    const count = {};
    for (const mark of data.heard) count[mark.label] = (count[mark.label] ?? 0) + (mark.count ?? 1);
    return Object.entries(count).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  },
  height(data) { return Math.max(1, this.rows(data).length) * ROW; },
  draw(board, data) {
    const rows = this.rows(data);
    if (!rows.length) {
      board.svg.append(element("text", { x: LEFT + 4, y: HEAD + ROW / 2 + 4, class: "tick" }, data.deaf ? `unknown: ${data.deaf}` : "nothing was heard"));
    }
    rows.forEach(([label, count], k) => {
      const top = HEAD + k * ROW + 4, line = top + (ROW - 8) / 2;
      board.under.append(element("line", { x1: LEFT, x2: board.width - 12, y1: line, y2: line, class: "grid" }));
      for (const mark of data.heard.filter((m) => m.label === label)) {
        const box = board.rect(mark.begin, Math.max(mark.end, mark.begin), top, top + ROW - 8, `sound ${colour(label)}`);
        box.setAttribute("rx", 3);
        if (Number(box.getAttribute("width")) < 4) box.setAttribute("width", 4);
        box.append(element("title", {}, `${clock(mark.begin)} ${mark.count > 1 ? `${mark.count}\u00a0×\u00a0` : ""}${words(label)}`));
        board.svg.append(box);
      }
      board.svg.append(element("text", { x: LEFT + 4, y: line + 4, class: `name ${colour(label)}` }, `${words(label)} ${count}`));
    });
  },
  table: (data) => [["start", "seconds", "sound", "count"], ...data.heard.map((m) => [new Date(m.begin).toISOString(), (m.end - m.begin) / 1000, m.label, m.count ?? 1])],
};

const people = {
  name: "people", title: "People", legend: () => [], height: () => 64,
  threshold: { unit: "people", value: watched((p) => p.faces.max), min: 0, max: 1000 },
  top: (data) => Math.max(scale(data.points, (p) => p.faces.max ?? 0, [1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 50]), data.limits.people ?? 0),
  draw(board, data) {
    const top = this.top(data);
    board.ticks(top === 1 ? [[0, "0"], [1, "1"]] : [[0, "0"], ...(top % 2 ? [] : [[0.5, `${top / 2}`]]), [1, `${top}`]]);
    board.steps(data.points, watched((p) => p.faces.max / top), 0, "m-people");
  },
  place(value, data) { return value / this.top(data); },
  table: table(["people", "most", "tracks"], watched((p) => p.faces.mean), watched((p) => p.faces.max), watched((p) => p.faces.tracks)),
};

const attention = {
  name: "attention", title: "Attention: turned to the camera", legend: () => [], height: () => 56,
  threshold: { unit: "%", value: (p) => (p.attention ? 100 * p.attention.ratio : null), min: 0, max: 100 },
  draw(board, data) {
    board.ticks([[0, "0 %"], [1, "100 %"]]);
    board.steps(data.points, (p) => (p.attention ? p.attention.ratio : null), 0, "m-attention");
  },
  place: (value) => value / 100,
  table: table(["attention", "looking_seconds"], (p) => p.attention?.ratio ?? null, (p) => p.attention?.seconds ?? null),
};

const signedPlot = (name, title, value, kind) => ({
  name, title, legend: () => [], height: () => 64,
  threshold: { unit: "−1 to 1", value, min: -1, max: 1 },
  top: (data) => scale(data.points, (p) => Math.abs(value(p) ?? 0), [0.2, 0.4, 0.6, 0.8, 1]),
  draw(board, data) {
    const top = this.top(data);
    board.ticks([[0, signed(-top, 1)], [0.5, "0"], [1, signed(top, 1)]]);
    board.steps(data.points, (p) => (value(p) === null ? null : (value(p) / top + 1) / 2), 0.5, kind);
  },
  place(at, data) { return (at / this.top(data) + 1) / 2; },
  table: table([name], value),
});

const valence = signedPlot("valence", "Valence: displeased to pleased", emotion((e) => e.valence), "m-valence");
const voice = { ...signedPlot("voice", "Voices: calm to excited", (p) => p.voice?.arousal ?? null, "s-3"), needs: (data) => data.points.some((p) => p.voice?.arousal !== undefined) };

const visits = {
  name: "visits", title: "Visits", legend: () => [], needs: (data) => data.visits !== null,
  height: (data) => Math.max(1, lanes(data.visits, LANES, data.to).count) * LANE,
  draw(board, data) {
    const { placed, left } = lanes(data.visits, LANES, data.to);
    for (const [visit, lane] of placed) {
      const top = HEAD + lane * LANE, bar = board.rect(visit.begin, visit.end ?? data.to, top, top + LANE - 3, visit.end === null ? "visit here" : "visit");
      bar.setAttribute("rx", 3);
      bar.append(element("title", {}, `from ${clock(visit.begin)}${visit.end === null ? ", still here" : ` to ${clock(visit.end)}`}`));
      board.svg.append(bar);
    }
    const told = left ? `and ${left} more at the same time` : placed.length ? "" : "nobody so far";
    if (told) board.svg.append(element("text", { x: LEFT + 4, y: HEAD + LANE - 1, class: "tick" }, told));
  },
  table: (data) => [["begin", "end"], ...data.visits.map((v) => [new Date(v.begin).toISOString(), v.end === null ? "" : new Date(v.end).toISOString()])],
};

export const PLOTS = [expressions, sounds, people, attention, valence, voice, visits];
