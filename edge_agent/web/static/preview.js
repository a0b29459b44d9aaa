// The camera's latest picture with what is seen in it: only where the config allows it, somebody asked, and it watches.
import { element } from "./chart.js";
import { leading } from "./format.js";
import { say } from "./page.js";

const EVERY_MS = 500, LETTER = 0.64;
const $ = (id) => document.getElementById(id);
// The address that the demo prints opens the picture: nobody real is in it.
let offered = false, wanted = location.hash === "#preview", watching = false, timer = 0, people = [];

const on = () => offered && wanted && watching;
const address = () => `/api/v1/preview.jpg?${Date.now()}`;

/** Whether the picture is shown, so that boxes are wanted often. */
export const shown = on;

function draw() {
  clearTimeout(timer);
  const picture = $("picture");
  if (!on()) picture.removeAttribute("src");
  $("stage").hidden = true;
  $("full").hidden = !(offered && wanted);
  say("no-picture", offered && wanted && !watching ? "The camera is not watching." : "");
  if (on()) picture.src = address();
}

function later() { timer = setTimeout(() => { if (document.hidden) later(); else $("picture").src = address(); }, EVERY_MS); }

function came(good) {
  $("stage").hidden = !(on() && good);
  if (!on()) return;
  say("no-picture", good ? "" : "There is no picture now.");
  overlay();
  later();
}

/** Frames around faces, each with the expression that leads, in the picture's own pixels. */
function overlay() {
  const { naturalWidth: width, naturalHeight: height } = $("picture"), svg = $("boxes");
  if (!width) return;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const size = Math.max(11, width / 34);
  svg.replaceChildren(...people.filter((p) => p.here && p.now).flatMap(({ now, name }) => {
    const [x, y, w, h] = now.box, left = x * width, top = y * height, e = now.emotion;
    const kind = e ? `e-${e.dominant}` : "", text = [name, e ? leading(e.p, 1) : "…"].filter(Boolean).join(": "), room = LETTER * size * text.length + 0.8 * size;
    const at = Math.max(0, Math.min(left, width - room)), line = top > 1.5 * size ? top - 1.5 * size : Math.min(top + h * height, height - 1.5 * size);
    return [
      element("rect", { x: left, y: top, width: w * width, height: h * height, rx: size / 3, class: `face ${kind}` }),
      element("rect", { x: at, y: line, width: room, height: 1.4 * size, rx: size / 4, class: "plate" }),
      element("text", { x: at + 0.4 * size, y: line + size, "font-size": size, class: "says" }, text),
    ];
  }));
}

/** Who is in view, as the API tells. */
export function see(found) {
  people = found;
  if (!$("stage").hidden) overlay();
}

/** Whether the config allows it, which the page always says. */
export function offer(yes) {
  offered = yes;
  $("preview").hidden = $("preview-on").hidden = !yes;
  $("promise").hidden = yes;
  document.body.classList.toggle("with-preview", offered && wanted);
  draw();
}

/** Whether the camera watches; when not, the last picture is taken away at once. */
export function watch(yes) {
  if (yes === watching) return;
  watching = yes;
  draw();
}

function label() {
  say("look", wanted ? "Hide the picture" : "Show the picture");
  $("look").setAttribute("aria-expanded", wanted);
  document.body.classList.toggle("with-preview", offered && wanted);
  draw();
}

export function wire() {
  label();
  $("look").addEventListener("click", () => {
    wanted = !wanted;
    label();
  });
  $("full").addEventListener("click", () => { $("stage").requestFullscreen?.(); });
  $("picture").addEventListener("load", () => came(true));
  $("picture").addEventListener("error", () => came(false));
}
