// The dashboard: what the agent posts, as it comes, and what came before.
import { permit, showState, wire } from "./control.js";
import { clock } from "./format.js";
import { addEvent, clearEvents, pill, say, showFigures, showHealth, showPacing, showPresence, showWindow } from "./panels.js";
import { SECONDS, showPersons } from "./persons.js";
import { Visits, Windows } from "./past.js";
import { Period } from "./period.js";
import * as preview from "./preview.js";
import { Timeline } from "./timeline.js";

const SILENT_MS = 40e3, PERSONS_MS = 2500, EVENTS_KEPT = 500;
const $ = (id) => document.getElementById(id);

const windows = new Windows(), timeline = new Timeline(), period = new Period(ask, draw);
let visits = new Visits(), events = [], hidden = false, version = null, boot = null, why = null, watching = true, live = false, inView = null, unknown = null, vitals = null;

async function ask(path) {
  const answer = await fetch(`/api/v1/${path}`);
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function draw() {
  const data = period.data(windows, visits, events, hidden);
  $("empty").hidden = data !== null;
  $("plots").hidden = data === null;
  if (data === null) return;
  say("span", `${clock(data.from)} – ${clock(data.to)}`);
  timeline.show(data);
  showFigures(data.told);
}

// ---------------------------------------------------------------- what comes

function summary(w) {
  if (!windows.add(w)) return;
  visits.check(windows.points.at(-1));
  showWindow(w);
  presence(inView);
  draw();
}

function presence(p) {
  inView = p;
  showPresence(p, windows.last);
}

function event(e) {
  const last = events.at(-1);
  if (last && e.boot_id === last.boot_id && e.seq <= last.seq) return;
  events.push(e);
  if (events.length > EVENTS_KEPT) events.shift();
  visits.add(e);
  addEvent(e);
}

function health(h) {
  if (!h) return;
  vitals = h;
  period.uptime = h.uptime_s;
  showHealth(h, windows.last, unknown);
}

function pacing(p) {
  why = p;
  showPacing(why, watching);
}

function state(s) {
  if (!s) return;
  showState(s);
  unknown = s.unknown;
  health(vitals);
  watching = s.camera === "on";
  pacing(why);
  preview.watch(watching);
}

async function persons() {
  try {
    const { now, unknown: whyNot, people } = await ask(`people?seconds=${SECONDS}`);
    showPersons(people, Date.parse(now), hidden, whyNot);
  } catch { /* the connection says what is wrong */ }
}

const handlers = { summary, event, health, pacing, presence, state, ping: () => {} };

// ---------------------------------------------------------------- connection

async function load() {
  const [status, past, told] = await Promise.all(["status", "summaries", "events"].map(ask));
  if (version !== null && version !== status.version) location.reload();
  version = status.version;
  if (boot !== status.boot_id) { visits = new Visits(); events = []; clearEvents(); }
  boot = status.boot_id;
  hidden = status.info.privacy.min_people >= 2;
  preview.offer(status.info.privacy.preview === true);
  say("name", status.info.name);
  document.title = `${status.info.name} · edge-agent`;
  say("first", `The first window of ${status.info.window_s} s is not over yet.`);
  permit(status.control);
  health(status.health);
  for (const w of past.summaries) windows.add(w);
  for (const e of told.events) event(e);
  for (const p of windows.points) visits.check(p);
  if (windows.last) showWindow(windows.last);
  health(status.health);
  why = status.pacing;
  state(status.state);
  presence(status.presence);
  draw();
}

let wait = 1000, silence = 0;

function lost(reason) {
  preview.watch(false);
  live = false;
  clearTimeout(silence);
  document.body.classList.add("stale");
  pill("link", "not connected", "bad");
  pill("health", "unknown", "");
  const last = windows.last;
  say("lost", `No connection to the device${reason ? ` (${reason})` : ""}. ${last ? `The last window shown is from ${clock(last.start)}. ` : ""}Trying again.`);
  $("lost").hidden = false;
  setTimeout(retry, wait * (0.5 + Math.random()));
  wait = Math.min(2 * wait, 30000);
}

/** Only a page can ask for the token, so find out first whether it is still the right one. */
async function retry() {
  try { await ask("status"); } catch { lost(""); return; }
  connect();
}

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/live`);
  let early = [];
  const heard = () => { clearTimeout(silence); silence = setTimeout(() => socket.close(), SILENT_MS); };
  const take = ({ type, data }) => handlers[type]?.(data);
  socket.onopen = async () => {
    heard();
    try { await load(); } catch { socket.close(); return; }
    early.forEach(take);
    early = null;
    wait = 1000;
    live = true;
    persons();
    document.body.classList.remove("stale");
    $("lost").hidden = true;
    pill("link", "live", "good");
  };
  socket.onmessage = (message) => {
    heard();
    const posting = JSON.parse(message.data);
    if (early) early.push(posting); else take(posting);
  };
  socket.onclose = (end) => lost(end.reason);
}

// ---------------------------------------------------------------- the page's own switches

function switchTheme() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("theme", theme); } catch { /* a browser that keeps nothing */ }
}

$("theme").addEventListener("click", switchTheme);
for (const radio of document.querySelectorAll("[name=period]")) {
  radio.addEventListener("change", () => { period.choose(radio.value); draw(); });
  if (radio.checked) period.choose(radio.value);
}
setInterval(() => { if (live && !document.hidden) persons(); }, PERSONS_MS);
wire();
preview.wire();
connect();
