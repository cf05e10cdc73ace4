// Elements. Whatever comes from a call becomes text and nothing else.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** An element; `children` are elements or texts. `on…` are handlers, other properties attributes. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A picture of icons.svg that says nothing to those who do not see it. */
export function icon(name) {
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `/page/icons.svg#${name}`);
  picture.append(use);
  return picture;
}

/** Sets a text only if it is another: an unchanged one is not announced anew, and costs nothing. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

let fading;

/** A word at the edge of the page, for some seconds. */
export function toast(text) {
  say($("toast"), text);
  clearTimeout(fading);
  fading = setTimeout(() => say($("toast"), ""), 4000);
}

/** Tells those who do not look. */
export function announce(text) {
  say($("announce"), text);
}

/** Buttons in a dialog that close it; a click beside it does, too. */
export function closable(dialog) {
  for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}
