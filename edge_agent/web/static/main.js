// The dashboard: what the agent posts, as it comes. Texts go in as text, never as markup.
import { EMOTIONS, bar, presence, swatch, timeline } from "./chart.js";

const KEPT = 180;
const $ = (id) => document.getElementById(id);
const windows = [];
let allowed = false;
let limits = null;

const percent = (share) => `${Math.round(100 * share)} %`;
const clock = (iso) => new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const words = (label) => label.replaceAll("_", " ");

function say(id, text) { $(id).textContent = text; }

function rows(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([name, value]) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = name; dd.textContent = value;
    return [dt, dd];
  }));
}

function pill(id, text, kind) {
  say(id, text);
  $(id).className = `pill ${kind}`;
}

// ---------------------------------------------------------------- windows

function showWindow(w) {
  say("people", w.faces.mean.toFixed(1));
  say("people-sub", `most ${w.faces.max}, ${w.faces.tracks} in ${w.seconds} s`);
  const e = w.emotion;
  say("dominant", e ? e.dominant : "–");
  say("dominant-sub", e ? `${percent(e.confidence)} sure, ${e.readings} readings` : w.withheld ? "withheld: too few people" : "too little to go by");
  say("valence", e ? e.valence.toFixed(2) : "–");
  say("valence-sub", w.trend && w.trend.valence !== undefined ? `${w.trend.valence >= 0 ? "+" : ""}${w.trend.valence.toFixed(2)} against the minute before` : "");
  const a = w.attention;
  say("attention", a ? percent(a.ratio) : "–");
  say("attention-sub", a && a.per_person !== undefined ? `${a.per_person} s for each person` : "");
  $("bars").replaceChildren(...EMOTIONS.flatMap((name) => {
    const label = document.createElement("span"), track = document.createElement("div"), value = document.createElement("span");
    label.textContent = name; track.className = "bar"; value.className = "num";
    const share = e ? e.p[name] : 0;
    track.append(bar(share, name)); value.textContent = e ? percent(share) : "–";
    return [label, track, value];
  }));
  say("bars-hint", w.lift ? `Unusual here: ${Object.entries(w.lift).map(([n, v]) => `${n} ${v > 0 ? "+" : ""}${Math.round(100 * v)}`).join(", ")}` : "");
}

function draw() {
  const { svg, most } = presence(windows);
  $("timeline").replaceChildren(timeline(windows));
  $("presence").replaceChildren(svg);
  if (windows.length) say("span", `${clock(windows[0].start)} – ${clock(windows.at(-1).start)}`);
  const parts = EMOTIONS.map((name) => [swatch(name), name]);
  $("legend").replaceChildren(...parts.map(([mark, name]) => {
    const item = document.createElement("span");
    item.append(mark, name);
    return item;
  }));
  const note = document.createElement("span");
  note.textContent = `● something was heard; people: solid, up to ${most.toFixed(1)}; attention: dashed, up to 100 %`;
  $("legend").append(note);
}

function addWindow(w) {
  if (windows.length && w.boot_id === windows.at(-1).boot_id && w.seq <= windows.at(-1).seq) return;
  windows.push(w);
  while (windows.length > KEPT) windows.shift();
}

// ---------------------------------------------------------------- the rest

function addEvent(event) {
  const item = document.createElement("li"), time = document.createElement("time"), what = document.createElement("span"), score = document.createElement("span");
  time.dateTime = event.start; time.textContent = clock(event.start);
  what.textContent = event.kind === "burst" ? words(event.label) : `${event.kind}${event.label && event.label !== event.kind ? `: ${words(event.label)}` : ""}`;
  score.className = "score"; score.textContent = event.kind === "burst" ? percent(event.score) : "";
  item.append(time, what, score);
  $("events").prepend(item);
  while ($("events").children.length > 100) $("events").lastChild.remove();
  $("no-events").hidden = true;
}

function showPacing(p) {
  if (!p) return;
  rows($("rate"), [
    ["pace", p.pace], ["next look in", `${p.next_look_s} s`], ["limit", p.limit],
    ["search", `${p.searched ? "yes" : "no"}: ${p.search}`], ["faces read", `${p.read} of ${p.faces}`],
    ["readings", p.readings.join("; ") || "–"],
  ]);
}

function showHealth(h) {
  if (!h) return;
  pill("health", h.status === "ok" ? "all well" : `${h.problems.length} to look at`, h.status === "ok" ? "good" : "bad");
  $("problems").replaceChildren(...h.problems.map((line) => {
    const item = document.createElement("li");
    item.textContent = line;
    return item;
  }));
  const last = windows.at(-1), outbox = h.delivery.outbox, t = h.process.temperature_c;
  rows($("device"), [
    ["broker", h.delivery.connected ? `connected (MQTT ${h.delivery.protocol})` : h.delivery.enabled ? "not connected" : "off"],
    ["waiting for it", outbox ? `${outbox.pending} messages` : "–"],
    ["camera", last ? `${last.quality.video_fps} fps, ${last.quality.analysed_fps} looked at, ${percent(last.quality.coverage.video)} covered` : "–"],
    ["sound", last ? `${percent(last.quality.coverage.audio)} covered` : "–"],
    ["flags", last && last.quality.flags.length ? last.quality.flags.map(words).join(", ") : "none"],
    ["heat", t === null ? "unknown" : `${t} °C`],
    ["memory", h.process.rss_mb === null ? "unknown" : `${h.process.rss_mb} MB`],
    ["running for", `${Math.floor(h.uptime_s / 3600)} h ${Math.floor((h.uptime_s % 3600) / 60)} min`],
  ]);
}

function showState(s) {
  if (!s) return;
  limits = s.fps_limits;
  $("c-privacy").checked = s.privacy !== "off";
  for (const name of ["camera", "microphone"]) {
    $(`c-${name}`).checked = s[name] === "on";
    $(`c-${name}`).disabled = !allowed || s[name] === "none" || s.privacy !== "off";
  }
  $("c-profile").value = s.profile;
  if (document.activeElement !== $("c-max_fps")) $("c-max_fps").value = s.max_fps;
  [$("c-max_fps").min, $("c-max_fps").max] = limits;
  const words = s.paused_until ? `Paused until ${clock(s.paused_until)}.` : s.privacy !== "off" ? (s.scheduled ? "Privacy is on by schedule: nothing is watched or heard." : "Privacy is on: nothing is watched or heard.") : "";
  $("notice").hidden = !words;
  say("notice", words);
}

const handlers = {
  summary: (w) => { addWindow(w); showWindow(w); draw(); },
  event: addEvent, pacing: showPacing, health: showHealth, state: showState, ping: () => {},
};

// ---------------------------------------------------------------- control

async function command(name, value) {
  say("said", `${words(name)} …`);
  try {
    const answer = await fetch(`/api/v1/control/${name}`, { method: "POST", body: value === undefined ? "" : JSON.stringify({ value }) });
    const document = await answer.json();
    say("said", answer.ok ? `${words(name)}: ${document.status}` : document.detail);
    if (answer.ok) showState(document.state); else showState((await (await fetch("/api/v1/status")).json()).state);
  } catch (error) {
    say("said", `the device does not answer (${error.message})`);
  }
}

function wire() {
  for (const input of document.querySelectorAll("[data-command]")) {
    input.addEventListener("change", () => {
      const value = input.type === "checkbox" ? input.checked : input.type === "number" ? Number(input.value) : input.value;
      command(input.dataset.command, value);
    });
  }
  for (const button of document.querySelectorAll("[data-do]")) {
    const value = button.dataset.value;
    button.addEventListener("click", () => command(button.dataset.do, value === undefined ? undefined : Number(value) || value));
  }
  $("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  try { localStorage.setItem("theme", name); } catch { /* a browser that keeps nothing */ }
}

function chosenTheme() {
  const asked = new URLSearchParams(location.search).get("theme");
  let kept = null;
  try { kept = localStorage.getItem("theme"); } catch { /* likewise */ }
  return asked || kept || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

// ---------------------------------------------------------------- connection

async function load() {
  const [status, past, events] = await Promise.all(["status", "summaries", "events"].map(async (name) => {
    const answer = await fetch(`/api/v1/${name}`);
    if (answer.status === 401) location.assign("/login");
    return answer.json();
  }));
  say("name", status.info.name);
  document.title = `${status.info.name} · edge-agent`;
  allowed = status.control;
  for (const input of document.querySelectorAll("[data-command], [data-do]")) input.disabled = !allowed;
  if (!allowed) say("said", "Switching from here is off in this device's config.");
  windows.length = 0;
  for (const w of past.summaries.slice(-KEPT)) addWindow(w);
  if (windows.length) showWindow(windows.at(-1));
  draw();
  $("events").replaceChildren();
  for (const event of events.events.slice(-100)) addEvent(event);
  showHealth(status.health); showState(status.state); showPacing(status.pacing);
}

let wait = 1000;

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/live`);
  socket.onopen = async () => {
    try { await load(); pill("link", "live", "good"); wait = 1000; } catch { socket.close(); }
  };
  socket.onmessage = (message) => {
    const { type, data } = JSON.parse(message.data);
    (handlers[type] || (() => {}))(data);
  };
  socket.onclose = () => {
    pill("link", "not connected", "bad");
    setTimeout(connect, wait * (0.5 + Math.random()));
    wait = Math.min(2 * wait, 30000);
  };
}

theme(chosenTheme());
wire();
connect();
