// What is known of the past: windows, visits and what was heard. Plain data; times are milliseconds of Unix time.
import { because, mostly } from "./format.js";

export const EMOTIONS = ["happiness", "surprise", "neutral", "sadness", "fear", "anger", "disgust", "contempt"];
/** All but neutral, which would drown them. */
export const OTHERS = EMOTIONS.filter((name) => name !== "neutral");

const KEPT = 720;
const SAME_MS = 50;
const APART_MS = 1500;

function point(start, seconds, told, coverage, unsynced = false) {
  const begin = Date.parse(start);
  const { faces, emotion = null, attention = null, stays = null, bursts = [], withheld = 0, unknown = {}, language = null, voice = null } = told;
  const watched = faces.max !== null;
  return { begin, end: begin + 1000 * seconds, faces, emotion, attention, stays, bursts, language, voice, withheld: withheld > 0, unknown, watched, coverage, unsynced };
}

export const ofSummary = (w) => point(w.start, w.seconds, w, w.quality.coverage.video, w.clock === "unsynced");
export const ofSeries = (s) => point(s.start, s.seconds, s.viewers, s.seconds > 0 ? Math.min(1, Math.max(0, 1 - s.streaming.gaps.video / s.seconds)) : 0);

/** When an event happened, milliseconds: a departure is told with the begin of the visit and its length. */
export const momentOf = (e) => Date.parse(e.start) + (e.kind === "departure" ? 1000 * e.seconds : 0);

// ---------------------------------------------------------------- time without data, and why

const CHOSEN = ["privacy", "schedule", "paused", "off"];
const kindOf = (reasons) => (CHOSEN.includes(Object.entries(reasons ?? {}).sort((a, b) => b[1] - a[1])[0]?.[0]) ? "privacy" : "device");

function joined(spans) {
  const found = [];
  for (const span of spans) {
    const last = found.at(-1);
    if (last && last.why === span.why && span.begin - last.end < APART_MS) last.end = span.end;
    else found.push({ ...span });
  }
  return found;
}

/** Stretches of `from` to `to` in which nobody could be seen, or that no window covers: `{begin, end, kind, why}`. */
export function unseen(points, from, to, none) {
  const spans = [];
  let known = from;
  for (const p of points) {
    if (p.begin - known >= APART_MS) spans.push({ begin: known, end: p.begin, kind: "none", why: none(p.begin) });
    if (!p.watched) spans.push({ begin: p.begin, end: p.end, kind: kindOf(p.unknown.people), why: mostly(p.unknown.people) });
    else if (p.unsynced) spans.push({ begin: p.begin, end: p.end, kind: "clock", why: "clock not known" });
    known = Math.max(known, p.end);
  }
  if (to - known >= APART_MS) spans.push({ begin: known, end: to, kind: "none", why: none(to) });
  return joined(spans);
}

/** The same for sound, without the gaps between windows. */
export function unheard(points) {
  return joined(points.flatMap((p) => {
    const reasons = p.unknown.sounds ?? {}, seconds = Object.values(reasons).reduce((a, b) => a + b, 0);
    return 2000 * seconds > p.end - p.begin && !("none" in reasons) ? [{ begin: p.begin, end: p.end, kind: kindOf(reasons), why: mostly(reasons) }] : [];
  }));
}

/** Why nothing can be heard in all of these windows; empty while something could. */
export function deaf(points) {
  const reasons = points.map((p) => Object.keys(p.unknown.sounds ?? {}));
  return points.length && reasons.every((found) => found.includes("none")) ? because("none") : "";
}

/** The windows that this run of the agent told. */
export class Windows {
  constructor() { this.all = []; this.points = []; }

  get last() { return this.all.at(-1); }

  /** Whether it was a new one. */
  add(w) {
    const last = this.last;
    if (last && w.boot_id === last.boot_id && w.seq <= last.seq) return false;
    if (last && w.boot_id !== last.boot_id) this.all.length = this.points.length = 0;
    this.all.push(w);
    this.points.push(ofSummary(w));
    if (this.all.length > KEPT) { this.all.shift(); this.points.shift(); }
    return true;
  }
}

/**
 * Visits, put together from arrivals and departures: both tell when the visit began. One whose end was not told (it is
 * withheld, or the stream broke off) is over when a window saw nobody.
 */
export class Visits {
  constructor() { this.all = []; }

  add(event) {
    const begin = Date.parse(event.start);
    if (event.kind === "arrival") this.all.push({ begin, end: null });
    if (event.kind === "departure") {
      const same = this.all.find((v) => (v.end === null || v.assumed) && Math.abs(v.begin - begin) <= SAME_MS);
      const end = begin + 1000 * event.seconds;
      if (same) Object.assign(same, { end, assumed: false }); else this.all.push({ begin, end });
    }
    if (this.all.length > 2 * KEPT) this.all.shift();
  }

  /** Close what a window without people shows to be over; a departure that is told later says when it really was. */
  check(p) {
    if (p.faces.tracks > 0) return;
    for (const visit of this.all) if (visit.end === null && visit.begin < p.begin) Object.assign(visit, { end: p.begin, assumed: true });
  }

  get here() { return this.all.filter((visit) => visit.end === null); }
  within(from, to) { return this.all.filter((visit) => visit.begin < to && (visit.end ?? to) > from); }
}

/** Lanes so that no two visits overlap: `[visit, lane]`, at most `most` lanes; the rest are left out. */
export function lanes(visits, most, to) {
  const free = [], placed = [];
  for (const visit of [...visits].sort((a, b) => a.begin - b.begin)) {
    let lane = free.findIndex((end) => end + APART_MS <= visit.begin);
    if (lane < 0) lane = free.length;
    if (lane >= most) continue;
    free[lane] = visit.end ?? to;
    placed.push([visit, lane]);
  }
  return { placed, count: free.length, left: visits.length - placed.length };
}

const sum = (values) => values.reduce((a, b) => a + b, 0);

function mean(points, value, weight) {
  const known = points.filter((p) => value(p) !== null && weight(p) > 0), total = sum(known.map(weight));
  return total > 0 ? sum(known.map((p) => value(p) * weight(p))) / total : null;
}

const seconds = (p) => (p.end - p.begin) / 1000;
const personSeconds = (p) => p.faces.person_seconds;
const looking = (p) => (p.attention ? p.attention.ratio : null);

function change(points, middle, value, weight) {
  const before = mean(points.filter((p) => p.begin < middle), value, weight);
  const after = mean(points.filter((p) => p.begin >= middle), value, weight);
  return before === null || after === null ? null : after - before;
}

/** A period as figures; `visits` null: not known. Means of what people showed count everybody for as long as they stayed. */
export function figures(points, visits, from, to) {
  const middle = (from + to) / 2, watched = points.filter((p) => p.watched);
  const stays = points.map((p) => p.stays).filter(Boolean), count = sum(stays.map((s) => s.count));
  const ratio = mean(points, looking, personSeconds);
  const length = Math.max(1, to - from), seenFor = sum(watched.map((p) => p.coverage * (p.end - p.begin)));
  const heard = {};
  for (const { label, count: n } of points.flatMap((p) => p.bursts)) heard[label] = (heard[label] || 0) + n;
  const trend = (value, weight) => ({ mean: mean(points, value, weight), change: change(points, middle, value, weight) });
  return {
    people: mean(watched, (p) => p.faces.mean, seconds),
    most: Math.max(0, ...points.map((p) => p.faces.max)),
    visits: visits ? visits.length : null,
    stay: count ? sum(stays.map((s) => s.mean * s.count)) / count : null,
    longest: count ? Math.max(...stays.map((s) => s.longest)) : null,
    attention: trend(looking, personSeconds),
    each: ratio !== null && visits && visits.length ? (ratio * sum(points.map(personSeconds))) / visits.length : null,
    valence: trend((p) => (p.emotion ? p.emotion.valence : null), personSeconds),
    emotions: EMOTIONS.map((name) => [name, trend((p) => (p.emotion ? p.emotion.p[name] : null), personSeconds)]),
    heard,
    watched: Math.min(1, seenFor / length),
  };
}
