#!/usr/bin/env python3
"""The flight recorder in shape veth: what was seen comes back, whole, once, in order, and joins what is seen live."""
import glob
import json
import os
import signal
import sys
import time

from harness import *
from veth import BOX, HOST, IN_BOX, SMALL, Sender, is_gone, numbers, send, set_up

ROOT = f"/proc/{enter(HOST)[2]}/root"


class Recorder(Process):
    """`overtap record`, running beside the test."""

    def __init__(self, *words, directory=None, size="64MiB"):
        Recorder.number = getattr(Recorder, "number", 0) + 1
        self.directory = directory or f"{WORK}/recorder-{Recorder.number}"
        super().__init__(HOST, OVERTAP, "record", *words[:1], "--dir", self.directory, "--size", size, "--output", "json",
                         "--buffer", "4MiB", *words[1:])
        if not until(lambda: "Ctrl-C stops" in self.err() or not self.is_running(), 15) or not self.is_running():
            raise RuntimeError(f"record {words} does not start: {self.err()}")

    def receipt(self):
        text = self.out()
        return json.loads(text[text.index("{\n"):])

    def files(self, ending):
        return sorted(glob.glob(f"{self.directory}/*{ending}"))

    def kill_all(self):
        engine, session = self.children()[0], self.pid()
        for pid in (engine, session):
            os.kill(pid, signal.SIGKILL)
        self.wait()
        until(lambda: is_gone(engine), 3)


def past(recorder, vm, *words, last="10m"):
    """What was recorded of a machine: exit status, receipt, file."""
    file = f"{WORK}/past-{getattr(Process, 'number', 0) + 1}.pcapng"
    capture = Overtap(HOST, vm, "--last", last, "--no-live", "--recorder", recorder.directory, *words, file=file)
    status = capture.wait(30)
    return status, capture.receipt(), Capture(file)


def settled():
    """What was sent before is in the recorder's chunks."""
    time.sleep(2.2)


def sums(receipt):
    """Whether a recorder's account adds up."""
    drops = ("kernel_dropped", "other_tenant", "undecidable", "not_selected", "after_limit", "queue_full", "sink_failed", "written")
    accounts = [receipt["total"], *receipt["points"]]
    return receipt["unaccounted"] == 0 and all(a["received"] == sum(a[drop] for drop in drops) for a in accounts)


def seam():
    """What was recorded, then live: not a packet missing or twice at the seam."""
    recorder = Recorder("box")
    sender = Sender(rate=5000)
    time.sleep(3)
    for round in range(3):
        capture = Overtap(HOST, "box", "--last", "1m", "--recorder", recorder.directory, *SMALL)
        began = time.monotonic()
        check(f"seam {round}: the past arrives at once", until(lambda: os.path.getsize(capture.file) > 100_000, 5), capture.err())
        check(f"seam {round}: within half a second", time.monotonic() - began < 0.5, f"{time.monotonic() - began:.3f} s")
        is_live = lambda: any(p.interface == 0 for p in Capture(capture.file).packets)
        # Reading the file here takes its share of that.
        check(f"seam {round}: live within two seconds", until(is_live, 5, 0.1) and time.monotonic() - began < 2, f"{time.monotonic() - began:.3f} s")
        time.sleep(4)
        status, receipt, file = capture.finish()
        honest(f"seam {round}", status, receipt, file)
        got = numbers(file)
        check(f"seam {round}: every packet once, in order", got == list(range(1, len(got) + 1)), (got[:3], len(got)))
        by = [sum(1 for p in file.packets if p.interface == number) for number in (0, 1)]
        check(f"seam {round}: some were live, some recorded", min(by) > 1000, by)
        times = [p.time for p in file.packets]
        check(f"seam {round}: the file is in the order of time", times == sorted(times))
        equal(f"seam {round}: both parts have the same interface name", len({i["name"] for i in file.interfaces}), 1)
        equal(f"seam {round}: everybody reads the file", complaints(file.path), [])
        directions = {p.direction for p in file.packets if p.interface == 1}
        equal(f"seam {round}: recorded packets know their direction", directions, {"out"})
    sent = sender.stop()
    settled()
    status, receipt, file = past(recorder, "box")
    honest("no live", status, receipt, file)
    equal("no live: all that was sent", numbers(file), list(range(1, sent + 1)))
    check("no live: why it ended", receipt["end"] == "all that was recorded is written", receipt["end"])
    check("no live: before the recording is said", "not recorded" in " ".join(receipt["events"]), receipt["events"])
    equal("the recorder ends in peace", (recorder.stop(), sums(recorder.receipt()), recorder.receipt()["lost"]), (0, True, 0))
    equal("the recorder has counted what was sent", recorder.receipt()["total"]["written"], len(file.packets))


def into_a_pipe():
    """The past and then live into a pipe, as Wireshark reads it."""
    recorder = Recorder("box")
    sent = send(500)
    settled()
    path = f"{WORK}/pipe.pcapng"
    with open(path, "wb") as out:
        capture = Overtap(HOST, "box", "udp port 5001", "--last", "30s", "--recorder", recorder.directory, file="-", stdout=out)
    check("pipe: what was recorded is there before anything new", until(lambda: len(Capture(path).packets) == sent, 5), capture.err())
    time.sleep(3)
    send(100)
    time.sleep(0.5)
    equal("pipe: exit status", capture.stop(), 0)
    equal("pipe: recorded and live", numbers(Capture(path)), [*range(1, 501), *range(1, 101)])
    recorder.stop()


def killed():
    """A recorder is killed: what it wrote is there, the rest is said."""
    recorder = Recorder("box")
    sender = Sender(rate=3000)
    time.sleep(3.3)
    recorder.kill_all()
    at = time.time_ns()
    time.sleep(1.5)
    again = Recorder("box", directory=recorder.directory)
    until_again = time.time_ns()
    time.sleep(2)
    sent = sender.stop()
    settled()
    status, receipt, file = past(again, "box")
    got = numbers(file)
    check("killed: no packet twice, all in order", got == sorted(set(got)), len(got))
    holes = [(a, b) for a, b in zip(got, got[1:]) if b != a + 1]
    equal("killed: one hole", len(holes), 1)
    equal("killed: what comes before and after is whole", (got[0], got[-1]), (1, sent))
    index = got.index(holes[0][0])
    lost_ms = (at - file.packets[index].time) / 1e6
    check("killed: at most the last 1.3 s are missing", lost_ms < 1300, f"{lost_ms:.0f} ms")
    said = [comment for comment in file.comments if "not recorded" in comment]
    check("killed: the gap is said in the file", len(said) >= 1, file.comments)
    holder = [p for p in file.packets if any("not recorded" in c for c in p.comments)]
    # The new recorder's socket is open a moment before it can say since when.
    check("killed: where it is", holder and 0 <= numbers_of(holder[-1]) - holes[0][1] < 10, ([numbers_of(p) for p in holder], holes))
    check("killed: the receipt has it too", any("not recorded" in event for event in receipt["events"]), receipt["events"])
    check("killed: the second recorder came meanwhile", file.packets[index + 1].time < until_again + 10**9)
    again.stop()


def numbers_of(packet, marker=b"acme:"):
    return int(packet.data[packet.data.rindex(marker) + len(marker):][:8])


def dead_recorder():
    """The recorder was killed and is still dead: what it has, then live at once, and the gap said."""
    recorder = Recorder("box")
    send(300)
    settled()
    recorder.kill_all()
    time.sleep(4)
    capture = Overtap(HOST, "box", "--last", "1m", "--recorder", recorder.directory, *SMALL)
    time.sleep(1)
    send(200)
    status, receipt, file = capture.finish()
    honest("dead recorder", status, receipt, file)
    equal("dead recorder: recorded and live", numbers(file), [*range(1, 301), *range(1, 201)])
    check("dead recorder: the gap up to now is said", sum("not recorded" in c for c in file.comments) >= 2, file.comments)


def machines_apart():
    """Several machines: each sees its own, those that come later are recorded, those that left can be read."""
    recorder = Recorder("b*x*")
    before = packet_sockets(HOST)
    for name, mac in (("box2", "02:00:00:00:0b:12"), ("bax", "02:00:00:00:0b:13")):
        started(HOST, "ip", "netns", "add", name)
        started(HOST, "ip", "link", "add", f"tap-{name}", "type", "veth", "peer", "name", "eth0", "address", mac, "netns", name)
        started(HOST, "ip", "link", "set", f"tap-{name}", "up")
        started(HOST, "ip", "-n", name, "link", "set", "eth0", "up")
    check("a machine that comes later is recorded", until(lambda: packet_sockets(HOST) == before + 2, 5), recorder.err())
    check("... and it is said", until(lambda: recorder.err().count("recording box2/") == 1, 5), recorder.err())
    in_box2 = [*enter(HOST), "nsenter", "--net=/run/netns/box2"]
    send(200, marker="box2:", prefix=in_box2)
    send(100)
    settled()
    status, receipt, file = past(recorder, "box2")
    honest("two machines", status, receipt, file)
    equal("two machines: all of the one", len(file.holding(b"box2:")), 200)
    equal("two machines: nothing of the other", len(file.holding(b"acme:")), 0)
    started(HOST, "ip", "netns", "del", "box2")
    check("a machine that leaves is said", until(lambda: "box2" in recorder.err().split("removed")[0] and "removed" in recorder.err(), 5), recorder.err())
    check("the recorder goes on without it", recorder.is_running())
    send(50)
    settled()
    capture = Overtap(HOST, "box2", "--last", "5m", "--recorder", recorder.directory)
    status = capture.wait(20)
    equal("a machine that has left can still be read", (status, len(Capture(capture.file).holding(b"box2:"))), (0, 200))
    check("... and it is said that it has left", "only what was recorded" in capture.err(), capture.err())
    state = json.loads(overtap(HOST, "recorder", "status", "--dir", recorder.directory, "--output", "json").stdout)
    equal("status has all machines", [m["name"] for m in state["machines"]], ["bax", "box", "box2"])
    spans = {m["name"]: m["spans"] for m in state["machines"]}
    check("status says when", spans["box"][0][0] < spans["box2"][0][0] and spans["box2"][-1][1] < spans["box"][-1][1], spans)
    equal("status counts packets", {m["name"]: m["packets"] for m in state["machines"]}["box"], 150)
    recorder.stop()
    check("the recorder's account adds up", sums(recorder.receipt()), recorder.receipt())
    done = overtap(HOST, "capture", "nobody", "--last", "5m", "--recorder", recorder.directory, "-w", f"{WORK}/never.pcapng")
    check("a machine nobody has seen", done.returncode == 1 and "nobody" in done.stderr and not os.path.exists(f"{WORK}/never.pcapng"), done.stderr)
    started(HOST, "ip", "netns", "del", "bax")


def selected_and_sliced():
    """Filter and snaplen of the recorder, then those of the question."""
    recorder = Recorder("box", "--snaplen", "64", "--", "udp", "port", "5001")
    send(40, size=500)
    send(30, size=500, port=6001)
    settled()
    status, receipt, file = past(recorder, "box")
    honest("sliced", status, receipt, file)
    equal("sliced: only what was selected", len(file.packets), 40)
    check("sliced: to the recorder's snaplen", all(len(p.data) == 64 and p.wire_len == 500 for p in file.packets))
    equal("sliced: the receipt says so", receipt["total"]["sliced"], 40)
    equal("sliced: the filter is in the file", file.interfaces[1]["filter"], b"\0udp port 5001")
    status, receipt, file = past(recorder, "box", "src host 10.1.1.2")
    equal("a question has its own filter", (status, len(file.packets), receipt["total"]["not_selected"]), (0, 0, 40))
    status, receipt, file = past(recorder, "box", "-c", "10")
    equal("a question has its own limits", (status, len(file.packets)), (0, 10))
    equal("the recorder took what was selected", (recorder.stop(), recorder.receipt()["total"]["written"]), (0, 40))


def keys():
    """Without the key nothing can be read; a new key makes the old one useless."""
    recorder = Recorder("box")
    send(100)
    recorder.stop()
    key = f"{recorder.directory}.key"
    equal("the key is its owner's", (oct(os.stat(key).st_mode & 0o777), oct(os.stat(recorder.directory).st_mode & 0o777)), ("0o600", "0o700"))
    held = b"".join(open(file, "rb").read() for file in recorder.files(""))
    check("nothing is in the clear", b"acme" not in held and b"box" not in held and b"tap-" not in held)
    os.rename(key, f"{key}.away")
    never = f"{WORK}/never.pcapng"
    done = overtap(HOST, "capture", "box", "--last", "1m", "--no-live", "--recorder", recorder.directory, "-w", never)
    check("no key: a sentence, and no file", done.returncode == 1 and "key file" in done.stderr and not os.path.exists(never), done.stderr)
    other = Recorder("box")
    other.stop()
    done = overtap(HOST, "capture", "box", "--last", "1m", "--no-live", "--recorder", recorder.directory, "--key-file", f"{other.directory}.key", "-w", never)
    check("another key: a sentence, and no file", done.returncode == 1 and "not in the key file" in done.stderr and not os.path.exists(never), done.stderr)
    os.rename(f"{key}.away", key)
    os.chmod(key, 0o644)
    done = overtap(HOST, "recorder", "status", "--dir", recorder.directory)
    check("a key others may read is refused", done.returncode == 1 and "chmod 600" in done.stderr, done.stderr)
    os.chmod(key, 0o600)
    with open(key) as file:
        old = file.read()
    done = overtap(HOST, "recorder", "rotate", "--dir", recorder.directory)
    check("rotate", done.returncode == 0 and "1 segments" in done.stdout, done.stdout + done.stderr)
    equal("rotated: all is still there", len(past(recorder, "box")[2].holding(b"acme:")), 100)
    with open(key) as file:
        new = file.read()
    check("rotated: the old key is gone", old.strip() not in new and len(new.splitlines()) == 1)
    with open(key, "w") as file:
        file.write(old)
    done = overtap(HOST, "recorder", "status", "--dir", recorder.directory)
    check("rotated: the old key opens nothing", "not in the key file" in done.stdout, done.stdout)


def damaged():
    """Index and segments are damaged: what can be read is, what cannot is named, with exit status 3."""
    recorder = Recorder("box")
    sender = Sender(rate=2000)
    time.sleep(4)
    sent = sender.stop()
    recorder.stop()
    whole = past(recorder, "box")
    equal("undamaged", (whole[0], numbers(whole[2])), (0, list(range(1, sent + 1))))
    for file in recorder.files(".idx"):
        os.unlink(file)
    equal("without an index: the same", numbers(past(recorder, "box")[2]), numbers(whole[2]))
    segment = max(recorder.files(".seg"), key=os.path.getsize)
    with open(segment, "r+b") as file:
        file.seek(os.path.getsize(segment) // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 0x10]))
    status, receipt, file = past(recorder, "box")
    equal("a changed byte: exit status", status, 3)
    missing = sent - len(numbers(file))
    check("a changed byte: costs a chunk", 0 < missing < sent, missing)
    check("a changed byte: is named", any("was changed" in event and f"{missing} packets" in event for event in receipt["events"]), receipt["events"])
    check("a changed byte: the account adds up", adds_up(receipt) and receipt["lost"] == missing, receipt["total"])
    check("a changed byte: the file says it", any("was changed" in comment for comment in file.comments), file.comments)


def small_disk():
    """A disk smaller than the budget: the oldest goes, the recorder goes on."""
    started(HOST, "mkdir", "-p", "/run/small")
    started(HOST, "mount", "-t", "tmpfs", "-o", "size=12m", "none", "/run/small")
    for what, words in (("with a reserve", ("--min-free", "2MiB")), ("without a reserve", ("--min-free", "0"))):
        recorder = Recorder("box", *words, directory="/run/small/r")
        sender = Sender(rate=10000, size=1000)
        time.sleep(4)
        sent = sender.stop()
        status = recorder.stop()
        receipt = recorder.receipt()
        check(f"small disk, {what}: the account adds up", sums(receipt), receipt)
        equal(f"small disk, {what}: nothing was lost but the oldest", (status, receipt["lost"]), (0, 0))
        check(f"small disk, {what}: segments were removed", receipt["removed_segments"] > 5, receipt["removed_segments"])
        status, _, file = past(recorder, "box")
        got = numbers(file)
        check(f"small disk, {what}: the newest are there without holes", got == list(range(got[0], sent + 1)) and len(got) > 5000, (got[:2], len(got), sent))
        started(HOST, "sh", "-c", "rm -rf /run/small/*")
    started(HOST, "umount", "/run/small")
    recorder = Recorder("box", size="8MiB")
    sender = Sender(rate=10000, size=1000)
    most = 0
    for _ in range(40):
        time.sleep(0.1)
        most = max(most, sum(os.path.getsize(file) for file in recorder.files("") if os.path.exists(file)))
    sent = sender.stop()
    recorder.stop()
    check("the budget holds at any time", 6 << 20 < most <= 8 << 20, most)
    got = numbers(past(recorder, "box")[2])
    check("the newest are there", got == list(range(got[0], sent + 1)), (got[:2], sent))


def fences():
    """The process that records has no rights; wrong usage is a sentence."""
    recorder = Recorder("box")
    engine = recorder.children()[0]
    with open(f"/proc/{engine}/status") as status:
        said = dict(line.split(":\t", 1) for line in status.read().splitlines() if ":\t" in line)
    equal("the engine has no rights", [said[key] for key in ("CapEff", "CapPrm", "Seccomp")], ["0" * 16, "0" * 16, "2"])
    recorder.stop()
    check("the receipt says so", recorder.receipt()["sandbox"]["has_seccomp"], recorder.receipt()["sandbox"])
    for what, words, status, wanted in (
        ("nothing selected", ("record",), 2, "nothing is selected"),
        ("no such filter", ("record", "box", "--", "udp", "pork", "5001"), 2, "pork"),
        ("too small", ("record", "box", "--dir", f"{WORK}/tiny", "--size", "1MiB"), 1, "--size at least"),
        ("no recorder", ("capture", "box", "--last", "1m", "--recorder", f"{WORK}/nowhere", "-w", f"{WORK}/n.pcapng"), 1, "nowhere"),
        ("--no-live alone", ("capture", "box", "--no-live"), 2, "--last"),
    ):
        done = overtap(HOST, *words)
        check(f"{what}: a sentence", done.returncode == status and wanted in done.stderr, f"{done.returncode}: {done.stderr}")


if __name__ == "__main__":
    chapters(
        set_up, seam, into_a_pipe, killed, dead_recorder, machines_apart, selected_and_sliced, keys, damaged, small_disk, fences,
    )
