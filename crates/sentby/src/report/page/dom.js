// Elements out of names, attributes and children. Text becomes text nodes only.

const SVG = "http://www.w3.org/2000/svg";
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((c) => c !== undefined && c !== null));
  return element;
}
const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

// What a screen would obey or hide, and whoever sent it chose: shown as what it is.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/u;
const HIDDEN_ALL = new RegExp(HIDDEN.source, "gu");
const escaped = (c) => `\\u{${c.codePointAt(0).toString(16)}}`;
const plain = (value) => String(value).replace(HIDDEN_ALL, escaped);
// Text of the traced world as a node, with escapes marked.
function text(value) {
  const all = String(value);
  if (!HIDDEN.test(all)) return document.createTextNode(all);
  const out = document.createDocumentFragment();
  let from = 0;
  for (const found of all.matchAll(HIDDEN_ALL)) {
    out.append(all.slice(from, found.index), el("span", { class: "escaped" }, escaped(found[0])));
    from = found.index + found[0].length;
  }
  out.append(all.slice(from));
  return out;
}
const cut = (value, most) => { const t = plain(value); return t.length > most ? `${t.slice(0, Math.max(1, most - 1))}…` : t; };
const colour = (protocol) => `c${HEAD.protocols.indexOf(protocol) % 8}`;
function debounced(run, ms) {
  let timer;
  return () => { clearTimeout(timer); timer = setTimeout(run, ms); };
}
