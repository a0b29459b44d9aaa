// The chosen period: what this run's windows tell, and before them what the device's history does.
import { deaf, figures, ofSeries, unheard, unseen } from "./past.js";

const LEAST_MS = 10e3, AGAIN_MS = 60e3, EVENTS_KEPT = 500;

/** The finest roll-up that the device keeps for so long. */
export const stepFor = (seconds) => (seconds <= 3 * 3600 ? 60 : seconds <= 48 * 3600 ? 600 : 3600);

const audible = (kind) => ["burst", "sound", "utterance"].includes(kind);

export class Period {
  /** `ask` fetches a document of the API; `changed` is called when older windows have come. */
  constructor(ask, changed) {
    Object.assign(this, { ask, changed, seconds: 300, range: null, zoomed: null, uptime: 0, older: [], asked: -Infinity, clock: null });
  }

  /** The latest so many seconds, or since the start, or between two moments. */
  choose(value, range = null) {
    this.seconds = value === "start" ? null : Number(value);
    this.range = range;
    this.zoom(null);
  }

  /** A part of the period, or null for the whole of it. */
  zoom(range) {
    this.zoomed = range;
    this.older = [];
    this.asked = -Infinity;
  }

  bounds(windows) {
    const last = windows.points.at(-1).end, start = Math.min(last - 1000 * this.uptime, windows.points[0].begin);
    const [from, to] = this.zoomed ?? this.range ?? [this.seconds === null ? start : last - 1000 * this.seconds, last];
    return { start, from: Math.min(from, to - LEAST_MS), to };
  }

  async fetchOlder(first, from, to) {
    const until = Math.min(first, to);
    if (until - from < 1000 || Date.now() - this.asked < AGAIN_MS) return;
    this.asked = Date.now();
    const { asked } = this, step = stepFor((until - from) / 1000);
    const query = new URLSearchParams({ since: Math.max(0, from / 1000), until: until / 1000, step });
    const told = await this.ask(`analytics?${query}`);
    if (asked !== this.asked) return;
    this.clock = told.unknown;
    this.older = told.series.map(ofSeries).filter((p) => p.end <= first + 500);
    this.changed();
  }

  /** What to draw, or null when nothing is known yet. */
  data(windows, visits, events, hidden) {
    if (!windows.points.length) return null;
    const { start, from, to } = this.bounds(windows), first = windows.points[0].begin;
    this.fetchOlder(first, from, to).catch(() => { /* there is no history, or no connection: what is here is shown */ });
    const points = [...this.older, ...windows.points].filter((p) => p.end > from && p.begin < to);
    const known = events.length < EVENTS_KEPT ? start : Date.parse(events[0].start);
    const seen = hidden ? null : visits.within(Math.max(from, known), to);
    const none = (end) => (end <= start + 1500 ? (this.clock === "clock" ? "no data: clock not known" : "no data: before the start") : "no data");
    // Without anything from before the start, what was seen since is all there is.
    const whole = known <= from + 5000 || (known <= start && !this.older.length);
    const told = { ...figures(points, whole ? seen : null, from, to), since: seen && !whole ? known : null };
    return {
      points, visits: seen, heard: this.heard(events, from, to), from, to, told,
      unseen: unseen(points, from, to, none), silent: unheard(points), deaf: deaf(points),
    };
  }

  heard(events, from, to) {
    return [
      ...this.older.flatMap((p) => p.bursts.map((b) => ({ begin: p.begin, end: p.begin, ...b }))),
      ...events.filter((e) => audible(e.kind)).map((e) => ({ begin: Date.parse(e.start), end: Date.parse(e.start) + 1000 * e.seconds, label: e.kind === "utterance" ? "speech" : e.label, count: 1 })),
    ].filter((mark) => mark.begin >= from && mark.begin <= to).sort((a, b) => a.begin - b.begin);
  }
}
