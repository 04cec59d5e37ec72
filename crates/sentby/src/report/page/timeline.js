// Events over time, stacked by protocol.

const NICE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 216e5, 432e5, 864e5, 1728e5, 6048e5, 12096e5, 60480e5];
const HEIGHT = 170;

// Bins of the data, joined so that there are at most so many.
function joined(most) {
  const { ms, rows } = HEAD.bins;
  const first = rows[0][0] * ms;
  const last = rows[rows.length - 1][0] * ms;
  let width = NICE.find((n) => n >= ms && n % ms === 0 && (last - first) / n < most) ?? ms;
  while ((last - first) / width >= most) width *= 2;
  const begin = Math.floor(first / width);
  const bars = Array.from({ length: Math.floor(last / width) - begin + 1 }, (_, i) => ({ from: (begin + i) * width, to: (begin + i + 1) * width, n: 0, counts: HEAD.protocols.map(() => 0) }));
  for (const [at, counts] of rows) {
    const bar = bars[Math.floor((at * ms) / width) - begin];
    counts.forEach((n, p) => { bar.counts[p] += n; bar.n += n; });
  }
  return { bars, width };
}

function legend() {
  const sums = HEAD.protocols.map((_, p) => HEAD.bins.rows.reduce((sum, [, c]) => sum + c[p], 0));
  return el("ul", { class: "legend" }, ...HEAD.protocols.map((name, p) => (sums[p] ? el("li", {}, el("i", { class: colour(name) }), name, " ", el("span", {}, number(sums[p]))) : null)));
}
const spoken = (bar) => HEAD.protocols.map((name, p) => (bar.counts[p] ? `${name} ${number(bar.counts[p])}` : null)).filter(Boolean).join(", ");

function upTo(n) {
  const power = 10 ** Math.floor(Math.log10(Math.max(n, 1)));
  return [1, 2, 4, 5, 10].map((f) => f * power).find((v) => v >= n);
}

// pick(from, to) is told which bar was pressed, in milliseconds; nothing: none.
function timeline(figure, pick) {
  if (!HEAD.bins.rows.length) { figure.replaceChildren(el("p", { class: "hint" }, "No events.")); return; }
  const width = Math.max(280, figure.clientWidth);
  const { bars, width: each } = joined(Math.min(160, Math.floor(width / 7)));
  const top = upTo(Math.max(...bars.map((b) => b.n)));
  const left = 10 + 7 * number(top).length;
  const step = (width - left) / bars.length;
  const y = (n) => (n / top) * HEIGHT;
  const stamp = (ms) => (each >= 1000 ? instant(ms).slice(0, 19) : instant(ms)).slice(oneDay() ? 11 : 0);
  const readout = el("p", { class: "readout", "aria-hidden": "true" }, `A bar is ${span(each)}. Press one to see its requests.`);
  const tell = (bar) => { readout.textContent = `${stamp(bar.from)} to ${stamp(bar.to)}: ${number(bar.n)}${bar.n ? ` (${spoken(bar)})` : ""}`; };
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT + 34}`, height: HEIGHT + 34, role: "group", "aria-label": "Events over time; arrow keys move, Enter shows the requests of a bar" });
  for (const n of [0, top / 2, top]) {
    if (!Number.isInteger(n)) continue;
    const at = 8 + HEIGHT - y(n);
    drawing.append(svg("line", { class: "grid", x1: left, x2: width, y1: at, y2: at }), svg("text", { class: "axis", x: left - 6, y: at + 4, "text-anchor": "end" }, number(n)));
  }
  const groups = bars.map((bar, i) => {
    const x = left + i * step;
    const g = svg("g", { role: "button", tabindex: "-1", "aria-pressed": "false", "aria-label": `${stamp(bar.from)}: ${number(bar.n)} events${bar.n ? `, ${spoken(bar)}` : ""}`, mouseenter: () => tell(bar), focus: () => tell(bar) },
      svg("rect", { class: "hit", x, y: 8, width: step, height: HEIGHT }));
    let base = 8 + HEIGHT;
    bar.counts.forEach((n, p) => {
      if (!n) return;
      const height = Math.max(1.5, y(n));
      base -= height;
      g.append(svg("rect", { class: colour(HEAD.protocols[p]), x: x + Math.min(0.5, step / 6), y: base, width: Math.max(0.8, Math.min(40, step - Math.min(1, step / 3))), height }));
    });
    return g;
  });
  const press = (i) => {
    const on = groups[i].getAttribute("aria-pressed") !== "true";
    groups.forEach((g, j) => g.setAttribute("aria-pressed", String(on && i === j)));
    if (on) pick(bars[i].from, bars[i].to, `${stamp(bars[i].from)} to ${stamp(bars[i].to)}`);
    else pick();
  };
  roving(drawing, groups, Math.max(0, bars.findIndex((b) => b.n)), press, ["ArrowLeft", "ArrowRight"]);
  drawing.append(...groups);
  const ticks = Math.max(2, Math.floor((width - left) / 150));
  for (let t = 0; t < ticks; t += 1) {
    const i = Math.floor((t * bars.length) / ticks);
    if (t && i === Math.floor(((t - 1) * bars.length) / ticks)) continue;
    const x = left + i * step;
    drawing.append(svg("line", { class: "grid", x1: x, x2: x, y1: 8 + HEIGHT, y2: 14 + HEIGHT }), svg("text", { class: "axis", x: x + 2, y: HEIGHT + 28 }, stamp(bars[i].from)));
  }
  figure.replaceChildren(legend(), drawing, readout);
  return () => groups.forEach((g) => g.setAttribute("aria-pressed", "false"));
}

function span(ms) {
  const units = [[864e5, "day"], [36e5, "hour"], [6e4, "minute"], [1e3, "second"], [1, "millisecond"]];
  const [by, unit] = units.find(([n]) => ms >= n && ms % n === 0);
  return ms === by ? `one ${unit}` : `${number(ms / by)} ${unit}s`;
}

// One stop for the tab key; the arrow keys go on from there.
function roving(parent, items, start, press, [back, forth]) {
  if (!items.length) return;
  let at = start;
  items[at].setAttribute("tabindex", "0");
  const go = (to) => {
    items[at].setAttribute("tabindex", "-1");
    at = Math.min(items.length - 1, Math.max(0, to));
    items[at].setAttribute("tabindex", "0");
    items[at].focus();
  };
  items.forEach((item, i) => item.addEventListener("click", () => { items[at].setAttribute("tabindex", "-1"); at = i; items[at].setAttribute("tabindex", "0"); press(i); }));
  parent.addEventListener("keydown", (e) => {
    const keys = { [back]: () => go(at - 1), [forth]: () => go(at + 1), Home: () => go(0), End: () => go(items.length - 1), Enter: () => press(at), " ": () => press(at) };
    if (!keys[e.key]) return;
    e.preventDefault();
    keys[e.key]();
  });
}
