// Elements and words. Text goes in as text nodes only: whatever a stranger wrote stays what it is, text.

const SVG = "http://www.w3.org/2000/svg";
// Marks that turn the direction of what follows, and control characters: no name or tag may steer a page.
const STEERING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** A name, a tag or another short text as it may be shown. */
export const clean = (text) => String(text ?? "").replace(STEERING, "\ufffd");

export const $ = (id) => document.getElementById(id);

/** An element. `on` holds listeners; true and false set and leave out an attribute; strings among children are text. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An element of a drawing. */
export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  for (const [event, listen] of Object.entries(on)) element.addEventListener(event, listen);
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** Tell something to those who listen to the page. */
export function say(text) {
  $("said").textContent = text;
}

/** A sentence that nobody can overlook, until it is closed or `warn("")`. */
export function warn(text) {
  const box = $("alert");
  box.replaceChildren();
  if (text) {
    const close = h("button", { type: "button", "aria-label": "Close this message", on: { click: () => warn("") } }, "×");
    box.append(h("p", {}, text), close);
  }
}

/** `act` once it has not been asked for `ms` milliseconds. */
export function later(ms, act) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...args), ms);
  };
}

/** Put text on the clipboard, or select it where the browser allows no more. */
export async function copy(text, shown, button) {
  const label = button.dataset.label ?? (button.dataset.label = button.textContent);
  let done = "Copied";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    getSelection().selectAllChildren(shown);
    done = "Selected: Ctrl+C copies";
  }
  button.textContent = done;
  say(done);
  setTimeout(() => (button.textContent = label), 2000);
}

export const count = (number) => number.toLocaleString("en-US");

/** A number for people: three or four digits that matter. */
export function figure(value) {
  if (value == null) return "–";
  if (Number.isInteger(value)) return count(value);
  const size = Math.abs(value);
  if (size >= 1000) return count(Math.round(value));
  return size >= 100 ? value.toFixed(1) : size >= 0.1 ? value.toFixed(3) : value.toPrecision(2);
}

/** A metric in its unit, as `lftreg eval` tells it: a share as a percentage, points with one digit. */
export function measure(value, unit, signed = false) {
  if (value == null) return "–";
  const told =
    unit === "share" ? `${(100 * value).toFixed(1)}%` : unit === "points" ? value.toFixed(1) : figure(value);
  return signed && value >= 0 ? `+${told}` : told;
}

export function bytes(size) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (size >= 1000 && at < units.length - 1) (size /= 1000), at++;
  return `${at ? size.toFixed(1) : size} ${units[at]}`;
}

export function ago(moment) {
  const seconds = Math.max(0, (Date.now() - Date.parse(moment)) / 1000);
  for (const [name, length] of [["year", 31557600], ["month", 2629800], ["day", 86400], ["hour", 3600], ["minute", 60]]) {
    const number = Math.floor(seconds / length);
    if (number) return `${number} ${name}${number > 1 ? "s" : ""} ago`;
  }
  return "just now";
}
