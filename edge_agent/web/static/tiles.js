// What is the case now, in large: whole people, the expression that leads, who looks here, what was heard last.
import { bar } from "./chart.js";
import { because, clock, duration, few, leading, mostly, percent, plural, signed, words } from "./format.js";
import { EMOTIONS } from "./past.js";
import { make, notice, pill, rows, say } from "./page.js";

const TILES = ["people", "expressions", "valence", "attention", "heard"];
const HEARD_S = 60;
const $ = (id) => document.getElementById(id);

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/** What everybody in view shows together: from each one's latest readings, or of a window `w` where nobody is told apart. */
export function current(people, hidden, w) {
  if (hidden) return w?.emotion ? { ...w.emotion, looking: null, known: 0, recent: false } : null;
  const here = people.filter((p) => p.here && p.now), shown = here.filter((p) => p.now.emotion), turned = here.filter((p) => p.now.attention);
  const looks = { looking: turned.filter((p) => p.now.attention.ratio >= 0.5).length, known: turned.length };
  if (!shown.length) return here.length ? { p: null, valence: null, ...looks, recent: true } : null;
  const p = Object.fromEntries(EMOTIONS.map((name) => [name, mean(shown.map((one) => one.now.emotion.p[name]))]));
  const dominant = EMOTIONS.reduce((a, b) => (p[b] > p[a] ? b : a));
  return { p, dominant, valence: mean(shown.map((one) => one.now.emotion.valence)), ...looks, recent: true };
}

const pleasant = (v) => (v > 0.15 ? "pleased" : v < -0.15 ? "displeased" : "even");

/** The first sentence for whoever stands three metres away; `s`: presence, people, hidden, last (window), heard, limits, now. */
export function showTiles(s) {
  const { presence, last, hidden } = s, unknown = presence?.unknown ?? null, seen = unknown ? null : current(s.people, hidden, last);
  const count = presence && presence.count !== null ? presence.count : null, nobody = count === 0 ? "nobody in view" : "not read yet";
  const reason = unknown ? `unknown: ${because(unknown)}` : last?.withheld && hidden ? "withheld: too few people" : nobody;
  say("people", count === null ? "–" : `${count}`);
  const known = last?.identity ? `, ${last.identity.known} known` : "";
  say("people-sub", unknown ? reason : last && last.faces.max !== null ? `at most ${Math.max(last.faces.max, count ?? 0)}${known} in the last ${duration(last.seconds)}` : "");
  say("dominant", seen?.p ? seen.dominant : "–");
  say("dominant-sub", seen?.p ? `${leading(seen.p, 2)}${seen.recent ? "" : `, last ${duration(last.seconds)}`}` : reason);
  say("valence", seen?.p ? signed(seen.valence) : "–");
  say("valence-sub", seen?.p ? pleasant(seen.valence) : reason);
  const ratio = hidden ? last?.attention?.ratio : undefined;
  say("attention", seen?.known ? `${seen.looking} of ${seen.known}` : !unknown && ratio !== undefined ? percent(ratio) : "–");
  say("attention-sub", seen?.known ? "turned to the camera" : !unknown && ratio !== undefined ? `of the last ${duration(last.seconds)}` : reason);
  $("t-expressions").dataset.emotion = seen?.p ? seen.dominant : "";
  showHeard(s);
  showLimits(s, count, seen);
  showBars(seen, reason, last);
}

function showHeard({ heard, deaf, now }) {
  const ago = heard ? (now - heard.begin) / 1000 : Infinity;
  say("heard", deaf ? "–" : heard && ago < HEARD_S ? words(heard.label) : "quiet");
  say("heard-sub", deaf ? `unknown: ${because(deaf)}` : heard ? (ago < HEARD_S ? `${duration(Math.max(0, ago))} ago` : `${words(heard.label)} at ${clock(heard.begin)}`) : "nothing so far");
}

/** Mark tiles beyond the reader's thresholds. */
function showLimits({ limits }, count, seen) {
  const values = { people: count, expressions: seen?.p ? 100 * (1 - seen.p.neutral) : null, valence: seen?.valence ?? null, attention: seen?.known ? (100 * seen.looking) / seen.known : null };
  for (const name of TILES) {
    const beyond = limits[name] !== undefined && values[name] !== null && values[name] !== undefined && values[name] > limits[name];
    $(`t-${name}`).classList.toggle("beyond", beyond);
  }
}

function showBars(seen, reason, last) {
  const list = $("bars");
  if (!list.children.length) {
    list.append(...EMOTIONS.map((name) => {
      const row = make("li", "", make("span", "name", name), make("span", "bar"), make("span", "num"));
      row.dataset.emotion = name;
      return row;
    }));
  }
  for (const row of list.children) {
    const share = seen?.p ? seen.p[row.dataset.emotion] : 0, text = seen?.p ? percent(share) : "–";
    if (row.lastChild.textContent === text) continue;
    row.lastChild.textContent = text;
    row.children[1].replaceChildren(bar(share, row.dataset.emotion));
  }
  const unusual = last?.lift ? Object.entries(last.lift).map(([name, v]) => `${name} ${signed(100 * v, 0)}`).join(", ") : "";
  say("bars-when", seen?.p && !seen.recent ? `last ${duration(last.seconds)}` : "");
  say("bars-hint", seen?.p ? unusual && `Against what is usual here, in points: ${unusual}` : reason);
}

// ---------------------------------------------------------------- the state

/** "All well" only while everything that there is is known to work, and nothing is switched off. */
export function chip(connected, state, health) {
  if (!connected) return ["unknown: no connection", "bad"];
  if (!state || !health) return ["starting", ""];
  if (state.paused_until) return [`paused until ${clock(state.paused_until)}`, "warn"];
  if (state.privacy !== "off") return [state.privacy === "on" ? "privacy is on" : "privacy: being released", "warn"];
  if (health.problems.length) return [plural(health.problems.length, "problem"), "bad"];
  const [why] = Object.values(state.unknown ?? {}).filter((reason) => reason && reason !== "none");
  if (why) return [because(why), "warn"];
  return health.status === "ok" ? ["all well", "good"] : [health.status, ""];
}

export function showState(connected, state, health) {
  pill("health", ...chip(connected, state, health));
  const problems = connected && health ? health.problems : [];
  $("problems").hidden = !problems.length;
  if ($("problems").textContent !== problems.join("")) $("problems").replaceChildren(...problems.map((line) => make("li", "", line)));
  notice("notice", told(state));
}

function told(s) {
  if (s?.paused_until) return `Paused until ${clock(s.paused_until)}: nothing is watched or heard.`;
  if (!s || s.privacy === "off") return "";
  if (s.privacy === "pending") return "Privacy is asked for: the devices are being released.";
  return `Privacy is on${s.scheduled ? " by schedule" : ""}: camera and microphone are released, nothing is watched or heard.`;
}

// ---------------------------------------------------------------- words, voices, and what plugins measure

function unanswered(w) {
  if (w.withheld) return "withheld: too few people";
  if (w.faces.max === null) return `unknown: ${mostly(w.unknown?.people)}`;
  return w.faces.max ? "too little to go by" : "nobody in view";
}

/** What was said and how, beside what was seen: never averaged. Shown once somebody spoke, and stays. */
export function showBeside(w) {
  const { language: l, voice: v, emotion: e } = w;
  if (l || v) $("beside").hidden = false;
  if ($("beside").hidden) return;
  const nobody = w.withheld ? "withheld: too few people" : "nobody spoke";
  rows("beside-rows", [
    ["faces", e ? `${e.dominant} ${percent(e.p[e.dominant])}` : unanswered(w)],
    ["sounds", w.bursts.map((b) => `${b.count}\u00a0×\u00a0${words(b.label)}`).join(", ") || "none"],
    ["words", l ? `${few(l) || "cannot be judged"} (${plural(l.utterances, "utterance")}, ${plural(l.words, "word")})` : nobody],
    ["voices", v ? `${v.arousal === undefined ? "arousal not known yet" : `arousal ${signed(v.arousal)}`}, ${duration(v.seconds)} of speech` : nobody],
  ]);
}

const figure = (value) => (Number.isInteger(value) ? `${value}` : value.toPrecision(3));

/** Gaze, custom models, known people, any other plugin: what they measured in the last window that had any. */
export function showMeasures(w) {
  const measures = Object.entries(w.measures ?? {});
  if (!measures.length) return;
  $("measured").hidden = false;
  rows("measured-rows", measures.map(([name, m]) => [
    words(name.replace(".", ": ")),
    `${figure(m.mean)}${m.min === m.max ? "" : ` (${figure(m.min)} to ${figure(m.max)})`}`,
  ]));
}
