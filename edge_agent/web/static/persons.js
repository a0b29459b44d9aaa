// Each person in view, and those who left lately: how long, how they looked, whether they turned to the camera.
import { element } from "./chart.js";
import { because, clock, duration, leading, percent, signed } from "./format.js";
import { make, say } from "./page.js";
import { EMOTIONS } from "./past.js";

export const SECONDS = 300;
const MOST = 8, LEAST_MS = 30e3, STEP_MS = 5000, WIDTH = 300, HEIGHT = 16;
const $ = (id) => document.getElementById(id);

/** A strip from `from` to `now`: when the person was there, and the expressions read then. */
function strip(person, from, now) {
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "strip", "aria-hidden": "true" });
  const x = (time) => (WIDTH * Math.min(Math.max(time - from, 0), now - from)) / (now - from);
  const box = (begin, end, y, height, kind) => element("rect", { x: x(begin), y, width: Math.max(x(end) - x(begin), 1), height, class: kind });
  const since = Date.parse(person.since), until = Date.parse(person.until);
  svg.append(element("rect", { width: WIDTH, height: HEIGHT, class: "ground" }), box(since, until, 0, HEIGHT, "present"));
  for (const { start, emotion } of person.timeline) {
    if (!emotion) continue;
    const begin = Date.parse(start), column = element("g", { class: "look" });
    let y = HEIGHT;
    for (const name of EMOTIONS) {
      const height = HEIGHT * emotion.p[name];
      y -= height;
      if (height > 0) column.append(box(begin, Math.min(begin + STEP_MS, until), y, height, `e-${name}`));
    }
    svg.append(column);
  }
  return svg;
}

function row(person, from, now) {
  const look = person.now ?? person;
  const how = [
    look.emotion ? leading(look.emotion.p, 2) : person.emotion ? leading(person.emotion.p, 2) : "expression not read yet",
    person.attention ? `attention ${percent(person.attention.ratio)}` : "",
    person.trend === null ? "" : `valence ${person.trend === 0 ? "steady" : signed(person.trend)}`,
  ];
  const long = person.here ? `here for ${duration(person.seconds)}` : `stayed ${duration(person.seconds)}`;
  const stay = make("span", "stay", person.name ? `${person.name}, ${long}` : long);
  const when = make("span", "hint", person.here ? `since ${clock(person.since)}` : `until ${clock(person.until)}`);
  const item = make("li", person.here ? "here" : "gone", make("div", "who", stay, when), strip(person, from, now), make("div", "how", how.filter(Boolean).join(" · ")));
  item.dataset.track = person.track;
  return item;
}

/** Those who are here first, and of them and the others who came last. `now` is the device's own. `hidden`: nobody is told of alone. */
export function showPersons(people, now, hidden, unknown) {
  const sorted = [...people].sort((a, b) => b.here - a.here || Date.parse(b.until) - Date.parse(a.until));
  const here = people.filter((p) => p.here).length, left = Math.max(0, people.length - MOST);
  say("persons-now", hidden ? "" : `${unknown ? `who is in view is unknown (${because(unknown)})` : `${here} in view`}, ${people.length} in the last 5 minutes`);
  const shown = sorted.slice(0, MOST), since = Math.min(now - LEAST_MS, ...shown.map((p) => Date.parse(p.since)));
  const from = Math.max(since, now - 1000 * SECONDS);
  $("persons").replaceChildren(...shown.map((person) => row(person, from, now)));
  say("nobody", hidden ? "Withheld on this device, which tells of several people together only." : people.length ? (left ? `And ${left} more.` : "") : unknown ? "" : "Nobody was in view.");
}
