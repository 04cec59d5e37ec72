// Puts the page together.

const byId = (id) => document.getElementById(id);
const tag = (name) => el("span", { class: "tag" }, el("i", { class: colour(name), "aria-hidden": "true" }), name);

HEAD.senders.forEach((row, index) => { row.index = index; });
HEAD.destinations.forEach((row, index) => { row.index = index; });

const portsOf = (row) => (row.ports ? row.ports.join(", ") + (row.more_ports ? ", …" : "") : "");
const several = (row, what) => (row.level === "several" ? ` (${what})` : "");

const SENDER_COLUMNS = [
  { name: "who", title: "Process", get: (r) => whoWhere(r).toLowerCase(), show: (r) => text(whoWhere(r) + several(r, "further ones")) },
  { name: "pid", title: "pid", kind: "right", get: (r) => r.pid, show: (r) => r.pid === undefined ? "" : String(r.pid) },
  { name: "user", title: "User", get: (r) => r.user ?? r.uid, show: (r) => text(r.user ?? r.uid ?? "") },
  { name: "unit", title: "Unit or container", get: (r) => r.container ?? r.unit, show: (r) => text(r.container ? cut(r.container, 20) : r.unit ?? "") },
  { name: "n", title: "Events", kind: "right", get: (r) => r.n, show: (r) => number(r.n) },
  { name: "bytes", title: "Bytes", kind: "right", get: (r) => r.bytes, show: (r) => size(r.bytes) },
  { name: "first", kind: "time", title: "First", get: (r) => r.first, show: (r) => brief(r.first) },
  { name: "last", kind: "time", title: "Last", get: (r) => r.last, show: (r) => brief(r.last) },
  { name: "command", title: "Command", get: (r) => r.cmdline?.join(" ") ?? r.exe, show: (r) => el("code", {}, text(cut(commandLine(r) || r.exe || "", 300))) },
];
const DESTINATION_COLUMNS = [
  { name: "whom", title: "Destination", get: (r) => whom(r), show: (r) => text(whom(r) + several(r, "further ones")) },
  { name: "dst", title: "Address", get: (r) => r.dst, show: (r) => r.dst ?? "" },
  { name: "ports", title: "Ports", get: (r) => r.ports?.[0], show: (r) => cut(portsOf(r), 40) },
  { name: "n", title: "Events", kind: "right", get: (r) => r.n, show: (r) => number(r.n) },
  { name: "bytes", title: "Bytes", kind: "right", get: (r) => r.bytes, show: (r) => size(r.bytes) },
  { name: "first", kind: "time", title: "First", get: (r) => r.first, show: (r) => brief(r.first) },
  { name: "last", kind: "time", title: "Last", get: (r) => r.last, show: (r) => brief(r.last) },
];
const REQUEST_COLUMNS = [
  { name: "time", kind: "time", title: "Time", get: (e) => own(e, "time"), show: (e) => brief(own(e, "time")) },
  { name: "proto", title: "Protocol", get: (e) => senderOf(e).proto, show: (e) => tag(senderOf(e).proto) },
  { name: "who", title: "Process", get: (e) => whoWhere(senderOf(e)).toLowerCase(), show: (e) => text(whoWhere(senderOf(e))) },
  { name: "pid", title: "pid", kind: "right", get: (e) => senderOf(e).pid, show: (e) => senderOf(e).pid === undefined ? "" : String(senderOf(e).pid) },
  { name: "evidence", title: "Evidence", get: (e) => senderOf(e).evidence, show: (e) => senderOf(e).evidence },
  { name: "to", title: "To", get: (e) => whom(placeOf(e)), show: to },
  { name: "request", title: "Request", get: (e) => e[3], show: (e) => text(cut(e[3], 160)) },
  { name: "len", title: "Bytes", kind: "right", get: (e) => own(e, "len"), show: (e) => number(own(e, "len")) },
];
function to(event) {
  const place = placeOf(event);
  const out = document.createDocumentFragment();
  if (place.dst_name) out.append(text(cut(place.dst_name, 50)), " ");
  out.append(el("span", { class: place.dst_name ? "soft" : null }, endpoint(place)));
  return out;
}

// Words are looked for in the parts first, of which there are few, then in the rest.
function matchEvents(words) {
  const inPart = words.map((word) => PARTS.map((p) => !Array.isArray(p) && partText(p).includes(word)));
  return (event) => words.every((word, i) => inPart[i][event[1]] || inPart[i][event[2]] || ownText(event).includes(word));
}
const cache = new Map();
function cached(key, make) {
  let value = cache.get(key);
  if (value === undefined) cache.set(key, (value = make(key)));
  return value;
}
const textOf = (value) => (value && typeof value === "object" ? Object.values(value).map(textOf).join(" ") : String(value));
const partText = (part) => cached(part, (p) => textOf(p).toLowerCase());
const ownText = (event) => cached(event, (e) => textOf(e.slice(3)).toLowerCase());

const senders = new Table(byId("senders"), { rows: HEAD.senders, columns: SENDER_COLUMNS, match: inText((r) => `${whoWhere(r)} ${textOf(r)}`), details: (r) => partyDetails(r, 0), sort: "n", ascending: false, label: "processes", page: 20 });
const destinations = new Table(byId("destinations"), { rows: HEAD.destinations, columns: DESTINATION_COLUMNS, match: inText(textOf), details: (r) => partyDetails(r, 1), sort: "n", ascending: false, label: "destinations", page: 20 });
const requests = new Table(byId("requests"), { rows: EVENTS, columns: REQUEST_COLUMNS, match: matchEvents, details: eventDetails, sort: "time", ascending: true, label: "requests", page: 50 });

let release;
const toRequests = () => { byId("requests").scrollIntoView(); byId("requests").focus({ preventScroll: true }); };
function pickTime(from, to, label) {
  if (from === undefined) { requests.filter("time"); return; }
  requests.filter("time", label, (e) => { const t = Date.parse(own(e, "time")); return t >= from && t < to; });
  byId("requests").focus({ preventScroll: true });
}
function pickEnd(side, name) {
  const of = side ? (e) => whom(placeOf(e)) : (e) => whoWhere(senderOf(e));
  requests.filter(side ? "to" : "from", `${side ? "to" : "from"} ${name}`, (e) => of(e) === name);
  toRequests();
}
requests.filtered = (key) => { if (key === "time" && !requests.filters.has("time")) release?.(); };

const fact = (name, value, wide) => (value === undefined || value === null || value === "" ? null : el("div", { class: wide && "wide" }, el("dt", {}, name), el("dd", {}, value)));
function header() {
  const { about, ledger, span: range } = HEAD;
  const day = (iso) => when(iso).slice(0, 19);
  byId("title").textContent = `${number(HEAD.total)} ${HEAD.total === 1 ? "request" : "requests"}, and who sent them`;
  byId("range").textContent = range ? `${day(range[0])} to ${oneDay() ? day(range[1]).slice(11) : day(range[1])} ${zoneName()}` : "No request was found.";
  const lost = ledger.lost ? ` · ${number(ledger.lost)} lost` : " · none lost";
  byId("facts").replaceChildren(...[
    fact("Read from", text(about.source)),
    fact("Packets", `${number(ledger.seen)} seen · ${number(ledger.shown)} shown${lost}`),
    fact("Bytes in those", size(HEAD.bytes)),
    fact("Protocols", HEAD.protocols.join(", ")),
    fact("Made", `${day(about.made)} ${zoneName()}`),
    fact("Made on", [about.host, about.kernel && `Linux ${about.kernel}`].filter(Boolean).map(plain).join(", ")),
    fact("Made by", `sentby ${about.version}`),
    fact("Filters and options", el("code", {}, text(about.command)), true),
  ].filter(Boolean));
  document.title = `sentby report: ${plain(about.source)}`;
}
const notice = (words) => byId("notices").append(el("p", { class: "notice" }, text(words)));
function notices() {
  const { about, ledger, limits } = HEAD;
  if (about.failed) notice(`The source could not be read to its end: ${about.failed}. This page has what came before.`);
  if (ledger.lost) notice(`${number(ledger.lost)} requests were lost, and are in no count here.`);
  if (ledger.left) notice(`Stopped early: ${number(ledger.left)} packets were not read any more.`);
  about.notes.forEach(notice);
  for (const [what, name] of [["senders", "processes"], ["destinations", "destinations"]]) {
    const n = limits[what].several + limits[what].rest;
    if (n) notice(`The table of ${name} has ${number(limits.rows)} rows of their own; ${number(n)} events of further ones are counted in rows for several.`);
  }
  if (limits.folded) notice(`${number(limits.folded)} events are missing from the picture of who to whom: it counts ${number(limits.flows)} pairs at the most. The tables count them.`);
  byId("kept").textContent = kept(limits);
}
function kept(limits) {
  if (limits.kept === HEAD.total) return "All events are here. Press one for everything that is known about it.";
  const rule = limits.every > 1 ? `of each sender, destination and protocol the first ${limits.first}, then every ${number(limits.every)}th` : "";
  const closed = limits.closed ? " Later ones had no room." : "";
  return `${number(limits.kept)} of ${number(HEAD.total)} events are here in full: ${rule}. The counts above are of all of them.${closed}`;
}
function ledgerList() {
  const { ledger } = HEAD;
  const rows = Object.entries(ledger).filter(([, v]) => typeof v === "number");
  const nested = ["lost_by", "details_lost"].flatMap((k) => Object.entries(ledger[k] || {}).map(([place, n]) => [`${k}: ${place}`, n]));
  byId("ledger").replaceChildren(...[...rows, ...nested].flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, number(v))]));
  byId("evidence").replaceChildren(...HEAD.evidence.flatMap((e) => [el("dt", {}, e.name), el("dd", {}, `${number(e.n)}: ${e.meaning}`)]));
}
function pictures() {
  release = timeline(document.querySelector("#timeline figure"), pickTime);
  flows(document.querySelector("#flows figure"), pickEnd);
}
function everything() {
  header();
  pictures();
  [senders, destinations, requests].forEach((t) => t.draw());
}

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";
byId("local-zone").textContent = zone;
document.querySelector(".zone").hidden = zone === "UTC";
for (const radio of document.querySelectorAll("[name=zone]")) radio.addEventListener("change", () => { localTime = radio.value === "local"; everything(); });
header();
notices();
ledgerList();
pictures();
let drawnAt = window.innerWidth;
window.addEventListener("resize", debounced(() => { if (window.innerWidth !== drawnAt) { drawnAt = window.innerWidth; pictures(); } }, 200));
document.documentElement.dataset.ready = "yes";
