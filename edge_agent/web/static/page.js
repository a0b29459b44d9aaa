// Small helpers for what is on the page. Texts go in as text, never as markup.
const $ = (id) => document.getElementById(id);

export function say(id, text) { if ($(id).textContent !== text) $(id).textContent = text; }

export function make(name, kind = "", ...children) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.append(...children);
  return made;
}

export function pill(id, text, kind) { say(id, text); $(id).className = `pill ${kind}`; }

/** Show a text in an element that is hidden without one. */
export function notice(id, text) {
  say(id, text);
  $(id).hidden = !text;
}

/** Terms and what they are; only what changed is touched, so that it can be selected and read out in peace. */
export function rows(id, pairs) {
  const list = $(id);
  if (list.children.length !== 2 * pairs.length) list.replaceChildren(...pairs.flatMap(() => [make("dt"), make("dd")]));
  pairs.flat().forEach((text, k) => { if (list.children[k].textContent !== text) list.children[k].textContent = text; });
}
