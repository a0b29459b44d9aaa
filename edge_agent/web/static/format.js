// How figures are said.
const DAY = 86400e3;

export const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
const WHY = {
  none: "this config has no such device", off: "switched off", paused: "paused", privacy: "privacy is on",
  schedule: "privacy is on by schedule", starting: "starting", missing: "the device is missing", ended: "the recording is over",
  stopped: "the agent has stopped", no_look: "the last look was too long ago", dark: "it is too dark", covered: "the camera is covered",
  frozen: "the picture is frozen", no_detector: "no face detector is running", clock: "the clock is not synchronised",
};
/** Why something is unknown, in words. */
export const because = (reason) => WHY[reason] ?? words(reason);
/** Of seconds by reason, that of most of the time, in words. */
export const mostly = (reasons) => {
  const [longest] = Object.entries(reasons || {}).sort((a, b) => b[1] - a[1]);
  return longest ? because(longest[0]) : "not watched";
};
export const words = (label) => label.replaceAll("_", " ");

/** With its sign, unless it rounds to nothing. */
export function signed(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : `${value < 0 ? "−" : "+"}${text}`;
}

/** The few emotions that words expressed most, with their probabilities; empty without any. */
export const few = (language) => Object.entries(language?.p ?? {}).sort((a, b) => b[1] - a[1]).map(([name, p]) => `${name} ${percent(p)}`).join(", ");

export const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

export const day = (when) => when.toLocaleDateString("en", { day: "numeric", month: "short" });

/** Hours and minutes, with seconds if wanted, where the browser is. */
export function time(when, seconds) {
  const told = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return when.toLocaleTimeString("en", seconds ? { ...told, second: "2-digit" } : told);
}

/** A time of the day; with the day when it is not one of the last 24 hours. */
export function clock(moment) {
  const when = new Date(moment);
  return `${Math.abs(Date.now() - when) > DAY ? `${day(when)}, ` : ""}${time(when, true)}`;
}

/** A stretch of time, as people say it. */
export function duration(seconds) {
  if (seconds < 9.95 && !Number.isInteger(seconds)) return `${seconds.toFixed(1)}\u00a0s`;
  if (seconds < 99.5) return `${Math.round(seconds)}\u00a0s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes}\u00a0min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}\u00a0h ${minutes % 60}\u00a0min` : `${Math.floor(hours / 24)} days ${hours % 24}\u00a0h`;
}

/** The expressions of a distribution that matter, the largest first. */
export function leading(p, most = 3) {
  const sorted = Object.entries(p).filter(([, share]) => share >= 0.05).sort((a, b) => b[1] - a[1]);
  return sorted.slice(0, most).map(([name, share]) => `${name} ${percent(share)}`).join(", ");
}
