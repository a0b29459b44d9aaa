// Switches: they mirror the device's state, whoever changed it, and ask for another one.
import { notice, say } from "./page.js";
import { clock, words } from "./format.js";

const DEVICES = ["camera", "microphone"], PAUSE_S = 900;
const TOLD = { on: "on", missing: "on, but the device is missing", off: "released", pending: "being released …", none: "none in this config" };
const $ = (id) => document.getElementById(id);
let allowed = false, state = null;

export function showSwitches(s) {
  if (!s) return;
  state = s;
  const privacy = s.privacy !== "off", paused = Boolean(s.paused_until);
  $("b-privacy").setAttribute("aria-pressed", privacy);
  say("b-privacy", privacy ? (s.scheduled ? "Privacy by schedule" : "End privacy") : "Privacy");
  $("b-pause").setAttribute("aria-pressed", paused);
  say("b-pause", paused ? `Resume (paused until ${clock(s.paused_until)})` : "Pause 15 min");
  for (const name of DEVICES) {
    $(`c-${name}`).checked = s[name] === "on" || s[name] === "missing";
    $(`c-${name}`).disabled = !allowed || s[name] === "none" || privacy || paused;
    say(`s-${name}`, TOLD[s[name]]);
  }
  $("c-profile").value = s.profile;
  const rate = $("c-max_fps");
  if (document.activeElement !== rate) rate.value = s.max_fps;
  [rate.min, rate.max] = s.fps_limits;
}

export function permit(yes) {
  allowed = yes;
  for (const input of document.querySelectorAll("[data-command], [data-do], [data-toggle]")) input.disabled = !yes;
  $("not-allowed").hidden = yes;
}

let quiet = 0;

function tell(text, lasting) {
  clearTimeout(quiet);
  notice("said", text);
  if (!lasting) quiet = setTimeout(() => notice("said", ""), 6000);
}

async function command(name, value) {
  tell(`${words(name)} …`, true);
  try {
    const answer = await fetch(`/api/v1/control/${name}`, { method: "POST", body: value === undefined ? "" : JSON.stringify({ value }) });
    const told = await answer.json();
    tell(`${words(name)}: ${answer.ok ? told.status : told.detail}`, !answer.ok);
    showSwitches(answer.ok ? told.state : (await (await fetch("/api/v1/status")).json()).state);
  } catch {
    tell(`${words(name)}: the device does not answer`, true);
  }
}

const chosen = (input) => (input.type === "checkbox" ? input.checked : input.type === "number" ? Number(input.value) : input.value);

export function wire() {
  for (const input of document.querySelectorAll("[data-command]")) {
    input.addEventListener("change", () => { if (input.reportValidity()) command(input.dataset.command, chosen(input)); });
  }
  for (const button of document.querySelectorAll("[data-do]")) {
    const { value } = button.dataset;
    button.addEventListener("click", () => command(button.dataset.do, value === undefined ? undefined : Number(value) || value));
  }
  $("b-privacy").addEventListener("click", () => command("privacy", state?.privacy === "off"));
  $("b-pause").addEventListener("click", () => (state?.paused_until ? command("resume") : command("pause", PAUSE_S)));
}
