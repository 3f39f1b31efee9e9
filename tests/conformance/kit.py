"""What the scripts beside this file share: where the conformance kit is, and how its launchers are called.

The kit stands in $QUORATE_SHARED/conformance, else ../shared/conformance beside the project; it is only read.
What it installs and writes goes to $CONF_HOME (~/.cache/quorate-conformance).
"""
import json
import os
import re
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SHARED = os.path.abspath(os.environ.get("QUORATE_SHARED") or os.path.join(ROOT, "../shared"))
KIT = os.path.join(SHARED, "conformance")
LAUNCHERS = os.path.join(KIT, "launchers")
OWN_LAUNCHERS = os.path.join(HERE, "launchers")
HOME = os.path.abspath(os.environ.get("CONF_HOME") or os.path.expanduser("~/.cache/quorate-conformance"))
# the password of `super` is `test`
SUPER = "DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU="


def binary():
    """The program under test; tests/run builds it."""
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
    path = os.path.abspath(os.environ.get("QUORATE_BIN") or os.path.join(target, "release/quorate"))
    if not os.access(path, os.X_OK):
        sys.exit("no such program: %s (cargo build --release, or set QUORATE_BIN)" % path)
    return path


def launcher(name):
    """The program that starts servers of this kind: ours beside this file, else the kit's."""
    own = os.path.join(OWN_LAUNCHERS, name)
    return own if os.path.exists(own) else os.path.join(LAUNCHERS, name)


def environment(**more):
    e = dict(os.environ, CONF_HOME=HOME)
    if "quorate" in (e.get("CONF_MIXED", "") + more.get("CONF_MIXED", "quorate")):
        e["QUORATE_BIN"] = binary()
    e.update(more)
    return e


def suite(what, launcher, **more):
    """Runs a suite of the kit, or parts of one: {test: pass|fail|skip}, the reasons, and what passed only again."""
    name = what.split(":")[0]
    result = os.path.join(HOME, "results", name + ".json")
    if os.path.exists(result):
        os.remove(result)
    subprocess.run([os.path.join(KIT, "run"), "--show", "0", "--launcher", launcher, what], env=environment(**more))
    if not os.path.exists(result):
        sys.exit("%s left no result" % what)
    with open(result) as f:
        r = json.load(f)
    return r["tests"], r["why"], r["passed only when run again"]


def in_venv():
    """Runs this script again by the Python that has kazoo; returns when it is the one."""
    python = os.path.join(HOME, "venv/bin/python")
    if os.path.realpath(sys.prefix) != os.path.realpath(os.path.join(HOME, "venv")):
        os.execv(python, [python] + sys.argv)
    sys.path.insert(0, os.path.join(HOME, "kazoo-2.11.0"))


def word(host, text):
    """The answer to a four letter word."""
    h, p = host.rsplit(":", 1)
    with socket.create_connection((h, int(p)), timeout=5) as s:
        s.sendall(text.encode())
        out = b""
        while True:
            b = s.recv(65536)
            if not b:
                return out.decode()
            out += b


def srvr(host):
    """Mode and zxid as `srvr` tells them; (None, None) where nobody answers or serves."""
    try:
        t = word(host, "srvr")
        return re.search(r"Mode: (\w+)", t).group(1), int(re.search(r"Zxid: (\w+)", t).group(1), 16)
    except (OSError, AttributeError):
        return None, None


def until(what, seconds, f):
    """Asks f until it says something true; an error after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        x = f()
        if x:
            return x
        if time.monotonic() > end:
            raise AssertionError("%s: not within %d s" % (what, seconds))
        time.sleep(0.05)


class Ensemble:
    """One ensemble of n members below a directory, which any launcher can take over."""

    def __init__(self, directory, n, port, cfg=(), mixed=None):
        self.env = environment(CONF_DIR=directory, CONF_N=str(n), CONF_PORT=str(port),
                               CONF_CFG="\n".join((SUPER,) + tuple(cfg)))
        if mixed:
            self.env["CONF_MIXED"] = mixed
        self.hosts = ["127.0.0.1:%d" % (port + 10 * i) for i in range(n)]
        self.n = n

    def launch(self, kind, *what, fresh=True):
        e = dict(self.env, CONF_FRESH="1" if fresh else "0")
        r = subprocess.run([launcher(kind)] + [str(x) for x in what], env=e,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if r.returncode:
            raise AssertionError("%s %s: %s" % (kind, " ".join(map(str, what)), r.stdout.strip()))

    def kill(self, kind):
        for i in range(1, self.n + 1):
            self.launch(kind, "kill", i)
