#!/usr/bin/env python3
"""overtap as an extcap in shape veth: tshark lists the machine and captures it; Wireshark's own calls replayed."""
import json
import os
import re
import signal
import statistics
import sys
import threading
import time

from harness import *
from veth import HOST, Sender, is_gone, numbers, set_up

FOLDER = f"{WORK}/extcap"
# Where Wireshark's files of one user are; nobody else's are touched.
os.environ["XDG_CACHE_HOME"] = f"{WORK}/cache"
os.environ["XDG_CONFIG_HOME"] = f"{WORK}/config"
CATALOGUE = f"{WORK}/cache/overtap/machines.json"
BOX = "overtap_n_box"


def call(*words, seconds=10):
    """A call as Wireshark makes it."""
    return run(HOST, f"{FOLDER}/overtap", *words, timeout=seconds)


def sentences(done):
    """What an extcap has said: keyword and values of each line."""
    said = []
    for line in done.stdout.splitlines():
        keyword, _, rest = line.partition(" ")
        said.append((keyword, dict(re.findall(r"\{(\w+)=(.*?)\}(?=\{|\s|$)", rest))))
    return said


def of(said, keyword):
    return [values for name, values in said if name == keyword]


class Tshark(Process):
    """tshark capturing at an extcap interface into a file."""

    def __init__(self, interface, *words):
        self.file = f"{WORK}/tshark-{getattr(Process, 'number', 0) + 1}.pcapng"
        super().__init__(HOST, "tshark", "-i", interface, "-w", self.file, *words)

    def waiting(self):
        """Until packets can come."""
        return until(lambda: os.path.exists(self.file) and os.path.getsize(self.file) > 100, 15)


def installed():
    """One command puts it where Wireshark looks, another takes it out."""
    done = overtap(HOST, "extcap", "install", "--folder", FOLDER)
    check("install: says where", done.returncode == 0 and f"{FOLDER}/overtap -> " in done.stdout, done.stdout + done.stderr)
    check("install: says what it knows", "1 machines of this host" in done.stdout, done.stdout)
    equal("install: again is no mistake", overtap(HOST, "extcap", "install", "--folder", FOLDER).returncode, 0)
    equal("uninstall", overtap(HOST, "extcap", "uninstall", "--folder", FOLDER).returncode, 0)
    equal("uninstall: it is gone", os.listdir(FOLDER), [])
    done = overtap(HOST, "extcap", "uninstall", "--folder", FOLDER)
    check("uninstall: what is not there is said", done.returncode == 1 and "is not there" in done.stderr, done.stderr)
    with open(f"{FOLDER}/overtap", "w") as file:
        file.write("somebody else's")
    done = overtap(HOST, "extcap", "install", "--folder", FOLDER)
    check("install: no other program is replaced", done.returncode == 1 and "move it away" in done.stderr, done.stderr)
    os.unlink(f"{FOLDER}/overtap")
    started(HOST, OVERTAP, "extcap", "install", "--folder", FOLDER)
    # Wireshark takes a folder of ours from the environment, but not for root.
    place = re.search(r"Extcap path:\s*(\S+)", started(HOST, "tshark", "-G", "folders"))[1]
    started(HOST, "mount", "--bind", FOLDER, place)


def listed():
    """tshark lists the machine by its name."""
    said = started(HOST, "tshark", "-D")
    check("tshark -D lists the machine", f"{BOX} (overtap: box on " in said, said)
    check("tshark -D lists any", "overtap_any (overtap: any VM" in said, said)
    said = started(HOST, "tshark", "-L", "-i", BOX)
    check("tshark -L: Ethernet", "EN10MB" in said, said)


def captured():
    """tshark captures the machine, and any, with a filter."""
    sender = Sender(rate=500)
    try:
        capture_box()
    finally:
        sender.stop()


def capture_box():
    shark = Tshark(BOX, "-f", "udp port 5001", "-c", "200")
    status = shark.wait(30)
    got = numbers(Capture(shark.file))
    check("tshark: 200 packets in a row", status == 0 and got == list(range(got[0], got[0] + 200)), (status, got[:3], len(got), shark.err()))
    shark = Tshark("overtap_any", "-o", "extcap.overtap_any.vm:box", "-c", "20")
    status = shark.wait(30)
    equal("tshark: any VM, by its name", (status, len(numbers(Capture(shark.file)))), (0, 20))
    shark = Tshark(BOX, "-o", f"extcap.{BOX}.snaplen:60", "-f", "udp", "-c", "20")
    shark.wait(30)
    equal("tshark: settings arrive", {len(p.data) for p in Capture(shark.file).packets}, {60})


def stopped():
    """Ctrl-C in tshark: the last packet is there, and nothing is left behind."""
    shark = Tshark(BOX, "-f", "udp port 5001")
    check("stopped: it waits for packets", shark.waiting(), shark.err())
    until(lambda: any("packet-engine" in line for line in started(HOST, "ps", "ax", "-o", "args").splitlines()), 5)
    sent = Sender(rate=1000, count=700).wait()
    time.sleep(0.5)
    status = shark.stop()
    file = Capture(shark.file)
    equal("stopped: every packet", (status, numbers(file)), (0, list(range(1, sent + 1))))
    check("stopped: the interface has its name", any("box" in (i["name"] or "") for i in file.interfaces), file.interfaces)
    left = lambda: [line for line in started(HOST, "ps", "ax", "-o", "args").splitlines() if "packet-engine" in line or "extcap-" in line]
    check("stopped: no process is left", until(lambda: not left(), 5), left())
    shark = Tshark(BOX)
    shark.waiting()
    for pid in [*shark.children(), shark.pid()]:
        os.kill(pid, signal.SIGKILL)
    shark.wait()
    send = Sender(rate=100)
    check("killed: no process is left", until(lambda: not left(), 10), left())
    send.stop()


def mistaken():
    """What cannot be is said where the person looks."""
    shark = Tshark(BOX, "-f", "tcp prot 80")
    status = shark.wait()
    check("a bad filter: tshark stops", status != 0 and "prot" in shark.err(), shark.err())
    shark = Tshark("overtap_any", "-o", "extcap.overtap_any.vm:bix")
    shark.wait()
    check("no such VM: the first line says it", "bix" in shark.err() and "box" in shark.err(), shark.err())
    shark = Tshark("overtap_any")
    shark.wait()
    check("no VM said: how to say it", "say which VM" in shark.err(), shark.err())
    done = call("--capture", "--extcap-interface", "eth0", "--fifo", "/dev/null")
    check("not an interface of ours", done.returncode == 2 and "no interface of overtap" in done.stderr, done.stderr)
    done = call("--capture", "--extcap-interface", BOX)
    check("no pipe", done.returncode == 1 and "--fifo" in done.stderr, done.stderr)


def replayed():
    """Wireshark's own calls: every sentence is one it understands."""
    said = sentences(call("--extcap-interfaces", "--extcap-version=4.4"))
    check("interfaces: a version first", said[0][0] == "extcap" and "version" in said[0][1], said[0])
    equal("interfaces", [i["value"] for i in of(said, "interface")], [BOX, "overtap_any"])
    equal("interfaces: two controls", [c["type"] for c in of(said, "control")], ["string", "button"])
    equal("interfaces without a version: the same", sentences(call("--extcap-interfaces")), said)
    for version, field in (("4.0", "selector"), ("4.4", "editselector")):
        call("--extcap-interfaces", f"--extcap-version={version}")
        args = of(sentences(call("--extcap-config", "--extcap-interface", "overtap_any")), "arg")
        equal(f"Wireshark {version}: a field that it knows", args[0]["type"], field)
    said = sentences(call("--extcap-dlts", "--extcap-interface", BOX))
    equal("dlts", said, [("dlt", {"number": "1", "name": "EN10MB", "display": "Ethernet"})])
    for interface, first in ((BOX, "--point"), ("overtap_any", "--vm")):
        said = sentences(call("--extcap-config", "--extcap-interface", interface))
        args = of(said, "arg")
        equal(f"config of {interface}: begins with", args[0]["call"], first)
        equal(f"config of {interface}: numbers in a row", [a["number"] for a in args], [str(n) for n in range(len(args))])
        check(f"config of {interface}: types that Wireshark knows", {a["type"] for a in args} <= {"string", "integer", "selector", "editselector", "boolflag"}, args)
        check(f"config of {interface}: each value belongs to one", {v["arg"] for v in of(said, "value")} <= {a["number"] for a in args}, said)
    equal("config of any: the machine is offered", [v["value"] for v in of(said, "value") if v["arg"] == "0"], ["box"])
    said = sentences(call("--extcap-config", "--extcap-interface", "overtap_any", "--extcap-reload-option", "point", "--vm", "box"))
    equal("reload: only values of that setting", {(name, values["arg"]) for name, values in said}, {("value", "1")})
    points = {values["value"]: values["display"] for _, values in said}
    check("reload: what each place misses", "auto" in points and any("misses" in shown for shown in points.values()), points)
    done = call("--extcap-capture-filter", "udp port 53", "--extcap-interface", BOX)
    equal("a good filter: silence", (done.returncode, done.stdout), (0, ""))
    done = call("--extcap-capture-filter", "udp prot 53", "--extcap-interface", BOX)
    check("a bad filter: one line that says why", done.returncode == 0 and len(done.stdout.splitlines()) == 1 and "column" in done.stdout, done.stdout)


def toolbar():
    """The toolbar hears how it goes, and what happens."""
    fifo, ours, theirs = f"{WORK}/fifo", f"{WORK}/control-out", f"{WORK}/control-in"
    for path in (fifo, ours, theirs):
        os.mkfifo(path)
    heard, packets = bytearray(), bytearray()

    def listen(path, into):
        with open(path, "rb", buffering=0) as pipe:
            while data := pipe.read(65536):
                into += data

    threads = [threading.Thread(target=listen, args=(path, into)) for path, into in ((fifo, packets), (ours, heard))]
    for thread in threads:
        thread.start()
    capture = Process(HOST, f"{FOLDER}/overtap", "--capture", "--extcap-interface", BOX, "--fifo", fifo,
                      "--extcap-control-in", theirs, "--extcap-control-out", ours, "--extcap-capture-filter", "udp port 5001")
    # Wireshark says that it is there, and waits until somebody reads it.
    with open(theirs, "wb") as pipe:
        pipe.write(b"T\0\0\x02\0\0")
    check("toolbar: the pipe has a file at once", until(lambda: len(packets) > 100, 10), capture.err())
    began = len(packets)
    sent = Sender(rate=500, count=1000).wait()
    check("toolbar: packets within 250 ms", until(lambda: len(packets) > began, 0.25), len(packets))
    time.sleep(1.5)
    equal("toolbar: SIGTERM ends it in peace", (capture.stop(signal.SIGTERM), capture.err()), (0, ""))
    for thread in threads:
        thread.join(5)
    with open(f"{WORK}/fifo.pcapng", "wb") as file:
        file.write(packets)
    file = Capture(f"{WORK}/fifo.pcapng")
    equal("toolbar: the packets", numbers(file), list(range(1, sent + 1)))
    equal("toolbar: the account behind them", [(s["delivered"], s["os_dropped"]) for s in file.statistics], [(sent, 0)])
    messages, at = [], 0
    while at < len(heard):
        length = int.from_bytes(heard[at + 1:at + 4], "big")
        messages.append((heard[at:at + 1], heard[at + 4], heard[at + 5], bytes(heard[at + 6:at + 4 + length]).decode()))
        at += 4 + length
    check("toolbar: whole messages", at == len(heard) and all(m[0] == b"T" for m in messages), messages)
    check("toolbar: how it goes", any(m[1:3] == (0, 1) and m[3].startswith(f"{sent // 1000} 000 packets") and "0 dropped" in m[3] for m in messages), messages)
    check("toolbar: what happens is logged", any(m[1:3] == (1, 2) and "listening on" in m[3] for m in messages), messages)


def many():
    """With 10 000 machines every call is answered at once, and what was asked for is listed."""
    with open(CATALOGUE) as file:
        kept = json.load(file)
    machine = lambda n: {"name": f"vm-{n:05}", "uuid": f"00000000-0000-4000-8000-{n:012}", "host": f"hv-{n // 10}", "tenant": f"t{n % 50}"}
    # From now on it is not renewed: it is newer than now.
    kept.update(taken_s=int(time.time()) + 3600, machines=[machine(n) for n in range(10_000)])
    with open(CATALOGUE, "w") as file:
        json.dump(kept, file)
    shown = lambda: [i["display"] for i in of(sentences(call("--extcap-interfaces")), "interface")]
    check("many: those captured lately and any", not any("vm-" in display for display in shown()) and "any VM" in shown()[-1], shown())
    started(HOST, OVERTAP, "extcap", "favour", "vm-04711")
    check("many: a favourite is listed, with its host", "overtap: vm-04711 on hv-471 (t11)" in shown(), shown())
    started(HOST, OVERTAP, "extcap", "unfavour", "vm-04711")
    check("many: and is not any more", not any("04711" in display for display in shown()), shown())
    done = overtap(HOST, "extcap", "unfavour", "vm-04711")
    check("many: what is no favourite is said", done.returncode == 1 and "no favourite" in done.stderr, done.stderr)
    said = sentences(call("--extcap-config", "--extcap-interface", "overtap_any"))
    equal("many: the selector has all", len([v for v in of(said, "value") if v["arg"] == "0"]), 10_000)
    for what, words in (
        ("the list", ("--extcap-interfaces",)),
        ("the link type", ("--extcap-dlts", "--extcap-interface", "overtap_any")),
        ("the settings", ("--extcap-config", "--extcap-interface", "overtap_any")),
        ("a filter", ("--extcap-capture-filter", "udp port 53", "--extcap-interface", "overtap_any")),
    ):
        took = []
        for _ in range(7):
            began = time.monotonic()
            call(*words)
            took.append(time.monotonic() - began)
        # With the way into the host, which Wireshark does not have to go.
        check(f"many: {what} takes less than 100 ms", min(took) < 0.1, f"median {statistics.median(took) * 1000:.0f} ms")
    os.unlink(CATALOGUE)


def renewed():
    """A new machine is in the list after the next, without anybody asking."""
    equal("renewed: box is there", [i["value"] for i in of(sentences(call("--extcap-interfaces")), "interface")][0], BOX)
    started(HOST, "ip", "netns", "add", "cat")
    started(HOST, "ip", "link", "add", "tap-cat", "type", "veth", "peer", "name", "eth0", "netns", "cat")
    is_listed = lambda: "overtap_n_cat" in call("--extcap-interfaces").stdout
    check("renewed: so is the new one", until(is_listed, 15, 0.5))
    started(HOST, "ip", "netns", "del", "cat")
    check("renewed: and gone when it is gone", until(lambda: not is_listed(), 15, 0.5))


if __name__ == "__main__":
    chapters(set_up, installed, listed, captured, stopped, mistaken, replayed, toolbar, many, renewed)
