// Switches: they mirror the device's state, whoever changed it, and ask for another one.
import { say } from "./panels.js";
import { clock, words } from "./format.js";

const DEVICES = ["camera", "microphone"];
const TOLD = { on: "on", missing: "on, but the device is missing", off: "released", pending: "being released …", none: "none in this config" };
const $ = (id) => document.getElementById(id);
let allowed = false;

function notice(s) {
  if (s.paused_until) return `Paused until ${clock(s.paused_until)}: nothing is watched or heard.`;
  if (s.privacy === "off") return "";
  if (s.privacy === "pending") return "Privacy is asked for: the devices are being released.";
  return `Privacy is on${s.scheduled ? " by schedule" : ""}: camera and microphone are released, nothing is watched or heard.`;
}

export function showState(s) {
  if (!s) return;
  $("c-privacy").checked = s.privacy !== "off";
  for (const name of DEVICES) {
    $(`c-${name}`).checked = s[name] === "on" || s[name] === "missing";
    $(`c-${name}`).disabled = !allowed || s[name] === "none" || s.privacy !== "off" || Boolean(s.paused_until);
    say(`s-${name}`, TOLD[s[name]]);
  }
  $("c-profile").value = s.profile;
  const rate = $("c-max_fps");
  if (document.activeElement !== rate) rate.value = s.max_fps;
  [rate.min, rate.max] = s.fps_limits;
  const text = notice(s);
  $("notice").hidden = !text;
  say("notice", text);
}

export function permit(yes) {
  allowed = yes;
  for (const input of document.querySelectorAll("[data-command], [data-do]")) input.disabled = !yes;
  say("said", yes ? "" : "Switching from here is off in this device's config (web.control).");
}

async function command(name, value) {
  say("said", `${words(name)} …`);
  try {
    const answer = await fetch(`/api/v1/control/${name}`, { method: "POST", body: value === undefined ? "" : JSON.stringify({ value }) });
    const told = await answer.json();
    say("said", `${words(name)}: ${answer.ok ? told.status : told.detail}`);
    showState(answer.ok ? told.state : (await (await fetch("/api/v1/status")).json()).state);
  } catch {
    say("said", `${words(name)}: the device does not answer`);
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
}
