-- The first version of a recording; docs/recording.md tells what everything means.
CREATE TABLE words (id INTEGER PRIMARY KEY, word NOT NULL UNIQUE);
CREATE TABLE processes (
    id INTEGER PRIMARY KEY,
    digest INTEGER NOT NULL,
    pid INTEGER, start INTEGER, uid INTEGER, user TEXT,
    comm TEXT, exe TEXT, unit TEXT, container TEXT,
    facts TEXT NOT NULL
);
CREATE INDEX processes_by_digest ON processes (digest);
CREATE TABLE destinations (
    id INTEGER PRIMARY KEY,
    address TEXT NOT NULL, port INTEGER, name, name_from TEXT
);
CREATE INDEX destinations_by_address ON destinations (address, port);
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    late INTEGER,
    proto INTEGER NOT NULL, process INTEGER, destination INTEGER NOT NULL,
    src INTEGER NOT NULL, sport INTEGER, tid INTEGER,
    evidence INTEGER NOT NULL, hook INTEGER NOT NULL,
    netns INTEGER, iface INTEGER, socket INTEGER, shared INTEGER,
    len INTEGER, fields TEXT NOT NULL, more TEXT, packet BLOB
);
CREATE TABLE minutes (
    minute INTEGER NOT NULL, proto INTEGER NOT NULL, evidence INTEGER NOT NULL,
    process INTEGER NOT NULL, destination INTEGER NOT NULL,
    events INTEGER NOT NULL, bytes INTEGER NOT NULL, unmeasured INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (minute, proto, evidence, process, destination)
) WITHOUT ROWID;
CREATE INDEX minutes_by_process ON minutes (process, minute);
CREATE INDEX minutes_by_destination ON minutes (destination, minute);
CREATE VIEW requests AS
SELECT e.id,
       strftime('%Y-%m-%dT%H:%M:%S', (e.id - ifnull(e.late, 0)) / 1000000000, 'unixepoch')
           || printf('.%09dZ', (e.id - ifnull(e.late, 0)) % 1000000000) AS time,
       proto.word AS proto, evidence.word AS evidence, hook.word AS hook,
       p.pid, e.tid, p.comm, p.exe, p.user, p.uid, p.unit, p.container,
       json_extract(p.facts, '$.cmdline') AS cmdline,
       src.word AS src, e.sport, d.address AS dst, d.port AS dport, d.name AS dst_name,
       iface.word AS iface, e.netns, e.len, e.fields, e.more, e.packet
FROM events e
JOIN words proto ON proto.id = e.proto
JOIN words evidence ON evidence.id = e.evidence
JOIN words hook ON hook.id = e.hook
JOIN words src ON src.id = e.src
JOIN destinations d ON d.id = e.destination
LEFT JOIN words iface ON iface.id = e.iface
LEFT JOIN processes p ON p.id = e.process;
