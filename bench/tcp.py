"""The benches of requests inside of TCP, for bench/run."""
import contextlib
import json
import os
import re
import statistics
import subprocess
import time

PORT = 8099
CONNECTIONS = 64

NGINX = f"""
worker_processes 2; daemon off; pid TMP/nginx.pid; error_log /dev/null crit;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000;
    log_format combined_like '$remote_addr - $remote_user [$time_local] "$request" '
                             '$status $body_bytes_sent "$http_referer" "$http_user_agent"';
    server {{
        listen {PORT}; root TMP/www;
        location / {{ return 200 "ok"; }}
        location = /page.html {{
            sendfile on; tcp_nopush on; access_log TMP/access.log combined_like;
        }}
    }}
}}
"""

# Of the size of the page that Debian's nginx shows at first.
PAGE = b"<!DOCTYPE html>\n" + b"x" * 596


class Tcp:
    """What is measured with TCP; the rest of Bench is in bench/run."""

    def requests_traced_by(self, name, *words):
        ledger = os.path.join(self.tmp, "ledger")
        argv = [self.sentby, *words, "--quiet", "--ready-file", "READY", "--ledger", ledger]
        return self.tracer(name, argv, "file")

    def other_request_tracers(self):
        """What one would use instead: the first bytes of every send, printed."""
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
        found = [self.tracer("bpftrace, kprobe", ["bpftrace", script + "http-kprobe.bt"],
                             "program"),
                 self.tracer("BCC, kprobe", [script + "bcc-http"], "ready")]
        return [t for t in found if t.name not in self.broken]

    @contextlib.contextmanager
    def web_server(self):
        config = os.path.join(self.tmp, "nginx.conf")
        with open(config, "w", encoding="utf-8") as f:
            f.write(NGINX.replace("TMP", self.tmp))
        # The server's workers are not root.
        os.chmod(self.tmp, 0o755)
        os.makedirs(os.path.join(self.tmp, "www"), exist_ok=True)
        with open(os.path.join(self.tmp, "www", "page.html"), "wb") as f:
            f.write(PAGE)
        server = subprocess.Popen(["nginx", "-c", config], preexec_fn=self.die_with_parent)
        try:
            time.sleep(0.5)
            yield server.pid
        finally:
            server.terminate()
            server.wait()

    def one_round_of_requests(self, server, tracer_pid, path="/"):
        """Requests, requests/s, CPU ns of a request without the tracer, of the tracer."""
        before = children_ns(server), process_ns(tracer_pid)
        wrk = subprocess.Popen(
            ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{self.args.seconds}", f"http://127.0.0.1:{PORT}{path}"],
            stdout=subprocess.PIPE, text=True, preexec_fn=self.die_with_parent)
        said = wrk.stdout.read()
        _, _, used = os.wait4(wrk.pid, 0)
        wrk.returncode = 0
        client = (used.ru_utime + used.ru_stime) * 1e9
        time.sleep(0.2)  # what is queued still has to be shown
        served = children_ns(server) - before[0]
        traced = process_ns(tracer_pid) - before[1]
        requests = int(re.search(r"(\d+) requests in", said)[1])
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
        return requests, rate, (client + served) / requests, traced / requests

    def bench_http(self):
        """nginx under wrk with 64 connections, on loopback: what tracing each request costs.

        The server does as little as a server can: it answers "ok" and logs nothing."""
        self.requests_of("/")

    def bench_page(self):
        """The same of a server as it is installed: a small file, and a line in the log."""
        self.requests_of("/page.html")

    def requests_of(self, path):
        # Not --dst: what one would use instead has no filter either.
        variants = [self.nothing("nothing")]
        variants += [self.empty("cgroup", self.cgroup)] if self.cgroup else []
        variants += [self.requests_traced_by("sentby http --json", "http", "--json"),
                     self.requests_traced_by("sentby http", "http"),
                     self.requests_traced_by("sentby tls", "tls"),
                     *self.other_request_tracers()]
        got = {v.name: [] for v in variants}
        with self.web_server() as server:
            self.one_round_of_requests(server, 0, path)
            for turn in range(self.args.rounds):
                order = variants if turn % 2 else variants[::-1]
                for v in [v for v in order if v.name not in self.broken]:
                    with self.skipping_broken(v):
                        with v.running(self) as process:
                            pid = process.pid if process else 0
                            row = self.one_round_of_requests(server, pid, path)
                        got[v.name].append((*row, *self.counted(v)))
            last = {v.name: self.lines_of(v, server, path) for v in variants
                    if v.name not in self.broken and v.name.startswith(("bpf", "BCC"))}
        self.show_requests({n: rows for n, rows in got.items() if rows}, last)

    def counted(self, v):
        """Events shown and lost, by sentby's ledger."""
        if "--ledger" not in getattr(v, "argv", []):
            return None, None
        with open(v.argv[-1], encoding="utf-8") as f:
            ledger = json.load(f)
        return ledger["shown"], ledger["lost"]

    def lines_of(self, v, server, path):
        """One more round, into a file: lines printed for each request."""
        name = os.path.join(self.tmp, "out")
        with open(name, "w+b") as out:
            with v.running(self, out=out) as process:
                requests, *_ = self.one_round_of_requests(server, process.pid, path)
                time.sleep(1)
            return sum(b"GET /" in line for line in open(name, "rb")) / requests

    def show_requests(self, got, last):
        reference = got["nothing"]
        rows = []
        for name, rounds in got.items():
            pairs = list(zip(rounds, reference))
            rate = sorted(a[1] / b[1] for a, b in pairs)
            cpu = sorted(b[2] / (a[2] + a[3]) for a, b in pairs)
            shown = [r[4] / r[0] for r in rounds if r[4] is not None]
            lost = sum(r[5] for r in rounds if r[5] is not None)
            rows.append([
                name, f"{statistics.median(r[1] for r in rounds):.0f}", self.around(rate),
                self.around(cpu), f"{statistics.median(r[3] for r in rounds):.0f}",
                f"{statistics.median(shown):.4f}" if shown else
                f"{last[name]:.2f}" if name in last else "–",
                f"{lost}" if shown else "–"])
        self.table(["", "requests/s", "to nothing", "by CPU time", "tracer's ns/request",
                    "events/request", "lost"], rows)
        print(f"{len(reference)} rounds of {self.args.seconds} s, {CONNECTIONS} connections; by CPU time: "
              "that of client and server for a request, to that of all three with a tracer, "
              "which others on the machine disturb less; events of requests in flight count too")

    def bench_bulk(self):
        """What a sender pays whose data is not asked for: large writes, and small ones."""
        variants = [self.nothing("nothing")]
        variants += [self.empty("cgroup", self.cgroup)] if self.cgroup else []
        variants += [self.requests_traced_by("sentby http", "http"),
                     self.requests_traced_by("sentby all", "all"),
                     self.requests_traced_by("sentby icmp", "icmp"),
                     *self.other_request_tracers()]
        for size, writes in ((65536, 400), (64, 4000)):
            print(f"\n{size} bytes a write:\n")
            self.show_turns(*self.take_turns(variants, f"tcp {size}", writes, 20, 0),
                            unit="write")


def children_ns(pid):
    """CPU time of a process's children so far, in nanoseconds."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
        return sum(process_ns(int(child)) for child in f.read().split())


def process_ns(pid):
    """CPU time of all threads of a process so far; of process 0: none."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task") if pid else []:
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="utf-8") as f:
            total += int(f.read().split()[0])
    return total
