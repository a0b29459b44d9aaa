// What is said beside the plots: events, the chosen period in figures, rate and device.
import { swatch } from "./chart.js";
import { clock, duration, percent, plural, signed, words } from "./format.js";
import { EMOTIONS, momentOf } from "./past.js";
import { make, rows, say } from "./page.js";
import { colour } from "./plots.js";

const FEED = 200;
const NAMES = { recognised: "known", arrival: "came", departure: "left", fusion: "both", utterance: "said", burst: "heard" };
const GROUPS = { recognised: "known people", arrival: "arrivals", departure: "departures", fusion: "seen and heard", utterance: "words", burst: "sounds" };
const $ = (id) => document.getElementById(id);

// ---------------------------------------------------------------- events

function what(event) {
  switch (event.kind) {
    case "arrival": return ["somebody came", ""];
    case "departure": return [`somebody left after ${duration(event.seconds)}`, ""];
    case "fusion": return [event.label.split("+").map(words).join(" with "), percent(event.score)];
    case "recognised": return [event.name || "somebody known", percent(event.score)];
    case "utterance": return [event.text || words(event.label), ""];
    default: return [words(event.label), percent(event.score)];
  }
}

function item(event) {
  const moment = momentOf(event), time = make("time", "", clock(moment)), [text, score] = what(event);
  time.dateTime = new Date(moment).toISOString();
  const kind = make("span", `kind k-${NAMES[event.kind] ?? "other"}`, NAMES[event.kind] ?? event.kind);
  const label = make("span", "", ...(event.kind === "burst" ? [swatch(colour(event.label))] : []), text);
  const made = make("li", "", time, kind, label, make("span", "score", score));
  Object.assign(made.dataset, { kind: event.kind, label: event.label });
  return made;
}

/** The events as they happened, the latest first: a departure when somebody left, not when the visit began. */
export function showEvents(events) {
  const filter = $("filter"), kinds = [...new Set(events.map((e) => e.kind))].sort();
  const options = kinds.map((kind) => [kind, GROUPS[kind] ?? kind]);
  if (options.map(([kind]) => kind).join() !== [...filter.options].slice(1).map((o) => o.value).join()) {
    const chosen = filter.value;
    filter.replaceChildren(...[["", "all"], ...options].map(([value, text]) => Object.assign(make("option", "", text), { value })));
    filter.value = kinds.includes(chosen) ? chosen : "";
  }
  const shown = events.filter((e) => !filter.value || e.kind === filter.value).sort((a, b) => momentOf(b) - momentOf(a) || b.seq - a.seq);
  $("events").replaceChildren(...shown.slice(0, FEED).map(item));
  $("no-events").hidden = shown.length > 0;
}

// ---------------------------------------------------------------- the period

export function showFigures(f) {
  const known = (value, text) => (value === null ? "–" : text(value)), heard = Object.entries(f.heard).sort((a, b) => b[1] - a[1]);
  rows("figures", [
    ["people", known(f.people, (v) => `${v.toFixed(1)} on average, ${f.most} at most`)],
    ["visits", f.since ? `not known before ${clock(f.since)}` : known(f.visits, String)],
    ["stay", known(f.stay, (v) => `${duration(v)} on average, ${duration(f.longest)} at most`)],
    ["attention", known(f.attention.mean, percent)],
    ["looking, each visit", known(f.each, duration)],
    ["heard", heard.length ? heard.map(([label, n]) => `${n}\u00a0×\u00a0${words(label)}`).join(", ") : "nothing"],
    ["watched", `${percent(f.watched)} of the period`],
  ]);
  const trends = [...f.emotions.map(([name, t]) => [name, t, 100]), ["valence", f.valence, 1], ["attention", f.attention, 100]];
  $("trends").replaceChildren(...trends.map(([name, t, scale]) => {
    const digits = scale === 1 ? 2 : 0, head = make("th", "", ...(EMOTIONS.includes(name) ? [swatch(`e-${name}`)] : []), name);
    head.scope = "row";
    const moved = t.change === null ? "–" : Math.abs(t.change * scale) < 0.5 / 10 ** digits ? "same" : signed(t.change * scale, digits);
    const mean = known(t.mean, (v) => (scale === 1 ? signed(v) : percent(v)));
    return make("tr", "", head, make("td", "", mean), make("td", "", moved));
  }));
}

// ---------------------------------------------------------------- rate and device

/** Why the agent looked as it did, as long as it is `watching`. */
export function showPacing(p, watching) {
  if (!watching) rows("rate", [["looks", "none: the camera is not watching"]]);
  if (!p || !watching) return;
  rows("rate", [
    ["looks", `${(1 / p.next_look_s).toFixed(1)} a second, pace “${p.pace}”`],
    ["slowed down", p.limit === "no limit" ? "no" : p.limit],
    [p.searched ? "searched for faces" : "did not search", p.search],
    ["expressions read", `${p.read} of ${plural(p.faces, "face")}`],
    ["because", p.readings.join("; ") || "nobody is followed"],
  ]);
}

function broker(d) {
  if (!d.enabled) return "off: nothing is published";
  return d.connected ? `connected, MQTT ${d.protocol}` : `not connected${d.trouble ? `: ${d.trouble}` : ""}`;
}

export function showDevice(h, last) {
  const q = last && last.quality, box = h.delivery.outbox, use = h.process;
  rows("device", [
    ["picture", q ? `${q.video_fps.toFixed(1)}\u00a0fps, ${q.analysed_fps.toFixed(1)} looked at, ${percent(q.coverage.video)} of the time` : "–"],
    ["sound", q ? `${percent(q.coverage.audio)} of the time` : "–"],
    ["frames lost", q ? `${q.dropped}` : "–"],
    ["notes on quality", q && q.flags.length ? q.flags.map(words).join(", ") : "none"],
    ["broker", broker(h.delivery)],
    ["waiting for it", box ? plural(box.pending, "message") : "–"],
    ["temperature", use.temperature_c === null ? "not measured here" : `${use.temperature_c.toFixed(0)}\u00a0°C`],
    ["memory", use.rss_mb === null ? "–" : `${use.rss_mb.toFixed(0)}\u00a0MB`],
    ["running for", duration(h.uptime_s)],
    ...(h.notices ? [["to be known", h.notices.join("; ")]] : []),
  ]);
}

// ---------------------------------------------------------------- other devices

/** Every device that the broker knows; `unknown`: why that cannot be told. */
export function showDevices({ devices, unknown }, own) {
  $("devices").hidden = devices.every((d) => d.device === own) && !unknown;
  $("devices-list").replaceChildren(...devices.map((d) => {
    const people = d.people === null ? "" : plural(d.people, "person", "people");
    const trouble = d.problems ? plural(d.problems, "problem") : "";
    const state = make("span", `pill ${d.online ? (d.problems ? "bad" : "good") : ""}`, d.online ? "online" : "offline");
    const made = make("li", "", make("strong", "", d.name), state, make("span", "hint", [d.device === own ? "this one" : d.device, people, trouble].filter(Boolean).join(" · ")));
    made.dataset.device = d.device;
    return made;
  }));
  say("devices-hint", unknown ? `Others are not known: ${unknown}` : "");
}
