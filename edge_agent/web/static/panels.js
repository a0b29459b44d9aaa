// What is said beside the plots. Texts go in as text, never as markup.
import { bar, swatch } from "./chart.js";
import { because, clock, duration, mostly, percent, plural, signed, words } from "./format.js";
import { EMOTIONS } from "./past.js";

const FEED = 100;
const $ = (id) => document.getElementById(id);

export function say(id, text) { if ($(id).textContent !== text) $(id).textContent = text; }

export function make(name, kind, ...children) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.append(...children);
  return made;
}

export function pill(id, text, kind) { say(id, text); $(id).className = `pill ${kind}`; }

/** Terms and what they are; only what changed is touched, so that it can be selected and read out in peace. */
export function rows(id, pairs) {
  const list = $(id);
  if (list.children.length !== 2 * pairs.length) list.replaceChildren(...pairs.flatMap(() => [make("dt"), make("dd")]));
  pairs.flat().forEach((text, k) => { if (list.children[k].textContent !== text) list.children[k].textContent = text; });
}

// ---------------------------------------------------------------- the last window

const unseen = (w) => `unknown: ${mostly(w.unknown?.people)}`;

function unanswered(w) {
  if (w.withheld) return "withheld: too few people";
  if (w.faces.max === null) return unseen(w);
  return w.faces.max ? "too little to go by" : "nobody in view";
}

export function showWindow(w) {
  const e = w.emotion, a = w.attention, t = w.trend || {};
  say("dominant", e ? e.dominant : "–");
  say("dominant-sub", e ? `${percent(e.confidence)} sure, ${plural(e.readings, "reading")}` : unanswered(w));
  say("valence", e ? signed(e.valence) : "–");
  say("valence-sub", t.valence !== undefined ? `${signed(t.valence)} against the minute before` : "");
  say("attention", a ? percent(a.ratio) : "–");
  say("attention-sub", a && a.per_person !== undefined ? `${duration(a.per_person)} for each person` : "");
  say("window", `${clock(w.start)}, ${duration(w.seconds)}`);
  showBeside(w);
  showBars(w);
}

/** How many are in view now, or why that is unknown; besides, what the last window `w` says of them. */
export function showPresence(p, w) {
  if (p) say("people", p.count === null ? "–" : `${p.count}`);
  const window = w && w.faces.max !== null ? `${w.faces.mean.toFixed(1)} on average, ${w.faces.max} at once at most, ${w.faces.tracks} in all` : "";
  say("people-sub", p && p.unknown ? `unknown: ${because(p.unknown)}` : window);
}

/** What was said and how, beside what was seen: never averaged. Shown once somebody spoke, and stays. */
function showBeside(w) {
  const { language: l, voice: v, emotion: e } = w;
  if (l || v) $("beside").hidden = false;
  if ($("beside").hidden) return;
  const few = l && l.p ? Object.entries(l.p).sort((a, b) => b[1] - a[1]).map(([name, p]) => `${name} ${percent(p)}`).join(", ") : "";
  const nobody = w.withheld ? "withheld: too few people" : "nobody spoke";
  rows("beside-rows", [
    ["faces", e ? `${e.dominant} ${percent(e.p[e.dominant])}` : unanswered(w)],
    ["sounds", w.bursts.map((b) => `${b.count}\u00a0×\u00a0${words(b.label)}`).join(", ") || "none"],
    ["words", l ? `${few || "cannot be judged"} (${plural(l.utterances, "utterance")}, ${plural(l.words, "word")})` : nobody],
    ["voices", v ? `${v.arousal === undefined ? "arousal not known yet" : `arousal ${signed(v.arousal)}`}, ${duration(v.seconds)} of speech` : nobody],
  ]);
}

function showBars(w) {
  const e = w.emotion, lift = w.lift ? Object.entries(w.lift) : [];
  $("bars").replaceChildren(...EMOTIONS.map((name) => {
    const share = e ? e.p[name] : 0, track = make("span", "bar", bar(share, name));
    const row = make("li", "", make("span", "name", name), track, make("span", "num", e ? percent(share) : "–"));
    row.dataset.emotion = name;
    return row;
  }));
  const unusual = lift.map(([name, v]) => `${name} ${signed(100 * v, 0)}`).join(", ");
  say("bars-hint", e ? (unusual && `Against what is usual here, in points: ${unusual}`) : unanswered(w));
}

// ---------------------------------------------------------------- events

function what(event) {
  switch (event.kind) {
    case "arrival": return ["came", "somebody came", ""];
    case "departure": return ["left", `somebody left after ${duration(event.seconds)}`, ""];
    case "fusion": return ["both", event.label.split("+").map(words).join(" with "), percent(event.score)];
    case "utterance": return ["said", event.text || words(event.label), ""];
    case "burst": return ["heard", words(event.label), percent(event.score)];
    default: return [event.kind, words(event.label), percent(event.score)];
  }
}

export function addEvent(event) {
  const [kind, text, score] = what(event), time = make("time", "", clock(event.start));
  time.dateTime = event.start;
  const item = make("li", "", time, make("span", `kind k-${kind}`, kind), make("span", "", text), make("span", "score", score));
  Object.assign(item.dataset, { kind: event.kind, label: event.label });
  $("events").prepend(item);
  while ($("events").children.length > FEED) $("events").lastChild.remove();
  $("no-events").hidden = true;
}

export function clearEvents() {
  $("events").replaceChildren();
  $("no-events").hidden = false;
}

// ---------------------------------------------------------------- the period

export function showFigures(f) {
  const known = (value, text) => (value === null ? "–" : text(value)), heard = Object.entries(f.heard).sort((a, b) => b[1] - a[1]);
  rows("figures", [
    ["people", known(f.people, (v) => `${v.toFixed(2)} on average, ${f.most} at most`)],
    ["visits", known(f.visits, String)],
    ["stay", known(f.stay, (v) => `${duration(v)} on average, ${duration(f.longest)} at most`)],
    ["attention", known(f.attention.mean, percent)],
    ["looking, each visit", known(f.each, duration)],
    ["heard", heard.length ? heard.map(([label, n]) => `${n}\u00a0×\u00a0${words(label)}`).join(", ") : "nothing"],
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

/** "All well" only while the camera and the microphone that there are can be used. */
function showStatus(h, unknown) {
  const reasons = Object.values(unknown || {}).filter((why) => why && why !== "none");
  if (h.problems.length) pill("health", plural(h.problems.length, "problem"), "bad");
  else if (reasons.length) pill("health", because(reasons[0]), "");
  else pill("health", "all well", "good");
}

export function showHealth(h, last, unknown) {
  const q = last && last.quality, box = h.delivery.outbox, use = h.process;
  showStatus(h, unknown);
  const lines = h.problems.map((line) => make("li", "", line));
  if ($("problems").textContent !== h.problems.join("")) $("problems").replaceChildren(...lines);
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
  ]);
}
