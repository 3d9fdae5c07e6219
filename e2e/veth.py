#!/usr/bin/env python3
"""overtap in shape veth: one machine at the end of a cable. Robustness, limits, files, filters, rights."""
import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from harness import *

HOST = "left"
BOX, FAR = "02:00:00:00:0b:01", "02:00:00:00:0b:02"
IN_BOX = [*enter(HOST), "nsenter", "--net=/run/netns/box"]
SMALL = ("--buffer", "4MiB")

# Sends numbered datagrams until its standard input closes or the count is reached; prints how many.
SENDER = """
import select, socket, struct, sys, time
interface, rate, count, marker = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4].encode()
head = bytes.fromhex(sys.argv[5])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((interface, 0))
began, sent = time.monotonic(), 0
while not count or sent < count:
    if sent % 64 == 0:
        if select.select([sys.stdin], [], [], 0)[0]:
            break
    if rate:
        wait = began + sent / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
    sent += 1
    try:
        s.send(head + marker + b"%08d" % sent)
    except OSError as error:
        # The interface is down or gone, or its queue is full: not sent.
        sent -= 1
        if error.errno != 105:
            time.sleep(0.01)
            if error.errno in (6, 19):
                break
print(sent)
"""


class Sender:
    """Numbered datagrams of the box to an address that nobody has."""

    def __init__(self, rate=0, count=0, size=100, marker="acme:", port=5001, prefix=None, interface="eth0"):
        payload = marker.encode() + b"%08d" % 0
        frame = udp_frame(BOX, FAR, "10.1.1.1", "10.1.1.2", payload.rjust(max(size - 42, len(payload)), b"."), port)
        head = frame[:frame.rindex(payload)]
        words = [*(prefix or IN_BOX), sys.executable, "-c", SENDER, interface, str(rate), str(count), marker, head.hex()]
        self.size = len(head) + len(payload)
        self.popen = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait(self, seconds=60):
        out = self.popen.stdout.read()
        self.popen.wait(seconds)
        return int(out)

    def stop(self):
        self.popen.stdin.close()
        return self.wait()


def send(count, **more):
    """That many datagrams, as fast as it goes."""
    sent = Sender(count=count, **more).wait()
    assert sent == count, f"sent {sent} of {count}"
    return count


def numbers(capture, marker=b"acme:"):
    """The numbers of the datagrams in a capture, in its order."""
    return [int(p.data[p.data.rindex(marker) + len(marker):][:8]) for p in capture.holding(marker)]


def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def size_of(path):
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def set_up():
    """A machine called box at the end of a veth."""
    started(HOST, "ip", "netns", "add", "box")
    started(HOST, "ip", "netns", "exec", "box", "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1", "net.ipv6.conf.all.disable_ipv6=1")
    started(HOST, "ip", "link", "add", "tap-box", "type", "veth", "peer", "name", "eth0", "address", BOX, "netns", "box")
    started(HOST, "ip", "link", "set", "tap-box", "up")
    started(HOST, "ip", "-n", "box", "addr", "add", "10.1.1.1/24", "dev", "eth0")
    started(HOST, "ip", "-n", "box", "link", "set", "eth0", "up")
    check("find sees the machine", names(HOST) == ["box"], find(HOST))


# --- killed -----------------------------------------------------------------------------------


def killed():
    """Killed in mid-capture: readable up to the last flush, nothing left behind."""
    before = packet_sockets(HOST)
    for what in ("the session", "the engine", "both"):
        capture = Overtap(HOST, "box", *SMALL)
        sender = Sender(rate=3000)
        session, engine = capture.pid(), capture.engine()
        until(lambda: size_of(capture.file) > 100_000)
        at = time.time_ns()
        for pid in {"the session": [session], "the engine": [engine], "both": [engine, session]}[what]:
            os.kill(pid, signal.SIGKILL)
        status = capture.wait()
        check(f"SIGKILL of {what}: no process is left", until(lambda: is_gone(session) and is_gone(engine), 3))
        check(f"SIGKILL of {what}: no packet socket is left", until(lambda: packet_sockets(HOST) == before, 3),
              started(HOST, "cat", "/proc/net/packet"))
        sender.stop()
        file = Capture(capture.file)
        equal(f"SIGKILL of {what}: tshark, capinfos and tcpdump read the file without a word", complaints(capture.file), [])
        got = numbers(file)
        check(f"SIGKILL of {what}: the file has no holes", got == list(range(got[0], got[0] + len(got))) and got[0] == 1, got[:5])
        lost_ms = (at - file.packets[-1].time) / 1e6
        check(f"SIGKILL of {what}: at most the last 250 ms are missing", lost_ms < 250, f"{lost_ms} ms")
        if what == "the engine":
            equal("SIGKILL of the engine: the session fails", status, 1)
            check("SIGKILL of the engine: the session says so", "process that reads packets is gone" in capture.err(), capture.err())
        if what == "the session":
            check("SIGKILL of the session: the engine still closes the file with statistics", len(file.statistics) == 1, file.statistics)


def signals():
    """SIGTERM, SIGINT and SIGHUP end a capture; without traffic, and at once."""
    for number, name in ((signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")):
        capture = Overtap(HOST, "box", *SMALL)
        began = time.monotonic()
        status, receipt, file = *[capture.stop(number)], capture.receipt(), Capture(capture.file)
        took = time.monotonic() - began
        check(f"{name}: ends within half a second on a quiet interface", took < 0.5, f"{took:.3f} s")
        honest(f"{name} on a quiet interface", status, receipt, file)
        check(f"{name}: an empty file has its interface and its statistics", len(file.interfaces) == 1 and len(file.statistics) == 1)
        equal(f"{name}: everybody reads an empty file", complaints(file.path), [])


def hang_up():
    """A terminal that closes: everything of it gets SIGHUP; with nohup a capture goes on."""
    capture = Overtap(HOST, "box", *SMALL)
    send(20)
    engine = capture.engine()
    os.kill(engine, signal.SIGHUP)
    capture.send(signal.SIGHUP)
    honest("terminal closed", capture.wait(), capture.receipt(), Capture(capture.file))
    equal("terminal closed: every packet is there", len(numbers(Capture(capture.file))), 20)
    capture = Overtap(HOST, "box", *SMALL, prefix=[*enter(HOST), "nohup"])
    engine = capture.engine()
    os.kill(engine, signal.SIGHUP)
    capture.send(signal.SIGHUP)
    send(20)
    check("nohup: the capture goes on", capture.is_running(), capture.err())
    honest("nohup", *capture.finish())


# --- the interface changes --------------------------------------------------------------------


def interface_deleted():
    """The interface is deleted in mid-capture."""
    started(HOST, "ip", "netns", "add", "brief")
    started(HOST, "ip", "link", "add", "tap-brief", "type", "veth", "peer", "name", "eth0", "address", BOX, "netns", "brief")
    started(HOST, "ip", "link", "set", "tap-brief", "up")
    started(HOST, "ip", "-n", "brief", "link", "set", "eth0", "up")
    capture = Overtap(HOST, "brief", *SMALL)
    sent = send(500, prefix=[*enter(HOST), "nsenter", "--net=/run/netns/brief"])
    started(HOST, "ip", "link", "del", "tap-brief")
    status = capture.wait(5)
    equal("interface deleted: exit status", status, 1)
    receipt, file = capture.receipt(), Capture(capture.file)
    check("interface deleted: a sentence says so", "removed" in capture.err() and "vanished" in receipt["end"], capture.err() + receipt["end"])
    equal("interface deleted: every datagram before is in the file", numbers(file), list(range(1, sent + 1)))
    check("interface deleted: the receipt adds up", adds_up(receipt), receipt)
    check("interface deleted: the file is complete", len(file.statistics) == 1 and complaints(file.path) == [], complaints(file.path))
    started(HOST, "ip", "netns", "del", "brief")


def interface_down():
    """The interface goes down and up again in mid-capture."""
    capture = Overtap(HOST, "box", *SMALL)
    send(100)
    started(HOST, "ip", "link", "set", "tap-box", "down")
    time.sleep(0.4)
    check("interface down: the capture goes on", capture.is_running(), capture.err())
    started(HOST, "ip", "link", "set", "tap-box", "up")
    send(100)
    status, receipt, file = capture.finish()
    honest("interface down and up", status, receipt, file)
    equal("interface down and up: what came before and after is in the file", numbers(file), [*range(1, 101)] * 2)


def interface_renamed():
    """The interface is renamed in mid-capture."""
    capture = Overtap(HOST, "box", *SMALL)
    send(100)
    started(HOST, "ip", "link", "set", "tap-box", "name", "tap-new")
    send(100)
    status, receipt, file = capture.finish()
    honest("interface renamed", status, receipt, file)
    equal("interface renamed: nothing is missing", len(numbers(file)), 200)
    found = find(HOST, "box")["machines"][0]["vnics"][0]["attachment"]["device"]
    equal("interface renamed: find knows the new name", found, "tap-new")
    started(HOST, "ip", "link", "set", "tap-new", "name", "tap-box")


def handed_over():
    """The port goes to another machine in mid-capture: nothing of that one is taken."""
    for name in ("first", "second"):
        started(HOST, "ip", "netns", "add", name)
    started(HOST, "ip", "link", "add", "tap-both", "type", "veth", "peer", "name", "eth0", "address", BOX, "netns", "first")
    started(HOST, "ip", "link", "set", "tap-both", "up")
    started(HOST, "ip", "-n", "first", "link", "set", "eth0", "up")
    capture = Overtap(HOST, "first", *SMALL)
    send(50, prefix=[*enter(HOST), "nsenter", "--net=/run/netns/first"])
    started(HOST, "ip", "-n", "first", "link", "set", "eth0", "netns", "second")
    started(HOST, "ip", "-n", "second", "link", "set", "eth0", "up")
    check("port handed over: told within a second", until(lambda: "belongs to second" in capture.err() or not capture.is_running(), 1.2), capture.err())
    send(50, marker="second:", prefix=[*enter(HOST), "nsenter", "--net=/run/netns/second"])
    status = capture.stop()
    receipt, file = capture.receipt(), Capture(capture.file)
    equal("port handed over: what came before is there", numbers(file), list(range(1, 51)))
    equal("port handed over: nothing of the new owner", len(file.holding(b"second:")), 0)
    check("port handed over: it is counted as another's", adds_up(receipt) and (receipt["total"]["other_tenant"] >= 50 or "vanished" in receipt["end"]), receipt)
    check("port handed over: the file says so", any("second" in text for text in file.comments), file.comments)
    for name in ("first", "second"):
        started(HOST, "ip", "netns", "del", name)


def plugged_in():
    """The machine gets another card in mid-capture: that one is captured as well."""
    capture = Overtap(HOST, "box", *SMALL)
    send(50)
    started(HOST, "ip", "link", "add", "tap-more", "type", "veth", "peer", "name", "eth1", "address", "02:00:00:00:00:77", "netns", "box")
    started(HOST, "ip", "link", "set", "tap-more", "up")
    started(HOST, "ip", "-n", "box", "link", "set", "eth1", "up")
    check("plugged in: told within a second", until(lambda: "tap-more is captured as well" in capture.err(), 1.2), capture.err())
    send(60, marker="more:", interface="eth1")
    send(50)
    status, receipt, file = capture.finish()
    honest("plugged in", status, receipt, file)
    equal("plugged in: nothing of the first card is missing", numbers(file), [*range(1, 51)] * 2)
    equal("plugged in: nor of the other", numbers(file, b"more:"), list(range(1, 61)))
    equal("plugged in: two interfaces are accounted for", [i["interface"] for i in receipt["interfaces"]], ["tap-box", "tap-more"])
    equal("plugged in: each packet is at its own", {p.interface for p in file.holding(b"more:")}, {1})
    started(HOST, "ip", "link", "del", "tap-more")
    one = Overtap(HOST, "box", "--point", "tap-box", *SMALL)
    started(HOST, "ip", "link", "add", "tap-more", "type", "veth", "peer", "name", "eth1", "address", "02:00:00:00:00:77", "netns", "box")
    check("plugged in: one interface that was asked for stays one", until(lambda: "this capture does not look there" in one.err(), 1.2), one.err())
    one.finish()
    started(HOST, "ip", "link", "del", "tap-more")


def container():
    """A container of podman is a machine by the name that podman knows."""
    tree = f"{WORK}/tree"
    os.makedirs(f"{tree}/bin")
    shutil.copy(shutil.which("busybox"), f"{tree}/bin/sleep")
    subprocess.run(["tar", "-C", tree, "-cf", f"{WORK}/image.tar", "."], check=True)
    os.makedirs("/var/lib/containers", exist_ok=True)
    started(HOST, "mount", "-t", "tmpfs", "containers", "/var/lib/containers")
    # Without a control group of its own, which not every machine can give it.
    podman = lambda *words: started(HOST, "podman", "--cgroup-manager", "cgroupfs", *words)
    podman("import", "-q", f"{WORK}/image.tar", "localhost/shop")
    podman("run", "-d", "--rm", "--cgroups", "disabled", "--network", "none", "--name", "shop", "localhost/shop", "/bin/sleep", "60")
    try:
        pid = podman("inspect", "-f", "{{.State.Pid}}", "shop").strip()
        started(HOST, "ip", "link", "add", "tap-shop", "type", "veth", "peer", "name", "eth0", "address", BOX, "netns", pid)
        started(HOST, "ip", "link", "set", "tap-shop", "up")
        inside = [*enter(HOST), "nsenter", f"--net=/proc/{pid}/ns/net"]
        started(HOST, "nsenter", f"--net=/proc/{pid}/ns/net", "ip", "link", "set", "eth0", "up")
        check("container: it is found by the name that podman gave it", "shop" in names(HOST), names(HOST))
        equal("container: it is a container of podman", [m["kind"] for m in find(HOST, "shop")["machines"]], ["container"])
        capture = Overtap(HOST, "shop", *SMALL)
        send(50, prefix=inside)
        status, receipt, file = capture.finish()
        honest("container", status, receipt, file)
        equal("container: its packets are there", numbers(file), list(range(1, 51)))
    finally:
        podman("rm", "-f", "-t", "0", "shop")
        podman("rmi", "-f", "localhost/shop")
        started(HOST, "umount", "-l", "/var/lib/containers")


def machine_renamed():
    """The machine gets another name in mid-capture."""
    started(HOST, "ip", "netns", "add", "old")
    started(HOST, "ip", "link", "add", "tap-old", "type", "veth", "peer", "name", "eth0", "address", BOX, "netns", "old")
    started(HOST, "ip", "link", "set", "tap-old", "up")
    started(HOST, "ip", "-n", "old", "link", "set", "eth0", "up")
    capture = Overtap(HOST, "old", *SMALL)
    send(50, prefix=[*enter(HOST), "nsenter", "--net=/run/netns/old"])
    started(HOST, "sh", "-c", "ip netns exec old sleep 5 >/dev/null 2>&1 & sleep 0.1; ip netns attach new $! && ip netns del old; kill $!")
    check("machine renamed: told within a second", until(lambda: "was renamed to new" in capture.err(), 1.2), capture.err())
    send(50, prefix=[*enter(HOST), "nsenter", "--net=/run/netns/new"])
    status, receipt, file = capture.finish()
    honest("machine renamed", status, receipt, file)
    equal("machine renamed: nothing is missing", numbers(file), [*range(1, 51)] * 2)
    check("machine renamed: receipt and file tell it", any("renamed" in event for event in receipt["events"]) and any("renamed" in text for text in file.comments), receipt["events"])
    started(HOST, "ip", "netns", "del", "new")


# --- the disk ---------------------------------------------------------------------------------


def disk_full():
    """The disk is full."""
    started(HOST, "mkdir", "-p", "/run/small")
    started(HOST, "mount", "-t", "tmpfs", "-o", "size=2m", "none", "/run/small")
    root = f"/proc/{enter(HOST)[2]}/root"
    for what, words, sentence in (
        ("with a reserve", (), "must stay free"),
        ("without a reserve", ("--min-free", "0"), "no space left"),
        ("a ring of files", ("--min-free", "0", "--rotate-size", "300kB"), "no space left"),
    ):
        capture = Overtap(HOST, "box", *words, file="/run/small/x.pcapng")
        sender = Sender(rate=20000, size=1000)
        status = capture.wait(10)
        sender.stop()
        receipt = capture.receipt()
        equal(f"disk full, {what}: exit status", status, 1)
        check(f"disk full, {what}: a sentence says so", sentence in receipt["end"], receipt["end"])
        check(f"disk full, {what}: the receipt adds up", adds_up(receipt), receipt["total"])
        files = [Capture(root + file["path"]) for file in receipt["files"]]
        got = [number for file in files for number in numbers(file)]
        check(f"disk full, {what}: what was written is there without holes", got == list(range(1, len(got) + 1)) and len(got) > 500, len(got))
        equal(f"disk full, {what}: the receipt says how much", receipt["total"]["written"], len(got))
        equal(f"disk full, {what}: everybody reads the files", [c for file in files for c in complaints(file.path)], [])
        if not words:
            free = int(started(HOST, "stat", "-f", "-c", "%a", "/run/small")) * 4096
            check("disk full, with a reserve: the reserve was left free", free >= 2 * 2**20 / 20 - 4096, free)
        started(HOST, "sh", "-c", "rm -f /run/small/*")
    started(HOST, "umount", "/run/small")


# --- wrong usage ------------------------------------------------------------------------------


def sentences():
    """Bad input: a clear sentence, the right exit status, nothing written."""
    there = f"{WORK}/there.pcapng"
    with open(there, "w") as file:
        file.write("mine")
    target, link = f"{WORK}/never.pcapng", f"{WORK}/link.pcapng"
    os.symlink(there, link)
    for what, words, status, wanted in (
        ("file exists", ("box", "-w", there), 1, ["there.pcapng exists", "--force"]),
        ("unknown VM", ("bxo", "-w", target), 1, ['"bxo"', 'did you mean "box"']),
        ("unknown VM, nothing near", ("zzzzzz", "-w", target), 1, ["zzzzzz"]),
        ("garbage expression", ("box", "-w", target, "tcp prot 80"), 2, ["column 5", "\n      ^^^^", "port"]),
        ("unbalanced expression", ("box", "-w", target, "(tcp or udp"), 2, ["column", "^"]),
        ("missing directory", ("box", "-w", f"{WORK}/no/such/x.pcapng"), 1, ["no/such", "there is no directory", "make it"]),
        ("a directory as file", ("box", "-w", WORK), 1, ["names no file"]),
        ("a link as file", ("box", "-w", link, "--force"), 1, ["is a symbolic link"]),
        ("no such point", ("box", "-w", target, "--point", "nothere"), 1, ["nothere", "tap-box"]),
        ("no uplink", ("box", "-w", target, "--point", "uplink"), 1, ["uplink", "overtap plan box"]),
        ("ring without size", ("box", "-w", target, "--ring-files", "3"), 2, ["--rotate-size", "--rotate-interval"]),
        ("ring to a pipe", ("box", "-w", "-", "--rotate-size", "1MB"), 2, ["standard output", "-w FILE"]),
        ("count of zero", ("box", "-w", target, "--count", "0"), 2, ["--count"]),
        ("snaplen of zero", ("box", "-w", target, "-s", "0"), 2, ["--snaplen"]),
        ("size without sense", ("box", "-w", target, "--max-bytes", "3parsec"), 2, ["parsec"]),
        ("unknown option", ("box", "--wrong"), 2, ["--wrong"]),
    ):
        done = overtap(HOST, "capture", *words)
        check(f"{what}: exit status {status}, and a sentence with what to do",
              done.returncode == status and all(word in done.stderr for word in wanted), f"{done.returncode}: {done.stderr}{done.stdout}")
    with open(there) as file:
        equal("file exists: it is untouched", file.read(), "mine")
    check("nothing was written for any of them", not os.path.exists(target))
    capture = Overtap(HOST, "box", "--force", file=there)
    send(10)
    honest("--force writes over a file", *capture.finish())
    first, second = Overtap(HOST, "box", *SMALL), None
    done = overtap(HOST, "capture", "box", "-w", first.file)
    equal("two captures cannot share a file", done.returncode, 1)
    send(50)
    honest("the first of two is not hurt", *first.finish())


def rights():
    """Without rights: a sentence that names the one missing; with the two it needs, it works."""
    place = f"{WORK}/nobody"
    os.makedirs(place, exist_ok=True)
    os.chmod(place, 0o777)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    two = [*nobody, "--inh-caps=+net_raw,+net_admin", "--ambient-caps=+net_raw,+net_admin"]
    done = overtap(HOST, "find", prefix=[*enter(HOST), *nobody])
    check("no rights: find goes as far as it can", done.returncode == 0 and "box" in done.stdout, done.stdout + done.stderr)
    check("no rights: find says which right is missing", "cap_sys_admin" in done.stderr or "cap_sys_ptrace" in done.stderr, done.stderr)
    done = overtap(HOST, "capture", "box", "-w", f"{place}/a.pcapng", prefix=[*enter(HOST), *nobody])
    check("no rights: capture fails with the right that is missing", done.returncode == 1 and "cap_" in done.stderr, done.stderr)
    done = overtap(HOST, "capture", "box", "-w", f"{place}/b.pcapng", prefix=[*enter(HOST), *two])
    check("cap_net_raw and cap_net_admin only: it captures, or names what else it needs",
          done.returncode == 0 or "cap_sys" in done.stderr, done.stderr)
    dropped = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"]
    done = overtap(HOST, "capture", "box", "-w", f"{place}/c.pcapng", prefix=[*enter(HOST), *dropped])
    check("root without cap_net_raw: the sentence names it", done.returncode == 1 and "cap_net_raw" in done.stderr, done.stderr)
    equal("and no file is left of any of them", os.listdir(place), [])


# --- limits and rings -------------------------------------------------------------------------


def limits():
    """Limits are exact, and every limit is told."""
    capture = Overtap(HOST, "box", "--count", "137", *SMALL)
    sent = send(500)
    status = capture.wait(5)
    receipt, file = capture.receipt(), Capture(capture.file)
    honest("--count 137", status, receipt, file)
    equal("--count 137: exactly the first 137", numbers(file), list(range(1, 138)))
    check("--count 137: what came after is accounted for", receipt["total"]["received"] - 137 == receipt["total"]["after_limit"], receipt["total"])
    check("--count 137: the end is told", "packets" in receipt["end"], receipt["end"])

    capture = Overtap(HOST, "box", "--max-bytes", "10050", *SMALL)
    send(500, size=100)
    status = capture.wait(5)
    receipt, file = capture.receipt(), Capture(capture.file)
    honest("--max-bytes 10050", status, receipt, file)
    equal("--max-bytes 10050: exactly 100 packets of 100 bytes", numbers(file), list(range(1, 101)))

    capture = Overtap(HOST, "box", "--duration", "1s", *SMALL)
    began = time.monotonic()
    sender = Sender(rate=2000)
    status = capture.wait(5)
    took = time.monotonic() - began
    sender.stop()
    receipt, file = capture.receipt(), Capture(capture.file)
    honest("--duration 1s", status, receipt, file)
    check("--duration 1s: ends in time", took < 1.5, f"{took:.2f} s")
    check("--duration 1s: about a second of packets", 1000 < len(numbers(file)) < 2100, len(numbers(file)))
    got = numbers(file)
    equal("--duration 1s: without holes", got, list(range(got[0], got[0] + len(got))))

    capture = Overtap(HOST, "box", "-s", "64", *SMALL)
    send(200, size=300)
    send(100, size=60)
    status, receipt, file = capture.finish()
    honest("-s 64", status, receipt, file)
    check("-s 64: 64 bytes kept, wire length told", sum(1 for p in file.packets if len(p.data) == 64 and p.wire_len == 300) == 200,
          [(len(p.data), p.wire_len) for p in file.packets[:2]])
    equal("-s 64: sliced packets are counted", receipt["total"]["sliced"], 200)


def rings():
    """Rings of files: exact, complete, never foreign."""
    folder = f"{WORK}/ring"
    os.makedirs(folder, exist_ok=True)
    capture = Overtap(HOST, "box", "--rotate-size", "100kB", file=f"{folder}/size.pcapng", *SMALL)
    sent = send(2000, size=400)
    status = capture.stop()
    receipt = capture.receipt()
    paths = [file["path"] for file in receipt["files"]]
    files = [Capture(path) for path in paths]
    equal("--rotate-size: exit status", status, 0)
    check("--rotate-size: no file is larger", all(os.path.getsize(path) <= 100_000 for path in paths), [os.path.getsize(path) for path in paths])
    check("--rotate-size: files are filled", all(os.path.getsize(path) > 90_000 for path in paths[:-1]), [os.path.getsize(path) for path in paths])
    equal("--rotate-size: together they hold every packet, in order", [n for file in files for n in numbers(file)], list(range(1, sent + 1)))
    check("--rotate-size: the receipt adds up", adds_up(receipt), receipt)
    check("--rotate-size: the receipt says what each file holds",
          [f["packets"] for f in receipt["files"]] == [len(f.packets) for f in files]
          and [f["bytes"] for f in receipt["files"]] == [os.path.getsize(p) for p in paths], receipt["files"])
    check("--rotate-size: each file ends with its own statistics",
          all(len(f.statistics) == 1 and f.statistics[0]["delivered"] == len(f.packets) for f in files),
          [(f.statistics, len(f.packets)) for f in files[:2]])
    equal("--rotate-size: everybody reads each file", [c for path in paths[:3] + paths[-1:] for c in complaints(path)], [])

    foreign = [f"{folder}/keep.pcapng", f"{folder}/keep_00001_20200101000000.pcapng", f"{folder}/keep_00001.pcapng"]
    for path in foreign:
        with open(path, "w") as file:
            file.write("mine")
    capture = Overtap(HOST, "box", "--rotate-size", "50kB", "--ring-files", "3", file=f"{folder}/keep.pcapng", await_start=False)
    until(lambda: "listening" in capture.err() or not capture.is_running())
    sent = send(2000, size=400)
    status = capture.stop()
    receipt = capture.receipt()
    left = sorted(f"{folder}/{name}" for name in os.listdir(folder) if name.startswith("keep"))
    equal("--ring-files 3: exit status", status, 0)
    equal("--ring-files 3: three files are left, beside those that are not ours", len(left), 3 + len(foreign))
    check("--ring-files 3: foreign files are untouched", all(open(path).read() == "mine" for path in foreign))
    paths = [file["path"] for file in receipt["files"] if os.path.exists(file["path"])]
    got = [n for path in paths for n in numbers(Capture(path))]
    check("--ring-files 3: the last packets are there", len(paths) == 3 and got == list(range(sent - len(got) + 1, sent + 1)), f"{paths} {got[:1]}-{got[-1:]}")
    check("--ring-files 3: the receipt tells the deleted ones", receipt["deleted_files"] > 0, receipt)

    capture = Overtap(HOST, "box", "--rotate-interval", "1s", "--duration", "2500ms", file=f"{folder}/time.pcapng")
    send(10)
    status = capture.wait(6)
    receipt = capture.receipt()
    files = [Capture(file["path"]) for file in receipt["files"]]
    check("--rotate-interval: files turn without traffic", status == 0 and len(files) == 3, receipt["files"])
    equal("--rotate-interval: nothing is lost", sum(len(numbers(f)) for f in files), 10)
    equal("--rotate-interval: everybody reads each file, also the empty ones", [c for f in files for c in complaints(f.path)], [])

    capture = Overtap(HOST, "box", "--rotate-interval", "700ms", "--duration", "2s", file=f"{folder}/beat.pcapng", *SMALL)
    sender = Sender(rate=2000)
    status = capture.wait(6)
    sender.stop()
    spans = [(file.packets[0].time, file.packets[-1].time) for file in (Capture(f["path"]) for f in capture.receipt()["files"])]
    turns = [(later - first) / 1e6 for (first, _), (later, _) in zip(spans[1:], spans[2:])]
    check("--rotate-interval 700ms: files turn at that beat", status == 0 and len(spans) == 3 and all(695 < ms < 705 for ms in turns), (len(spans), turns))


# --- pipes ------------------------------------------------------------------------------------


def pipes():
    """Into a pipe: live, with a reader that goes early, and one that is slow."""
    read_end, write_end = os.pipe()
    words = ["tshark", "-n", "-l", "-r", "-", "-T", "fields", "-e", "udp.dstport"]
    reading = subprocess.Popen(words, stdin=read_end, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    os.close(read_end)
    capture = Overtap(HOST, "box", *SMALL, file="-", stdout=write_end)
    os.close(write_end)
    send(300)
    status = capture.stop()
    out = reading.communicate(timeout=20)[0]
    equal("-w - into tshark: exit status", status, 0)
    equal("-w - into tshark: it reads every packet", out.decode().split(), ["5001"] * 300)

    done = subprocess.run(
        " ".join([*enter(HOST), OVERTAP, "capture", "box", "--duration", "1s", "-q", "-w", "-", "|", "head", "-c", "10", "|", "wc", "-c"]),
        shell=True, capture_output=True, text=True, timeout=20)
    equal("-w - with a reader that goes: 10 bytes went", done.stdout.strip(), "10")

    read_end, write_end = os.pipe()
    capture = Overtap(HOST, "box", *SMALL, file="-", stdout=write_end)
    os.close(write_end)
    send(50)
    os.read(read_end, 100)
    os.close(read_end)
    sender = Sender(rate=500)
    try:
        status = capture.wait(5)
    except subprocess.TimeoutExpired:
        status = "it runs on"
    sender.stop()
    equal("a reader that closes early: exit status", status, 0)
    if status != "it runs on":
        check("a reader that closes early: the receipt says so", "reader" in capture.receipt()["end"], capture.receipt()["end"])

    read_end, write_end = os.pipe()
    capture = Overtap(HOST, "box", file="-", stdout=write_end)
    os.close(write_end)
    sent = send(5000, size=1000)
    time.sleep(1)
    path = f"{WORK}/slow.pcapng"
    slow = subprocess.Popen(["sh", "-c", f"cat >{path}"], stdin=read_end)
    os.close(read_end)
    until(lambda: size_of(path) > 5000 * 1000)
    status = capture.stop()
    slow.wait(10)
    receipt, file = capture.receipt(), Capture(path)
    check("a slow reader: the receipt adds up", adds_up({**receipt, "files": [{"packets": receipt["total"]["written"]}]}), receipt)
    check("a slow reader: packets wait in the kernel, none is lost", status == 0 and numbers(file) == list(range(1, sent + 1)),
          f"{status} {len(numbers(file))} {receipt['total']}")


# --- filters ----------------------------------------------------------------------------------


def filters():
    """Filters select what tcpdump selects, and what they leave out is counted."""
    expressions = ("udp port 5001", "not udp port 5001", "host 10.1.1.9", "udp dst port 5002 or arp", "less 99", "ether broadcast", "not (udp or arp)")
    judges = [Tcpdump(HOST, "tap-box", expression) for expression in expressions]
    captures = [Overtap(HOST, "box", expression, *SMALL) for expression in expressions]
    send(40, port=5001)
    send(30, port=5002, size=90)
    frames = [udp_frame(FAR, BOX, "10.1.1.9", "10.1.1.1", b"acme:back", 5003)] * 20
    frames += [mac("ff:ff:ff:ff:ff:ff") + mac(BOX) + b"\x08\x06" + bytes(46)] * 5
    frames += [mac(FAR) + mac(BOX) + b"\x88\xcc" + bytes(46)] * 7
    send_frames(IN_BOX, "eth0", frames)
    for expression, judge, capture in zip(expressions, judges, captures):
        status, receipt, file = capture.finish()
        honest(f"'{expression}'", status, receipt, file)
        same_frames(f"'{expression}': the same packets as tcpdump", file.frames(), judge.finish().frames())
        one = receipt["interfaces"][0]
        passed_over = one["passed_over"]
        check(f"'{expression}': seen and passed over make all 102", one["interface_packets"] == 102 and one["received"] + passed_over == 102, one)
        check(f"'{expression}': the kernel has refused all that nobody asked for", one["not_selected"] == 0 and passed_over == 102 - one["written"] and "attached" in one["expression_in_kernel"], one)
        check(f"'{expression}': the file names the filter", expression.encode() in file.interfaces[0]["filter"], file.interfaces[0]["filter"])


# --- drops ------------------------------------------------------------------------------------


def drops():
    """Starved: every drop is counted, in the receipt and in the file."""
    capture = Overtap(HOST, "box", "--buffer", "256KiB")
    send(100)
    engine = capture.engine()
    time.sleep(0.3)
    os.kill(engine, signal.SIGSTOP)
    sent = 100 + send(6000, size=500)
    os.kill(engine, signal.SIGCONT)
    sent += send(100)
    status, receipt, file = capture.finish()
    total = receipt["total"]
    equal("starved: exit status", status, 3)
    equal("starved: seen is what was sent", total["received"], sent)
    check("starved: the kernel's drops are counted", total["kernel_dropped"] > 1000, total)
    check("starved: the receipt adds up", adds_up(receipt), receipt)
    equal("starved: written and dropped make what was sent", total["written"] + total["kernel_dropped"], sent)
    equal("starved: lost is told", receipt["lost"], total["kernel_dropped"])
    equal("starved: written is in the file", total["written"], len(numbers(file)))
    check("starved: the statistics of the file name the drops", file.statistics[0]["os_dropped"] == total["kernel_dropped"], file.statistics)
    check("starved: so does a sentence in the file", any("drop" in text or "lost" in text or "missing" in text for text in file.comments), file.comments)
    told = sum(packet.dropped or 0 for packet in file.packets)
    check("starved: packets carry the drops before them", told == total["kernel_dropped"], f"{told} of {total['kernel_dropped']}")
    equal("starved: everybody reads the file", complaints(file.path), [])


def flood():
    """A flood at full speed through the default ring: nothing is lost."""
    capture = Overtap(HOST, "box")
    sent = send(200_000)
    status, receipt, file = capture.finish()
    honest("flood", status, receipt, file)
    equal("flood: every datagram, in order", numbers(file) == list(range(1, sent + 1)), True)


# --- the file ---------------------------------------------------------------------------------


def tags():
    """Tags arrive as they were sent: 802.1Q, priority, PCP and DEI, QinQ; at the tap and inside."""
    process = Process(HOST, "sleep", "600", prefix=IN_BOX)
    payload = lambda number: b"acme:%08d" % number
    tagged = [
        udp_frame(BOX, FAR, "10.1.1.1", "10.1.1.2", payload(number), tags=bytes.fromhex(tag))
        for number, tag in enumerate(("", "81000014", "8100e014", "8100b014", "8100a000", "88a8001481000015", "88a8f0148100b015", "8100001481000015", "88a80014", "910000148100a015"), 1)
    ]
    sent = [frame for frame in tagged for _ in range(3)]
    captures = {"tap": Overtap(HOST, "box", "--point", "tap", *SMALL)}
    plan = overtap(HOST, "plan", "box").stdout
    if "own interface, inside\n   cannot" not in plan:
        captures["inside"] = Overtap(HOST, "box", "--point", "inside", *SMALL)
    captures["vlan"] = Overtap(HOST, "box", "vlan 20", *SMALL)
    captures["untagged"] = Overtap(HOST, "box", "not vlan", *SMALL)
    send_frames(IN_BOX, "eth0", sent)
    wanted = collections.Counter(sent)
    files = {}
    for name, capture in captures.items():
        status, receipt, files[name] = capture.finish()
        honest(f"tags, {name}", status, receipt, files[name])
    check("tags: a machine with a process can be captured inside", "inside" in files, plan)
    for name in ("tap", "inside"):
        if name in files:
            same_frames(f"tags, {name}: every frame is byte for byte as it was sent", files[name].frames(), wanted)
            check(f"tags, {name}: the VM's own frames are outbound", all(p.direction == "out" for p in files[name].packets),
                  [p.direction for p in files[name].packets])
    equal("tags: 'not vlan' holds the untagged ones", files["untagged"].frames(), collections.Counter({tagged[0]: 3}))
    got = {frame[12:16].hex() for frame in files["vlan"].frames()}
    equal("tags: 'vlan 20' holds what tcpdump's would on the wire", got, {"81000014", "8100e014", "8100b014", "88a80014", "88a8f014", "91000014"})
    process.kill()


def the_file():
    """What the file says about itself."""
    capture = Overtap(HOST, "box", "udp", *SMALL)
    send(25)
    status, receipt, file = capture.finish()
    honest("the file", status, receipt, file)
    one = file.interfaces[0]
    equal("the file: the interface has the name of the observation point", one["name"], "box/eth0 @ left:tap-box")
    check("the file: it has a description", one["description"] != "", one)
    equal("the file: it has the MAC of the vNIC", one["mac"], mac(BOX))
    equal("the file: times are nanoseconds", one["tsresol"], 9)
    equal("the file: its filter", one["filter"], b"\0udp")
    check("the file: the section names the program", first_text(file.section, 4).startswith("overtap "), file.section)
    check("the file: a comment says what it is", any("box" in text and "left" in text for text in file.comments), file.comments)
    check("the file: addresses have names", file.names.get(bytes([10, 1, 1, 1])) == "box", file.names)
    check("the file: so has the MAC", file.names.get(mac(BOX)) == "box/eth0", file.names)
    statistics = file.statistics[0]
    total = receipt["total"]
    check("the file: its statistics are those of the receipt",
          (statistics["delivered"], statistics["os_dropped"], statistics["accepted"]) == (25, 0, total["received"]), (statistics, total))
    check("the file: readable by its owner only", os.stat(file.path).st_mode & 0o077 == 0, oct(os.stat(file.path).st_mode))
    shown = tshark(file.path, fields=["frame.interface_name", "frame.interface_description", "frame.packet_flags_direction"])
    check("the file: tshark shows name, description and direction", {row[0] for row in shown} == {"box/eth0 @ left:tap-box"} and len({tuple(r) for r in shown}) == 1, shown[:2])


def checksums():
    """Checksums that the VM left to its card are marked, not taken for wrong."""
    send_it = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); [s.sendto(b'acme:%08d' % n, ('10.1.1.2', 5001)) for n in range(1, 21)]"
    started(HOST, "ip", "-n", "box", "neigh", "replace", "10.1.1.2", "lladdr", FAR, "dev", "eth0")
    started(HOST, "ethtool", "-K", "tap-box", "tx", "on")
    started(HOST, "ip", "netns", "exec", "box", "ethtool", "-K", "eth0", "tx", "on")
    capture = Overtap(HOST, "box", "udp", *SMALL)
    run(None, sys.executable, "-c", send_it, prefix=IN_BOX)
    file = capture.finish()[2]
    marked = [p for p in file.packets if p.flags & 1 << 9]
    equal("checksums left to the card are marked as not ready", (len(marked), len(file.packets)), (20, 20))
    started(HOST, "ip", "netns", "exec", "box", "ethtool", "-K", "eth0", "tx", "off")
    capture = Overtap(HOST, "box", "udp", *SMALL)
    run(None, sys.executable, "-c", send_it, prefix=IN_BOX)
    file = capture.finish()[2]
    equal("checksums made by the VM are not", [p.flags & 1 << 9 for p in file.packets], [0] * 20)


def super_frames():
    """Frames of up to 64 KiB, as a real tap carries them, are whole."""
    serve = "import socket; s = socket.create_server(('10.1.1.2', 5009)); print(1, flush=True); c = s.accept()[0]; n = 0\nwhile d := c.recv(1 << 20): n += len(d)\nprint(n)"
    write = "import socket; s = socket.create_connection(('10.1.1.2', 5009)); s.sendall(b'acme:' * 800000)"
    for command in (["ip", "neigh", "del", "10.1.1.2", "dev", "eth0"], ["ethtool", "-K", "eth0", "tx", "on", "tso", "on", "gso", "on"]):
        run(None, *command, prefix=IN_BOX)
    started(HOST, "ethtool", "-K", "tap-box", "tx", "on", "tso", "on", "gso", "on")
    started(HOST, "ip", "addr", "add", "10.1.1.2/24", "dev", "tap-box")
    server = Process(HOST, sys.executable, "-c", serve)
    until(lambda: server.out())
    judge, capture = Tcpdump(HOST, "tap-box"), Overtap(HOST, "box")
    run(None, sys.executable, "-c", write, prefix=IN_BOX)
    equal("super-frames: the stream arrived", (server.wait(), server.out().split()[-1]), (0, "4000000"))
    status, receipt, file = capture.finish()
    honest("super-frames", status, receipt, file)
    same_frames("super-frames: the same as tcpdump", file.frames(), judge.finish().frames())
    check("super-frames: there were some", max(len(p.data) for p in file.packets) > 20000, max(len(p.data) for p in file.packets))
    equal("super-frames: everybody reads the file", complaints(file.path), [])
    started(HOST, "ip", "addr", "del", "10.1.1.2/24", "dev", "tap-box")


def decoded():
    """decode reads what capture has written, and says why it cannot read something."""
    capture = Overtap(HOST, "box", "udp", *SMALL)
    send(30)
    capture.finish()
    done = overtap(HOST, "decode", capture.file, "--output", "tsv")
    head, *rows = [line.split("\t") for line in done.stdout.splitlines()]
    equal("decode: a row for each packet", (done.returncode, len(rows)), (0, 30))
    row = dict(zip(head, rows[0]))
    equal("decode: addresses and ports", [row[key] for key in ("outer_ip_src", "inner_ip_dst", "inner_l4", "inner_dport", "stack")],
          ["10.1.1.1", "10.1.1.2", "udp", "5001", "eth>ip>udp"])
    done = overtap(HOST, "decode", f"{WORK}/nothing.pcapng")
    check("decode: a file that is not there is one sentence", done.returncode == 1 and done.stderr.count("No such file") == 1, done.stderr)
    with open(f"{WORK}/garbage.pcapng", "wb") as file:
        file.write(b"this is no capture at all, but long enough to be one")
    done = overtap(HOST, "decode", f"{WORK}/garbage.pcapng")
    check("decode: garbage is one sentence", done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr)
    with open(capture.file, "rb") as file:
        data = file.read()
    with open(f"{WORK}/cut.pcapng", "wb") as file:
        file.write(data[:len(data) // 2])
    done = overtap(HOST, "decode", f"{WORK}/cut.pcapng")
    check("decode: a cut file gives what is in it, and says that it is cut", 5 < len(done.stdout.splitlines()) < 30 and done.stderr, done.stderr)


def sandbox():
    """The process that reads packets has no rights."""
    before = packet_sockets(HOST)
    capture = Overtap(HOST, "box", *SMALL)
    engine = capture.engine()
    with open(f"/proc/{engine}/status") as status:
        said = dict(line.split(":\t", 1) for line in status.read().splitlines() if ":\t" in line)
    for key, wanted in (("CapEff", "0" * 16), ("CapPrm", "0" * 16), ("CapInh", "0" * 16), ("CapAmb", "0" * 16), ("Seccomp", "2"), ("NoNewPrivs", "1")):
        equal(f"the engine's {key}", said[key], wanted)
    open_files = [os.readlink(f"/proc/{engine}/fd/{fd}") for fd in os.listdir(f"/proc/{engine}/fd")]
    check("the engine holds no other packet sockets than its own", packet_sockets(HOST) == before + 1, open_files)
    status, receipt, _ = capture.finish()
    check("the receipt says which fences stood", receipt["sandbox"]["has_no_capabilities"] and receipt["sandbox"]["has_seccomp"], receipt["sandbox"])

    theirs = f"{WORK}/theirs"
    os.makedirs(theirs)
    os.chown(theirs, 65534, 65534)
    for what, words, kept in (("a file", (), 0), ("a ring of files", ("--rotate-interval", "1s"), 1 << 1)):
        capture = Overtap(HOST, "box", *words, *SMALL, file=f"{theirs}/{what.split()[1]}.pcapng")
        with open(f"/proc/{capture.engine()}/status") as status:
            held = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff"))
        equal(f"{what} in another user's directory: the capabilities kept", held, kept)
        if kept:
            time.sleep(1.2)
        sent = send(5)
        status, receipt = capture.stop(), capture.receipt()
        equal(f"{what} in another user's directory: it is written", (status, receipt["total"]["written"]), (0, sent))
        equal(f"{what} in another user's directory: the receipt does not deny them", receipt["sandbox"]["has_no_capabilities"], kept == 0)


if __name__ == "__main__":
    chapters(
        set_up, killed, signals, hang_up, interface_deleted, interface_down, interface_renamed, handed_over, plugged_in, container, machine_renamed, disk_full, sentences, rights,
        limits, rings, pipes, filters, drops, flood, tags, the_file, checksums, super_frames, decoded, sandbox,
    )
