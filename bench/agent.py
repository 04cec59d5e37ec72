#!/usr/bin/env python3
"""What the agent costs at rest and at a steady rate, by its outputs. As root:

    bench/agent.py target/x86_64-unknown-linux-gnu/release/sentby [RATE [OUTPUT...]]

The events are DNS queries over loopback. CPU time is the agent's own, of all its threads, as
/proc tells it, in percent of one core; memory is what is resident at the end.
"""
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

SECONDS = 10
NATS = 14222
QUERY = bytes.fromhex("123401000001000000000000") + b"\x07example\x03com\x00\x00\x01\x00\x01"


def cpu(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def send(rate):
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    began, sent = time.time(), 0
    while time.time() - began < SECONDS:
        while sent < (time.time() - began) * rate:
            sender.send(QUERY)
            sent += 1
        time.sleep(0.002)


def serve(folder):
    """A server of NATS: Debian's, or the one that NATS_SERVER names."""
    server = os.environ.get("NATS_SERVER", "nats-server")
    words = [server, "-a", "127.0.0.1", "-p", str(NATS), "-js", "-sd", f"{folder}/jetstream"]
    return subprocess.Popen(words, stderr=subprocess.DEVNULL)


def measure(binary, rate, name, outputs):
    with tempfile.TemporaryDirectory() as folder:
        server = serve(folder) if "--nats" in outputs else None
        ready = f"{folder}/ready"
        command = [binary, "agent", "dns", "--no-names", "--config", "/dev/null"]
        command += ["--ready-file", ready] + [text.format(folder) for text in outputs]
        agent = subprocess.Popen(command, stderr=subprocess.PIPE)
        while not os.path.exists(ready):
            time.sleep(0.02)
        figures = []
        for work in (lambda: time.sleep(SECONDS), lambda: send(rate)):
            before = cpu(agent.pid)
            work()
            figures.append((cpu(agent.pid) - before) * 100 / SECONDS)
            figures.append(resident(agent.pid))
        agent.send_signal(signal.SIGTERM)
        told = [line for line in agent.communicate()[1].decode().splitlines() if "output" in line]
        if server:
            server.kill()
            server.wait()
    print("%-10s at rest %.1f %% %.0f MB; at %d/s %.1f %% %.0f MB; %s"
          % (name, figures[0], figures[1], rate, figures[2], figures[3], "; ".join(told)))


def main():
    binary, rate = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    outputs = {
        "prometheus": ["--prometheus", "19817"],
        "json": ["--json", "{}/events.json"],
        "record": ["--record", "{}/events.db"],
    }
    outputs["all three"] = [word for words in outputs.values() for word in words]
    outputs["nats"] = ["--nats", f"nats://127.0.0.1:{NATS}", "--spool", "{}/spool"]
    outputs["max-cpu"] = outputs["nats"] + outputs["json"] + outputs["prometheus"]
    outputs["max-cpu"] += ["--max-cpu", "2%"]
    wanted = sys.argv[3:] or outputs
    for name in wanted:
        measure(binary, rate, name, outputs[name])


main()
