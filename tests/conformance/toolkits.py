"""The toolkits of both products on the files that both wrote: they must say the same.

compare(directory): every log and snapshot of a stopped server. Apache ZooKeeper's TxnLogToolkit and
SnapshotFormatter dump each; `quorate log dump` and `quorate snapshot dump` must name the same txns, and print the same
nodes and sessions. Its SnapshotComparer reads the newest two. Returns how many files were compared.
"""
import os
import re
import subprocess

import kit

JARS = os.path.join(kit.HOME, "zookeeper/*")
PACKAGE = "org.apache.zookeeper.server."


def java(main, *args):
    """Standard output of one of its tools, without what its logging prints there."""
    argv = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Duser.timezone=UTC",
            "-Dfile.encoding=UTF-8", "-cp", JARS, PACKAGE + main] + list(args)
    r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = r.stdout.decode("utf-8", "replace")
    assert r.returncode == 0, "%s %s: %s" % (main, " ".join(args), text[-2000:])
    return [line for line in text.splitlines() if not re.match(r"\d\d:\d\d:\d\d[.,]\d\d\d \[", line)]


def quorate(*args):
    r = subprocess.run([kit.binary()] + list(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert r.returncode == 0, "quorate %s: %s" % (" ".join(args), r.stderr.decode("utf-8", "replace"))
    return r.stdout.decode("utf-8", "replace").splitlines()


def txns(lines):
    """What names a txn in the dump of a log."""
    found = (re.search(r"session (0x\w+) cxid (0x\w+) zxid (0x\w+) (\w+)", line) for line in lines)
    return [m.groups() for m in found if m]


def nodes(lines):
    """The dump of a snapshot, nodes and sessions in no particular order; a digest that waits for the log is not compared."""
    sessions = sorted(line for line in lines if re.match(r"0x\w+, \d+, \d+$", line))
    others = (line for line in lines if line not in sessions and not line.startswith("Target zxid digest"))
    return sorted("\n".join(others).split("----\n")) + sessions


def same(path, theirs, ours):
    if theirs != ours:
        odd = [x for x in theirs if x not in ours][:3], [x for x in ours if x not in theirs][:3]
        raise AssertionError("%s: only Apache ZooKeeper's toolkit says %r, only Quorate's %r" % ((path,) + odd))


def compare(directory):
    directory = os.path.join(directory, "version-2")
    names = [n for n in os.listdir(directory) if re.match(r"(log\.[0-9a-f]+|snapshot\.[0-9a-f]+(\.gz|\.snappy)?)$", n)]
    names.sort(key=lambda n: int(n.split(".")[1], 16))
    snapshots = []
    for name in names:
        path = os.path.join(directory, name)
        if name.startswith("log."):
            theirs, ours = txns(java("persistence.TxnLogToolkit", path)), txns(quorate("log", "dump", path))
            assert theirs or os.path.getsize(path) < 100, "%s: no txn" % path
            quorate("log", "check", path)
        else:
            theirs = nodes(java("SnapshotFormatter", "-d", path))
            ours = nodes(quorate("snapshot", "dump", "--data", path))
            assert len(theirs) > 4, "%s: no nodes" % path
            quorate("snapshot", "check", path)
            snapshots.append(path)
        same(path, theirs, ours)
    if len(snapshots) > 1:
        left, right = snapshots[-2:]
        lines = java("SnapshotComparer", "-l", left, "-r", right, "-b", "0", "-n", "0")
        assert "All layers compared." in lines, "SnapshotComparer %s %s: %s" % (left, right, lines[-3:])
    return len(names)
