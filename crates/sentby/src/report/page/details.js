// Everything about an event, a sender or a destination.

const SENDER_LAST = "shared"; // the last field of the envelope that is about the sender
const senderFields = new Set([...DOCS.keys()].slice(0, [...DOCS.keys()].indexOf(SENDER_LAST) + 1));
const FLOW_ROWS = 12;

function shown(name, value) {
  if (name === "cmdline" || name === "cmdline_hex") return argv(value);
  if (name === "time" || name === "start" || name === "first" || name === "last") return `${exactly(value)} ${zoneName()}`;
  if (name === "evidence") return EVIDENCE.has(value) ? `${value}: ${EVIDENCE.get(value)}` : value;
  if (name === "candidates") return text(value.map((c) => `${c.comm} (${c.pid})`).join(", "));
  if (name === "len") return `${number(value)} bytes`;
  if (value === true) return "yes";
  if (value === false) return "no";
  if (Array.isArray(value)) return text(value.join(", "));
  if (value && typeof value === "object") return text(Object.entries(value).map(([k, v]) => `${k} ${v}`).join(", "));
  return text(value);
}
const argv = (list) =>
  el("ol", { class: "argv" }, ...list.map((a, i) => el("li", {}, el("span", { "aria-hidden": "true" }, String(i)), el("code", {}, a === "" ? el("span", { class: "soft" }, "(empty)") : text(a)))));

// parent, grandparent, … as a line from the oldest to the sender.
function ancestry(fields) {
  const pids = fields.get("ancestor_pids") || [];
  const line = (fields.get("ancestors") || []).map((name, i) => (pids[i] === undefined ? name : `${name} (${pids[i]})`));
  return text([...line.reverse(), `${fields.get("comm") ?? ""} (${fields.get("pid") ?? "?"})`].join(" → "));
}

function group(title, entries, fields) {
  if (!entries.length) return null;
  const list = el("dl");
  for (const [name, value] of entries) {
    if (name === "ancestor_pids") continue;
    const key = name.replace(/_hex$/, "");
    list.append(el("dt", { title: DOCS.get(key) }, name), el("dd", {}, name === "ancestors" ? ancestry(fields) : shown(name, value)));
  }
  return el("div", {}, el("h3", {}, title), list);
}

function eventDetails(event) {
  const fields = fieldsOf(event);
  const proto = fields.get("proto");
  const key = (name) => name.replace(/_hex$/, "");
  const all = [...fields];
  const ofRequest = all.filter(([n]) => n.startsWith(`${proto}.`));
  const ofSender = all.filter(([n]) => senderFields.has(key(n)) && n !== "time" && n !== "proto");
  const rest = all.filter(([n]) => !n.startsWith(`${proto}.`) && (!senderFields.has(key(n)) || n === "time" || n === "proto"));
  return el("div", { class: "detail-body" },
    group("Who", ofSender, fields),
    el("div", {}, group(`Request: ${proto}`, ofRequest, fields), group("Packet", rest, fields)),
    el("details", { class: "all" }, el("summary", {}, "As JSON"), el("pre", {}, text2json(fields))));
}
// Escaped as --json escapes: what comes out is the same JSON, line by line.
function text2json(fields) {
  return asJson(fields).replace(HIDDEN_ALL, (c) => (c === "\n" ? c : [...Array(c.length).keys()].map((i) => `\\u${two(c.charCodeAt(i).toString(16), 4)}`).join("")));
}

// The other ends of a row's flows, most events first. at: 0 for a sender, 1 for a destination.
function otherEnds(index, at) {
  const sums = new Map();
  for (const flow of HEAD.flows) if (flow[at] === index) sums.set(flow[1 - at], (sums.get(flow[1 - at]) || 0) + flow[3]);
  const most = [...sums].sort((a, b) => b[1] - a[1]);
  const label = (i) => (at === 0 ? whom(HEAD.destinations[i]) : [who(HEAD.senders[i]), HEAD.senders[i].pid].filter(Boolean).join(" "));
  const items = most.slice(0, FLOW_ROWS).map(([i, n]) => el("li", {}, el("span", { class: "soft" }, `${number(n)}× `), text(label(i))));
  if (most.length > FLOW_ROWS) items.push(el("li", { class: "soft" }, `and ${number(most.length - FLOW_ROWS)} more`));
  return items.length ? el("div", {}, el("h3", {}, at === 0 ? "Sent to" : "Sent by"), el("ul", {}, ...items)) : null;
}
const COUNTS = ["n", "bytes", "level", "ports", "more_ports", "index"];
function partyDetails(row, at) {
  const fields = ordered(Object.fromEntries(Object.entries(row).filter(([k]) => !COUNTS.includes(k))));
  return el("div", { class: "detail-body" }, group(at === 0 ? "Who" : "Where", [...fields], fields), otherEnds(row.index, at));
}
