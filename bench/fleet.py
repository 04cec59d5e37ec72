#!/usr/bin/env python3
"""What a fleet asks of its servers of NATS: measured here on a small scale, and computed from
that for a large one. As root:

    bench/fleet.py target/x86_64-unknown-linux-gnu/release/sentby [HOSTS]

Measured, all on this machine and over loopback:
  - bytes of one message of each protocol in the stream, as real clients make them
  - messages a second that one server takes, and three that each keep all, from publishers
    that work as agents do; and the CPU time that the servers take for one
  - what a stream with a subject for each of HOSTS (10,000) machines and each protocol costs:
    memory, the time to start again, the time a watcher takes
Computed: rates, storage and memory of a fleet. It takes three minutes and less than 2 GB of
disk below TMPDIR. NATS_SERVER names another nats-server.
"""
import datetime
import json
import os
import resource
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

NATS = os.environ.get("NATS_SERVER", "nats-server")
PROTOCOLS = ["icmp", "http", "tls", "dns", "connect"]
# Requests of each protocol that are measured.
EACH = 100
# What an agent has on its way at once.
WINDOW = 512
SECONDS = 8
# Messages of the stream with all hosts.
FILL = 500_000
IDLE = 2000
# Of 100 events of an imagined machine, and events a second.
MIX = {"icmp": 1, "http": 9, "tls": 20, "dns": 30, "connect": 40}
RATES = [1, 10, 100]
# How long ids are known.
KNOWN_FOR = 600


def until(what, found, patience=60):
    end = time.time() + patience
    while time.time() < end:
        result = found()
        if result:
            return result
        time.sleep(0.02)
    sys.exit("bench/fleet.py: " + what)


def cpu(pid):
    with open("/proc/%d/stat" % pid) as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    """MB."""
    with open("/proc/%d/status" % pid) as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


class Servers:
    """One server, or several that are a cluster."""

    def __init__(self, folder, count):
        self.folder, self.count, self.processes = folder, count, []
        for n in range(count):
            self.processes.append(self.start(n))
        self.wait()

    def start(self, n):
        words = [NATS, "-n", "s%d" % n, "-a", "127.0.0.1", "-p", str(14222 + n), "-js",
                 "-sd", "%s/s%d" % (self.folder, n), "-m", str(18222 + n)]
        if self.count > 1:
            routes = ["nats://127.0.0.1:%d" % (16222 + k) for k in range(self.count) if k != n]
            words += ["--cluster_name", "fleet", "--cluster", "nats://127.0.0.1:%d" % (16222 + n),
                      "--routes", ",".join(routes)]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait(self):
        def well():
            try:
                for n in range(self.count):
                    urllib.request.urlopen("http://127.0.0.1:%d/healthz" % (18222 + n), timeout=5)
                return True
            except OSError:
                return False
        until("the servers do not start", well)

    def url(self):
        return ",".join("nats://127.0.0.1:%d" % (14222 + n) for n in range(self.count))

    def ask(self, subject, body):
        with socket.create_connection(("127.0.0.1", 14222), timeout=30) as nats:
            text = json.dumps(body).encode()
            nats.sendall(b'CONNECT {"verbose":false}\r\nSUB box 1\r\nPUB %s box %d\r\n%s\r\n'
                         % (subject.encode(), len(text), text))
            lines = nats.makefile("rb")
            for line in lines:
                if line.startswith(b"MSG "):
                    return json.loads(lines.read(int(line.split()[-1])))

    def make_stream(self):
        config = {"name": "sentby", "subjects": ["sentby.>"], "num_replicas": self.count,
                  "storage": "file", "retention": "limits", "discard": "old",
                  "duplicate_window": KNOWN_FOR * 10**9}
        until("no stream", lambda: "config" in (self.ask("$JS.API.STREAM.CREATE.sentby", config) or {}))

    def state(self):
        return (self.ask("$JS.API.STREAM.INFO.sentby", {}) or {}).get("state")

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.folder)


def with_servers(count, work):
    servers = Servers(tempfile.mkdtemp(prefix="sentby-fleet-bench-"), count)
    try:
        return work(servers)
    finally:
        servers.end()


# Bytes of a message.

def serve(folder):
    """HTTP on port 18080, TLS on 18443, DNS on port 53 of 127.0.0.53 that nobody answers."""
    cert = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
            "-keyout", folder + "/key", "-out", folder + "/cert"]
    subprocess.run(cert, check=True, stderr=subprocess.DEVNULL)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.PIPE}
    http = [sys.executable, "-m", "http.server", "18080", "--bind", "127.0.0.1"]
    tls = ["openssl", "s_server", "-accept", "127.0.0.1:18443", "-www",
           "-key", folder + "/key", "-cert", folder + "/cert"]
    servers = [subprocess.Popen(words, **quiet) for words in (http, tls)]
    for port in (18080, 18443):
        until("no server", lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    return servers


CLIENTS = {
    "icmp": ["ping", "-q", "-c", "1", "127.0.0.1"],
    "http": ["curl", "-s", "-o", "/dev/null", "http://localhost:18080/"],
    "tls": ["curl", "-sk", "-o", "/dev/null", "https://localhost:18443/"],
    "dns": ["dig", "+tries=1", "+time=1", "@127.0.0.1", "-p", "53", "www.example.com"],
    "connect": ["curl", "-s", "-o", "/dev/null", "http://localhost:18080/"],
}


def message_bytes(binary, servers, protocol):
    """Of one message in the stream, with its headers."""
    ready = servers.folder + "/ready"
    words = [binary, "agent", protocol, "--config", "/dev/null", "--nats", servers.url(),
             "--nats-linger", "30s", "--spool", servers.folder + "/spool", "--ready-file", ready,
             "--comm", CLIENTS[protocol][0], "--comm", "isc-net-*"]
    agent = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    until("the agent is not ready", lambda: os.path.exists(ready))
    for _ in range(EACH):
        subprocess.run(CLIENTS[protocol], stdout=subprocess.DEVNULL)
    agent.terminate()
    agent.wait()
    os.remove(ready)
    state = servers.state()
    servers.ask("$JS.API.STREAM.DELETE.sentby", {})
    return state["messages"], state["bytes"] / max(state["messages"], 1)


def measure_bytes(binary):
    def work(servers):
        clients = serve(servers.folder)
        try:
            return {p: message_bytes(binary, servers, p) for p in PROTOCOLS}
        finally:
            for process in clients:
                process.kill()
                process.wait()
    return with_servers(1, work)


# Messages a second.

def events(size):
    """An event of each protocol, of so many bytes, without its host (HOST)."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
    made = []
    for protocol in PROTOCOLS:
        value = {"time": now, "proto": protocol, "evidence": "task", "hook": "cgroup_skb", "pid": 7,
                 "start": now, "comm": "client", "cmdline": ["client", ""], "uid": 0,
                 "src": "192.0.2.1", "dst": "192.0.2.2", "len": 60, protocol: {},
                 "host": "host-HOST"}
        value["cmdline"][1] = "x" * max(0, int(size) - len(json.dumps(value)) - 1)
        made.append(json.dumps(value).encode())
    return made


class Publisher:
    """A connection that sends as an agent does: a window, and then all acknowledgements."""

    def __init__(self, number, port, hosts, events, ids):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nSUB box.%d 1\r\n' % number)
        self.number, self.hosts, self.events, self.ids = number, hosts, events, ids
        self.sent, self.missing, self.tail = 0, 0, b""

    def message(self):
        host = self.hosts[self.sent // len(PROTOCOLS) % len(self.hosts)]
        of = self.sent % len(PROTOCOLS)
        subject = "sentby.host-%05d.%s" % (host, PROTOCOLS[of])
        payload = self.events[of].replace(b"HOST", b"%05d" % host)
        # As long as the agent's: a boot's id, the run's and a number.
        id = "2c5e9d0a-7f4b-4c1e-9a57-%012x.1b4f3d2c1a.%d" % (self.number, self.sent)
        head = b"NATS/1.0\r\nNats-Msg-Id:%s\r\n\r\n" % id.encode() if self.ids else b"NATS/1.0\r\n\r\n"
        self.sent += 1
        sizes = (subject.encode(), self.number, len(head), len(head) + len(payload))
        return b"HPUB %s box.%d %d %d\r\n" % sizes + head + payload + b"\r\n"

    def send(self, count):
        self.socket.sendall(b"".join(self.message() for _ in range(count)))
        self.missing += count

    def receive(self):
        data = self.socket.recv(1 << 16)
        if not data:
            sys.exit("bench/fleet.py: a server has closed the connection")
        if b"PING\r\n" in data:
            self.socket.sendall(b"PONG\r\n")
        # One acknowledgement is one of these words, which a piece may be cut within.
        word = b'"seq":'
        data = self.tail + data
        self.missing -= data.count(word)
        self.tail = data[-(len(word) - 1):]


def publish(servers, publishers, hosts, made, most=None, ids=True):
    """Messages, seconds, and CPU seconds of each server."""
    own = [list(range(n, hosts, publishers)) for n in range(publishers)]
    all_of_them = [Publisher(n, 14222 + n % servers.count, own[n], made, ids)
                   for n in range(publishers)]
    selector = selectors.DefaultSelector()
    for publisher in all_of_them:
        selector.register(publisher.socket, selectors.EVENT_READ, publisher)
    before, began = [cpu(p.pid) for p in servers.processes], time.time()
    window = WINDOW if publishers < 20 else 32
    for publisher in all_of_them:
        publisher.send(window)
    busy = len(all_of_them)
    while busy:
        for key, _ in selector.select():
            publisher = key.data
            publisher.receive()
            if publisher.missing:
                continue
            done = sum(p.sent for p in all_of_them)
            if done >= most if most else time.time() - began >= SECONDS:
                busy -= 1
                selector.unregister(publisher.socket)
            else:
                publisher.send(window)
    took = time.time() - began
    used = [cpu(p.pid) - b for p, b in zip(servers.processes, before)]
    for publisher in all_of_them:
        publisher.socket.close()
    return sum(p.sent for p in all_of_them), took, used


def measure_rate(count, publishers, hosts, made):
    def work(servers):
        servers.make_stream()
        messages, took, used = publish(servers, publishers, hosts, made)
        stored = servers.state()["messages"]
        if stored != messages:
            sys.exit("bench/fleet.py: %d messages were sent, and %d are there" % (messages, stored))
        return messages / took, sum(used) / messages * 1e6, max(used) / messages * 1e6
    return with_servers(count, work)


# A stream with all hosts.

def restart(servers):
    """Seconds until the stream is there again after a kill."""
    servers.processes[0].kill()
    servers.processes[0].wait()
    began = time.time()
    servers.processes[0] = servers.start(0)

    def there():
        try:
            return servers.state()
        except OSError:
            return None
    until("the stream does not come back", there, 300)
    return time.time() - began


def watched(binary, servers, *more):
    """Seconds, and events."""
    began = time.time()
    words = [binary, "watch", "--nats", servers.url(), "--since", "1h", "--no-follow", "--json"]
    out = subprocess.run(words + list(more), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return time.time() - began, out.stdout.count(b"\n")


def measure_stream(binary, hosts, made):
    def work(servers):
        servers.make_stream()
        pid = servers.processes[0].pid
        told = {"memory at first": resident(pid)}
        publish(servers, 10, hosts, made, FILL)
        told["memory"], state = resident(pid), servers.state()
        told["subjects"], told["bytes"] = state.get("num_subjects"), state["bytes"]
        told["one host"] = watched(binary, servers, "--on", "host-%05d" % (hosts // 2))
        told["one protocol"] = watched(binary, servers, "icmp")
        told["all"] = watched(binary, servers)
        told["restart"] = restart(servers)
        pid = servers.processes[0].pid
        before = resident(pid)
        idle = [socket.create_connection(("127.0.0.1", 14222)) for _ in range(IDLE)]
        for n, connection in enumerate(idle):
            connection.sendall(b'CONNECT {"verbose":false}\r\nSUB _INBOX.%d.* 1\r\nPING\r\n' % n)
        for connection in idle:
            while b"PONG" not in connection.recv(1 << 16):
                pass
        told["memory of a connection"] = (resident(pid) - before) / IDLE
        return told
    return with_servers(1, work)


def measure_ids(hosts, made):
    """MB that a server needs with ids, and without."""
    def work(ids):
        def fill(servers):
            servers.make_stream()
            publish(servers, 10, hosts, made, FILL, ids)
            return resident(servers.processes[0].pid)
        return fill
    return [with_servers(1, work(ids)) for ids in (True, False)]


def main():
    binary = os.path.abspath(sys.argv[1])
    hosts = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    version = subprocess.run([NATS, "--version"], stdout=subprocess.PIPE, check=True).stdout.decode()
    print("Measured: %s, %d cores, servers and publishers on the same" % (version.strip(), os.cpu_count()))
    sizes = measure_bytes(binary)
    for protocol, (messages, size) in sizes.items():
        print("  %-8s %4d messages of %d bytes" % (protocol, messages, size))
    mean = sum(MIX[p] * sizes[p][1] for p in PROTOCOLS) / 100
    # What a stream adds to an event: subject, id, and its own.
    made = events(mean - 134)
    cost = {}
    for count in (1, 3):
        for publishers in (1, 10, 100):
            rate, each, leader = measure_rate(count, publishers, hosts, made)
            cost[count] = each
            print("  %d server(s), %3d publishers: %6d messages/s, %.1f us of CPU for one, "
                  "%.1f of the busiest server" % (count, publishers, rate, each, leader))
    told = measure_stream(binary, hosts, made)
    print("  a stream of %d messages, %.0f bytes each, at %s subjects:"
          % (FILL, told["bytes"] / FILL, told["subjects"]))
    print("    memory of the server %.0f MB (%.0f MB at first), there again after a kill in %.1f s"
          % (told["memory"], told["memory at first"], told["restart"]))
    for what in ("one host", "one protocol", "all"):
        print("    a watcher of %s: %.2f s, %d events" % (what, *told[what]))
    print("    a connection: %.0f kB" % (told["memory of a connection"] * 1024))
    with_ids, without = measure_ids(hosts, made)
    id_bytes = (with_ids - without) * (1 << 20) / FILL
    print("    an id: %.0f bytes of memory (%.0f MB with ids, %.0f MB without)"
          % (id_bytes, with_ids, without))
    print("Computed: %d hosts, of 100 events %s; a message is %.0f bytes" % (
        hosts, ", ".join("%d %s" % (n, p) for p, n in MIX.items()), mean))
    print("  connections of one server of three: %.1f GB"
          % (hosts / 3 * told["memory of a connection"] / 1024))
    for rate in RATES:
        messages = hosts * rate
        print("  %3d events/s a host: %8d messages/s, %6.1f MB/s, %7.2f TB a day and copy, "
              "%6.1f cores for three copies, %6.1f GB for ids of %d s a server"
              % (rate, messages, messages * mean / 1e6, messages * mean * 86_400 / 1e12,
                 messages * cost[3] / 1e6, messages * KNOWN_FOR * id_bytes / 1e9, KNOWN_FOR))


main()
