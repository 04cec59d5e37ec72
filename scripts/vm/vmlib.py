"""Shared by `fetch` and `run`: the cache, the list of kernels, cpio, errors.

Python 3 standard library only.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
PROGRAM = "vm/" + os.path.basename(sys.argv[0])


class Failure(Exception):
    """Ends the program with one line on stderr."""


def cache_dir():
    path = os.environ.get("SENTBY_VM_CACHE") or os.path.join(
        os.path.expanduser("~"), ".cache", "sentby-vm")
    os.makedirs(path, exist_ok=True)
    return os.path.realpath(path)


def kernels():
    """kernels.tsv as {name: (suites, compiled regex)}, in the file's order."""
    found = {}
    with open(os.path.join(HERE, "kernels.tsv"), encoding="utf-8") as table:
        for line in table:
            if line.strip() and not line.startswith("#"):
                name, suites, regex = line.rstrip("\n").split("\t")
                found[name] = (suites.split(","), re.compile(regex))
    return found


def read_text(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def version_key(version):
    """Sorts 6.12.9 before 6.12.107, and 7.2-rc1 or 7.2~rc1 before 7.2.1."""
    return [(1, int(part), "") if part.isdigit() else (0, 0, part)
            for part in re.findall(r"\d+|[^\d]+", version)]


class Cpio:
    """Writes a newc archive, the format of an initramfs, as root's files."""

    def __init__(self, out):
        self.out = out
        self.inode = 0
        self.made = set()

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        self.inode += 1
        raw = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0,
                  rdev[0], rdev[1], len(raw), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        self.out.write(head + b"\0" * (-len(head) % 4))
        self.out.write(data)
        self.out.write(b"\0" * (-len(data) % 4))

    def directory(self, name):
        if name and name not in self.made:
            self.directory(os.path.dirname(name))
            self.made.add(name)
            self._entry(name, 0o040755)

    def file(self, name, data, mode=0o644):
        self.directory(os.path.dirname(name))
        self._entry(name, 0o100000 | mode, data)

    def character_device(self, name, major, minor):
        self.directory(os.path.dirname(name))
        self._entry(name, 0o020600, rdev=(major, minor))

    def end(self):
        self.inode = -1
        self._entry("TRAILER!!!", 0)
        self.out.write(b"\0" * (-self.out.tell() % 512))
