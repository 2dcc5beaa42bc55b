// How things look: elements, times, addresses. What comes from a call goes in as text and never as HTML.

// Makes an element. Attributes by name, `false` and `null` leave one out; children are elements or text.
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function ms(value) {
  if (value >= 100) return `${Math.round(value).toLocaleString("en")}\u00a0ms`;
  return `${value.toFixed(1)}\u00a0ms`;
}

export function duration(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

export function clock(iso) {
  const at = new Date(iso);
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString()} ${time}`;
}

// A From or To header as a person reads it: its name, or else user@host.
export function party(header) {
  const [, quoted, plain] = /^\s*(?:"((?:[^"\\]|\\.)*)"|([^<"]*?))\s*</.exec(header) ?? [];
  const name = (quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "").trim();
  if (name) return name;
  return (/<?(?:sips?|tel):([^>;?]*)/i.exec(header)?.[1] ?? header) || "somebody";
}

export function user(header) {
  return /<?(?:sips?|tel):([^@>;?]*)/i.exec(header)?.[1] || party(header);
}

// A level in dBFS as a share of the meter: -60 dB and below is empty.
export const share = (db) => Math.min(1, Math.max(0, (db + 60) / 60));

// Gives `parent` these children. What looks as before stays: it keeps its focus, its hover and its selection, and a screen reader
// does not read it again.
export function fill(parent, ...children) {
  const old = [...parent.children];
  if (old.length !== children.length) return parent.replaceChildren(...children);
  old.forEach((child, at) => child.isEqualNode(children[at]) || child.replaceWith(children[at]));
}

// Writes `text` where it is not what stands there.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
