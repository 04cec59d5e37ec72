// The data, read once, and what is asked of it. An event is an array: [shape, sender,
// destination, summary, ...values]; the first three are numbers of parts that others
// share, and the shape names the values.

const read = (id) => {
  const block = document.getElementById(id);
  const value = JSON.parse(block.textContent);
  block.remove();
  return value;
};
const HEAD = read("head");
const { parts: PARTS, events: EVENTS } = read("events");
const DOCS = new Map(HEAD.docs);
const EVIDENCE = new Map(HEAD.evidence.map((e) => [e.name, e.meaning]));

const NUMBERS = new Intl.NumberFormat("en");
const number = (n) => (typeof n === "number" ? NUMBERS.format(n) : n ?? "");

// A value of an event's own by its name, e.g. "time".
const positions = new Map();
function own(event, name) {
  let at = positions.get(event[0]);
  if (!at) {
    at = new Map(PARTS[event[0]].map((n, i) => [n, i + 4]));
    positions.set(event[0], at);
  }
  return event[at.get(name)];
}
const senderOf = (event) => PARTS[event[1]];
const placeOf = (event) => PARTS[event[2]];

// All fields of an event, in the documented order; those of the protocol as "proto.name".
function fieldsOf(event) {
  const all = { ...senderOf(event), ...placeOf(event) };
  PARTS[event[0]].forEach((name, i) => { all[name] = event[i + 4]; });
  return ordered(all);
}
function ordered(all) {
  const fields = new Map();
  for (const name of DOCS.keys()) {
    if (name in all) fields.set(name, all[name]);
    if (`${name}_hex` in all) fields.set(`${name}_hex`, all[`${name}_hex`]);
  }
  // What this script does not know is shown all the same.
  for (const name of Object.keys(all)) if (!fields.has(name)) fields.set(name, all[name]);
  return fields;
}
// An event as --json prints it.
function asJson(fields) {
  const object = {};
  const inner = {};
  const proto = fields.get("proto");
  for (const [name, value] of fields) {
    if (name.startsWith(`${proto}.`)) inner[name.slice(proto.length + 1)] = value;
    else object[name] = value;
  }
  return JSON.stringify({ ...object, [proto]: inner }, null, 1);
}

const base = (path) => path && path.slice(path.lastIndexOf("/") + 1);

// Who sent it, in a word: of an event's sender, or of a row of senders.
function who(sender) {
  if (sender.level === "rest") return "further processes";
  if (sender.candidates) return `one of ${[...new Set(sender.candidates.map((c) => c.comm))].join(", ")}`;
  return sender.process_comm || sender.comm || base(sender.exe) || nobody(sender);
}
// With its machine, where events of several came together.
const whoWhere = (sender) => (sender.host ? `${who(sender)} on ${sender.host}` : who(sender));
function nobody(sender) {
  if (sender.pid) return `pid ${sender.pid}`;
  return sender.kernel_part ? `kernel: ${sender.kernel_part}` : `(${sender.evidence})`;
}
// Whom to, in a word.
const whom = (place) => (place.level === "rest" ? "further destinations" : place.dst_name || place.dst);
const endpoint = (place) =>
  place.dport === undefined ? place.dst : place.dst.includes(":") ? `[${place.dst}]:${place.dport}` : `${place.dst}:${place.dport}`;
const commandLine = (sender) => (sender.cmdline || []).map((a) => (/^[\w@%+=:,./-]+$/.test(a) ? a : `'${a}'`)).join(" ");

// Times: RFC 3339, UTC, nine decimals, so that they sort as text.
let localTime = false;
const two = (n, width = 2) => String(n).padStart(width, "0");
function instant(ms) {
  const d = new Date(ms);
  if (!localTime) return d.toISOString().replace("T", " ").slice(0, 23);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${two(d.getMilliseconds(), 3)}`;
}
const when = (iso) => (iso ? instant(Date.parse(iso)) : "");
const exactly = (iso) => `${instant(Date.parse(iso)).slice(0, 19)}${iso.slice(19, 29)}`;
const oneDay = () => !HEAD.span || when(HEAD.span[0]).slice(0, 10) === when(HEAD.span[1]).slice(0, 10);
const brief = (iso) => (iso ? (oneDay() ? when(iso).slice(11) : when(iso)) : "");
const zoneName = () => (localTime ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC");

function size(bytes) {
  if (bytes === undefined || bytes === null) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let n = bytes;
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) { n /= 1000; unit += 1; }
  return `${unit && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}
