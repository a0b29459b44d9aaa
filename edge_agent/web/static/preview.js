// The camera's latest picture, once a second: only where the config allows it, somebody asked for it, and it watches.
import { say } from "./panels.js";

const EVERY_MS = 1000;
const $ = (id) => document.getElementById(id);
let offered = false, wanted = false, watching = false, timer = 0;

function draw() {
  clearTimeout(timer);
  const picture = $("picture"), on = offered && wanted && watching;
  if (!on) picture.removeAttribute("src");
  picture.hidden = true;
  say("no-picture", offered && wanted && !watching ? "The camera is not watching." : "");
  if (on) picture.src = address();
}

const address = () => `/api/v1/preview.jpg?${Date.now()}`;

function later() { timer = setTimeout(() => { if (document.hidden) later(); else $("picture").src = address(); }, EVERY_MS); }

function came(good) {
  const on = offered && wanted && watching;
  $("picture").hidden = !(on && good);
  if (!on) return;
  say("no-picture", good ? "" : "There is no picture now.");
  later();
}

/** Whether the config allows it, which the page always says. */
export function offer(yes) {
  offered = yes;
  $("preview").hidden = $("preview-on").hidden = !yes;
  $("promise").hidden = yes;
  draw();
}

/** Whether the camera watches; when not, the last picture is taken away at once. */
export function watch(yes) {
  if (yes === watching) return;
  watching = yes;
  draw();
}

export function wire() {
  $("look").addEventListener("click", () => {
    wanted = !wanted;
    say("look", wanted ? "Hide the picture" : "Show the picture");
    $("look").setAttribute("aria-expanded", wanted);
    draw();
  });
  $("picture").addEventListener("load", () => came(true));
  $("picture").addEventListener("error", () => came(false));
}
