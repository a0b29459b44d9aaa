// The dashboard: what the agent posts, as it comes, and what came before.
import { permit, showSwitches, wire } from "./control.js";
import { clock } from "./format.js";
import { notice, pill, say } from "./page.js";
import { showDevice, showDevices, showEvents, showFigures, showPacing } from "./panels.js";
import { SECONDS, showPersons } from "./persons.js";
import { Visits, Windows } from "./past.js";
import { Period } from "./period.js";
import * as preview from "./preview.js";
import { showBeside, showMeasures, showState, showTiles } from "./tiles.js";
import { Timeline } from "./timeline.js";

const SILENT_MS = 40e3, PERSONS_MS = 1000, PREVIEW_MS = 500, DEVICES_MS = 60e3, EVENTS_KEPT = 500;
const $ = (id) => document.getElementById(id);

const windows = new Windows(), period = new Period(ask, draw);
const timeline = new Timeline((from, to) => { period.zoom(from === undefined ? null : [from, to]); draw(); });
let visits = new Visits(), events = [], people = [], ahead = 0, hidden = false, version = null, boot = null, device = null;
let pacing = null, state = null, health = null, presence = null, watching = true, live = false;

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
  $("unzoom").hidden = !period.zoomed;
  if (data === null) return;
  say("span", `${clock(data.from)} – ${clock(data.to)}`);
  timeline.show(data);
  showFigures(data.told);
}

function tiles() {
  const last = events.findLast((e) => e.kind === "burst" || e.kind === "sound");
  const heard = last ? { label: last.label, begin: Date.parse(last.start) } : null;
  showTiles({ presence, people, hidden, last: windows.last, heard, deaf: state?.unknown?.sounds ?? null, limits: timeline.limits, now: Date.now() + ahead });
}

// ---------------------------------------------------------------- what comes

function onSummary(w) {
  if (!windows.add(w)) return;
  visits.check(windows.points.at(-1));
  showBeside(w);
  showMeasures(w);
  if (health) showDevice(health, w);
  tiles();
  draw();
}

function onEvent(e) {
  if (keep(e)) { showEvents(events); tiles(); }
}

function keep(e) {
  const last = events.at(-1);
  if (last && e.boot_id === last.boot_id && e.seq <= last.seq) return false;
  events.push(e);
  if (events.length > EVENTS_KEPT) events.shift();
  visits.add(e);
  return true;
}

function onHealth(h) {
  if (!h) return;
  health = h;
  period.uptime = h.uptime_s;
  showDevice(h, windows.last);
  showState(live, state, health);
}

function onPacing(p) {
  pacing = p;
  showPacing(pacing, watching);
}

function onState(s) {
  if (!s) return;
  state = s;
  watching = s.camera === "on" && s.privacy === "off" && !s.paused_until;
  showSwitches(s);
  showState(live, state, health);
  showPacing(pacing, watching);
  preview.watch(watching);
  tiles();
}

function onPresence(p) {
  presence = p;
  tiles();
}

const handlers = { summary: onSummary, event: onEvent, health: onHealth, pacing: onPacing, presence: onPresence, state: onState, ping: () => {} };

// ---------------------------------------------------------------- what is asked for

async function persons() {
  try {
    const told = await ask(`people?seconds=${SECONDS}`);
    people = told.people;
    ahead = Date.parse(told.now) - Date.now();
    showPersons(people, Date.parse(told.now), hidden, told.unknown);
    preview.see(people);
    tiles();
  } catch { /* the connection says what is wrong */ }
}

async function devices() {
  try { showDevices(await ask("devices"), device); } catch { /* as above */ }
}

/** Again and again, one at a time, while the page is looked at. */
function often(act, wait) {
  const turn = async () => {
    if (live && !document.hidden) await act();
    setTimeout(turn, wait());
  };
  setTimeout(turn, wait());
}

// ---------------------------------------------------------------- connection

async function load() {
  const [status, past, told] = await Promise.all(["status", "summaries", "events"].map(ask));
  if (version !== null && version !== status.version) location.reload();
  ({ version, device } = status);
  if (boot !== status.boot_id) { visits = new Visits(); events = []; people = []; }
  boot = status.boot_id;
  hidden = status.info.privacy.min_people >= 2;
  preview.offer(status.info.privacy.preview === true);
  say("name", status.info.name);
  document.title = `${status.info.name} · edge-agent`;
  say("first", `The first window of ${status.info.window_s} s is not over yet.`);
  permit(status.control);
  for (const w of past.summaries) windows.add(w);
  for (const e of told.events) keep(e);
  for (const p of windows.points) visits.check(p);
  if (windows.last) { showBeside(windows.last); showMeasures(windows.last); }
  showEvents(events);
  onHealth(status.health);
  pacing = status.pacing;
  onState(status.state);
  onPresence(status.presence);
  draw();
}

let wait = 1000, silence = 0;

function lost(reason) {
  preview.watch(false);
  live = false;
  clearTimeout(silence);
  document.body.classList.add("stale");
  pill("link", "not connected", "bad");
  showState(false, state, health);
  const last = windows.last;
  notice("lost", `No connection to the device${reason ? ` (${reason})` : ""}. ${last ? `The last window shown is from ${clock(last.start)}. ` : ""}Trying again.`);
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
    devices();
    document.body.classList.remove("stale");
    notice("lost", "");
    pill("link", "live", "good");
    showState(live, state, health);
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

const local = (moment) => new Date(moment - new Date(moment).getTimezoneOffset() * 60e3).toISOString().slice(0, 19);

function choosePeriod(value) {
  $("range").hidden = value !== "custom";
  if (value !== "custom") { period.choose(value); draw(); return; }
  const to = timeline.data?.to ?? Date.now();
  $("range-from").value ||= local(timeline.data?.from ?? to - 3600e3);
  $("range-to").value ||= local(to);
}

function chooseRange(submitted) {
  submitted.preventDefault();
  const [from, to] = ["range-from", "range-to"].map((id) => new Date($(id).value).getTime());
  $("range-to").setCustomValidity(from < to ? "" : "The end must be after the beginning.");
  if (!$("range").reportValidity()) return;
  period.choose(0, [from, to]);
  draw();
}

$("theme").addEventListener("click", switchTheme);
$("unzoom").addEventListener("click", () => { period.zoom(null); draw(); });
$("range").addEventListener("submit", chooseRange);
$("range-to").addEventListener("input", () => $("range-to").setCustomValidity(""));
$("filter").addEventListener("change", () => showEvents(events));
for (const radio of document.querySelectorAll("[name=period]")) {
  radio.addEventListener("change", () => choosePeriod(radio.value));
  if (radio.checked) choosePeriod(radio.value);
}
often(persons, () => (preview.shown() ? PREVIEW_MS : PERSONS_MS));
often(devices, () => DEVICES_MS);
wire();
preview.wire();
connect();
