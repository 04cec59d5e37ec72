// Who sent to whom: senders left, destinations right, bands as wide as the events between.

const LEFT_MOST = 12;
const RIGHT_MOST = 14;
const SLOT = 22;
const OTHER = "\u0000other"; // no name of the traced world: those have no NUL

// The most busy names, and the sum of the others.
function busiest(sums, most) {
  const sorted = [...sums].sort((a, b) => b[1] - a[1]);
  const nodes = sorted.slice(0, most).map(([name, n]) => ({ name, n, label: name }));
  const others = sorted.slice(most);
  if (others.length) nodes.push({ name: OTHER, n: others.reduce((s, [, n]) => s + n, 0), label: `${number(others.length)} others` });
  return nodes;
}
function place(nodes, scale) {
  let y = 0;
  for (const node of nodes) {
    node.height = Math.max(2, node.n * scale);
    const slot = Math.max(SLOT, node.height + 6);
    node.y = y + (slot - node.height) / 2;
    node.at = node.y;
    y += slot;
  }
  return y;
}
const add = (sums, key, n) => sums.set(key, (sums.get(key) || 0) + n);

// press(side, name) is told which end was chosen: side 0 left, 1 right.
function flows(figure, press) {
  if (!HEAD.flows.length) { figure.replaceChildren(el("p", { class: "hint" }, "No events.")); return; }
  const names = [HEAD.senders.map(whoWhere), HEAD.destinations.map(whom)];
  const sums = [new Map(), new Map()];
  for (const [from, to, , n] of HEAD.flows) { add(sums[0], names[0][from], n); add(sums[1], names[1][to], n); }
  const sides = [busiest(sums[0], LEFT_MOST), busiest(sums[1], RIGHT_MOST)];
  const known = sides.map((nodes) => new Map(nodes.map((n) => [n.name, n])));
  const bands = new Map();
  for (const [from, to, protocol, n] of HEAD.flows) {
    const a = known[0].has(names[0][from]) ? names[0][from] : OTHER;
    const b = known[1].has(names[1][to]) ? names[1][to] : OTHER;
    const key = JSON.stringify([a, b, protocol]);
    const band = bands.get(key) || { a: known[0].get(a), b: known[1].get(b), protocol, n: 0 };
    band.n += n;
    bands.set(key, band);
  }
  const total = HEAD.flows.reduce((s, f) => s + f[3], 0);
  const scale = Math.max(120, Math.max(...sides.map((s) => s.length)) * 16) / total;
  const height = Math.max(...sides.map((nodes) => place(nodes, scale)));
  const width = Math.max(320, figure.clientWidth);
  const label = Math.min(250, width * 0.3);
  const xs = [label, width - label];
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": "Who sent to whom; arrow keys move, Enter shows the requests" });
  const order = (band) => sides[1].indexOf(band.b) * 100 + sides[0].indexOf(band.a);
  for (const band of [...bands.values()].sort((p, q) => order(p) - order(q))) drawing.append(drawn(band, scale, xs));
  const ends = sides.flatMap((nodes, side) => nodes.map((node) => ({ node, side })));
  const groups = ends.map(({ node, side }) => drawNode(node, side, xs[side], label));
  roving(drawing, groups, 0, (i) => { if (ends[i].node.name !== OTHER) press(ends[i].side, ends[i].node.name); }, ["ArrowUp", "ArrowDown"]);
  drawing.append(...groups);
  figure.replaceChildren(drawing, el("figcaption", { class: "hint" }, "Width is the number of events, colour the protocol. Press a name to see its requests; the tables below have the same figures."));
}
function drawn(band, scale, [left, right]) {
  const thick = Math.max(1, band.n * scale);
  const [y0, y1] = [band.a.at, band.b.at];
  band.a.at += band.n * scale;
  band.b.at += band.n * scale;
  const [x0, x1] = [left + 6, right - 6];
  const mid = (x0 + x1) / 2;
  const d = `M${x0} ${y0}C${mid} ${y0} ${mid} ${y1} ${x1} ${y1}V${y1 + thick}C${mid} ${y1 + thick} ${mid} ${y0 + thick} ${x0} ${y0 + thick}Z`;
  const title = `${plain(band.a.label)} to ${plain(band.b.label)}: ${number(band.n)} ${HEAD.protocols[band.protocol]}`;
  return svg("path", { class: `band ${colour(HEAD.protocols[band.protocol])}`, d }, svg("title", {}, title));
}
function drawNode(node, side, x, room) {
  const count = number(node.n);
  const letters = Math.floor((room - 20) / 6.8) - count.length - 1;
  const middle = node.y + node.height / 2 + 4;
  const name = svg("text", { x: side ? x + 6 : x - 6, y: middle, "text-anchor": side ? "start" : "end" });
  const n = svg("tspan", { class: "count" }, count);
  name.append(...(side ? [n, ` ${cut(node.label, letters)}`] : [`${cut(node.label, letters)} `, n]));
  const hitX = side ? x - 8 : x - room;
  return svg("g", { role: "button", tabindex: "-1", "aria-label": `${side ? "to" : "from"} ${plain(node.label)}: ${count} events` },
    svg("title", {}, plain(node.label)),
    svg("rect", { class: "hit", x: hitX, y: middle - 13, width: room + 8, height: 18 }),
    svg("rect", { class: "node", x: side ? x - 6 : x, y: node.y, width: 6, height: node.height, rx: 1 }),
    name);
}
