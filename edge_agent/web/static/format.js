// How figures are said.
const DAY = 86400e3;

export const percent = (share) => `${Math.round(100 * share)} %`;
export const words = (label) => label.replaceAll("_", " ");
export const signed = (value, digits = 2) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
export const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

/** A time of the day; with the day when it is not one of the last 24 hours. */
export function clock(time, seconds = true) {
  const when = new Date(time), told = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (seconds) told.second = "2-digit";
  const day = Math.abs(Date.now() - when) > DAY ? `${when.toLocaleDateString([], { day: "numeric", month: "short" })} ` : "";
  return day + when.toLocaleTimeString([], told);
}

/** A stretch of time, as people say it. */
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days ${hours % 24} h`;
}

/** The expressions of a distribution that matter, the largest first. */
export function leading(p, most = 3) {
  const sorted = Object.entries(p).filter(([, share]) => share >= 0.05).sort((a, b) => b[1] - a[1]);
  return sorted.slice(0, most).map(([name, share]) => `${name} ${percent(share)}`).join(", ");
}
