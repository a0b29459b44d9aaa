// The chosen period: what this run's windows tell, and before them what the device's history does.
import { figures, ofSeries } from "./past.js";

const LEAST_MS = 60e3, AGAIN_MS = 60e3, EVENTS_KEPT = 500;

/** The finest roll-up that the device keeps for so long. */
export const stepFor = (seconds) => (seconds <= 3 * 3600 ? 60 : seconds <= 48 * 3600 ? 600 : 3600);

export class Period {
  /** `ask` fetches a document of the API; `changed` is called when older windows have come. */
  constructor(ask, changed) {
    Object.assign(this, { ask, changed, seconds: 300, uptime: 0, older: [], asked: -Infinity });
  }

  choose(value) {
    this.seconds = value === "start" ? null : Number(value);
    this.older = [];
    this.asked = -Infinity;
  }

  async fetchOlder(first, begin) {
    if (first - begin < 1000 || Date.now() - this.asked < AGAIN_MS) return;
    this.asked = Date.now();
    const chosen = this.seconds, step = stepFor((first - begin) / 1000);
    const query = new URLSearchParams({ since: begin / 1000, until: first / 1000, step });
    const found = (await this.ask(`analytics?${query}`)).series.map(ofSeries).filter((p) => p.end <= first + 500);
    if (chosen !== this.seconds) return;
    this.older = found;
    this.changed();
  }

  /** What to draw, or null when nothing is known yet. */
  data(windows, visits, events, hidden) {
    if (!windows.points.length) return null;
    const to = windows.points.at(-1).end, start = to - 1000 * this.uptime, first = windows.points[0].begin;
    const begin = this.seconds === null ? Math.min(start, first) : to - 1000 * this.seconds;
    this.fetchOlder(first, begin).catch(() => { /* there is no history, or no connection: what is here is shown */ });
    const points = [...this.older, ...windows.points].filter((p) => p.begin >= begin - 1000 && p.end <= to);
    if (!points.length) points.push(windows.points.at(-1));  // longer than the period
    const from = Math.min(Math.max(begin, points[0].begin), to - LEAST_MS);
    const known = events.length < EVENTS_KEPT ? start : Date.parse(events[0].start);
    const seen = hidden ? null : visits.within(Math.max(from, known), to);
    const heard = [
      ...this.older.filter((p) => p.begin >= from).flatMap((p) => p.bursts.map((b) => ({ begin: p.begin, end: p.begin, ...b }))),
      ...events.filter((e) => e.kind === "burst").map((e) => ({ begin: Date.parse(e.start), end: Date.parse(e.start) + 1000 * e.seconds, label: e.label })),
    ].filter((mark) => mark.begin >= from && mark.begin <= to);
    const told = figures(points, seen && known <= points[0].begin + 5000 ? seen : null, from, to);
    return { points, visits: seen, heard, from, to, told };
  }
}
