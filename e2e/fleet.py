#!/usr/bin/env python3
"""overtap on several hosts: a controller on mon, agents on hv-1 and hv-2, VMs that migrate, two tenants."""
import collections
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

from harness import *

ADDRESS = "10.0.0.9:7443"
WEB = "10.0.0.9:7480"
AGENTS = {}
SERVER = []


# --- the site's own words ---------------------------------------------------------------------


def folder(name):
    path = f"{WORK}/{name}"
    os.makedirs(path, exist_ok=True)
    return path


def login_of(user):
    os.environ["OVERTAP_LOGIN"] = f"{WORK}/login-{user}.json"


def far(*words, user="admin", timeout=60):
    """A word of overtap on mon, as a user of the controller."""
    login_of(user)
    return overtap("mon", *words, timeout=timeout)


def must(*words, user="admin"):
    done = far(*words, user=user)
    if done.returncode != 0:
        raise RuntimeError(f"{words} as {user}: {done.stderr}{done.stdout}")
    return done.stdout


def log_in(user, text):
    """Types what somebody was told to type."""
    line = re.search(r"overtap (login \S+ --ca \S+ --token \S+)", text)
    if not line:
        raise RuntimeError(f"no line to log in with in: {text}")
    must(*line[1].split(), user=user)


def lasting(process):
    """A process that outlives its chapter; the end of the lab ends it."""
    Process.running.remove(process)
    return process


def serve(*prefix):
    SERVER.append(lasting(Process("mon", *prefix, OVERTAP, "serve", "--listen", ADDRESS, "--web", WEB, "--dir", folder("controller"))))
    if not until(lambda: "listening on" in SERVER[-1].err()):
        raise RuntimeError(f"the controller does not start: {SERVER[-1].err()}")


def agent(host, *words):
    AGENTS[host] = lasting(Process(host, OVERTAP, "agent", "--dir", folder(f"agent-{host}"), *words))
    if not until(lambda: "attending" in AGENTS[host].err()):
        raise RuntimeError(f"the agent of {host} does not start: {AGENTS[host].err()}")


def there():
    """Hosts whose agents are connected."""
    status = json.loads(far("status", "--output", "json").stdout or '{"agents":[]}')
    return {agent["host"] for agent in status["agents"] if agent["is_connected"]}


class Far(Overtap):
    """`overtap capture` on mon, as a user of the controller."""

    def __init__(self, vm, *words, user="admin", **more):
        login_of(user)
        super().__init__("mon", vm, *words, **more)


def where(name):
    for host in ("hv-1", "hv-2"):
        if name in lab_guests(host):
            return host
    return None


def lab_guests(host):
    return started(host, "virsh", "-q", "list", "--name").split()


def other(host):
    return {"hv-1": "hv-2", "hv-2": "hv-1"}[host]


def migrate(name, *words):
    here = where(name)
    lab("migrate", name, here, other(here), *words)


def marked(capture, marker, count, source=None, target=None):
    """How often each numbered datagram of a marker is in the capture, sent by `source` and to `target` if these are given."""
    numbers = collections.Counter()
    for packet in capture.packets:
        if packet.data[23] != 17 or source and packet.data[26:30] != source or target and packet.data[30:34] != target:
            continue
        if found := re.search(marker.encode() + rb":(\d{6})", packet.data):
            numbers[int(found[1])] += 1
    return [number for number in range(1, count + 1) if numbers[number] == 0], {n: c for n, c in numbers.items() if c > 1}


def far_adds_up(receipt):
    """Whether a session's receipt adds up to the packet, host by host and here."""
    parts = [part["receipt"] for part in receipt["parts"] if part["receipt"]]
    drops = ("kernel_dropped", "other_tenant", "undecidable", "not_selected", "after_limit", "queue_full", "sink_failed", "written")
    total = receipt["total"]
    return (
        all(part["unaccounted"] == 0 for part in parts)
        and total["received"] == sum(total[drop] for drop in drops)
        and receipt["received"] == receipt["copies"] + receipt["after_limit"] + receipt["unwritten"] + receipt["written"]
        and receipt["unaccounted"] == 0
    )


def whole(what, status, receipt, capture):
    """What has to be so for every session that lost nothing."""
    equal(f"{what}: exit status", status, 0)
    check(f"{what}: the receipt adds up to the packet", far_adds_up(receipt), json.dumps({**receipt, "parts": []}))
    check(f"{what}: the receipt says what the file holds", receipt["written"] == len(capture.packets) and receipt["lost"] == 0,
          f"{receipt['written']} and {len(capture.packets)}")
    times = [packet.time for packet in capture.packets]
    check(f"{what}: one clock, in order", receipt["out_of_order"] == 0 and times == sorted(times), receipt["out_of_order"])
    check(f"{what}: nothing of bravo in it", not any(b"bravo:" in packet.data for packet in capture.packets))


WEB_IP = bytes([10, 0, 7, 10])


def ended(what, capture, sending, seconds=20):
    """Ends traffic and session: nothing may be lost, and every datagram web sent is there once. Receipt and file."""
    sent = sending.stop()
    time.sleep(0.5)
    status, receipt, file = capture.finish(seconds)
    whole(what, status, receipt, file)
    missing, twice = marked(file, "acme", sent["sent"], WEB_IP)
    check(f"{what}: every datagram once", not missing and not twice, f"missing {missing[:9]}, twice {list(twice)[:9]}; {sent}")
    return receipt, file


# --- chapters ---------------------------------------------------------------------------------


def set_up():
    """A controller, two agents, an administrator; nothing else installed or configured."""
    serve()
    log_in("admin", SERVER[0].err())
    done = far("find", "web")
    check("who was granted nothing finds nothing", done.returncode == 1 and "web" in done.stderr, done.stderr + done.stdout)
    must("grants", "add", "admin", "--machine", "all")
    line = must("agents", "invite", "--address", ADDRESS, "--uses", "2")
    token = re.search(r"ovte_\w+", line)[0]
    for host in ("hv-1", "hv-2"):
        started(host, OVERTAP, "agent", "--dir", folder(f"agent-{host}"), "enrol", "--token", token)
        agent(host)
    again = run("hv-3", OVERTAP, "agent", "--dir", folder("agent-hv-3"), "enrol", "--token", token)
    check("an invitation for two hosts does not take a third", again.returncode == 1 and "hv-3" not in must("status"), again.stderr)
    check("both agents are there", until(lambda: there() == {"hv-1", "hv-2"}), there())
    check("find knows the machines of both hosts", until(lambda: "web" in must("find", "web") and "db" in must("find", "db")))


def story():
    """Capture by name from a third machine, a TCP stream, a live migration in the middle: one file."""
    size = 3_000_000
    capture = Far("web", "--point", "tap")
    stream = Traffic("web", "db", "--tcp", size, name="stream")
    beside = Traffic("web", "db", "--udp", "200pps", "--count", 1600, name="acme")
    foreign = Traffic("web-b", "db-b", "--udp", "200pps", "--count", 1600, name="bravo")
    time.sleep(1)
    began = time.time()
    migrate("web")
    ended = time.time()
    counts, sent = stream.wait(), beside.wait()
    foreign.wait()
    time.sleep(0.5)
    status, receipt, file = capture.finish()
    whole("story", status, receipt, file)
    equal("story: the file has two hosts", [part["host"] for part in receipt["parts"]], ["hv-1", "hv-2"])
    missing, twice = marked(file, "acme", sent["sent"], WEB_IP)
    check("story: every datagram the guest sent, once", not missing and not twice, f"missing {missing[:9]}, twice {list(twice)[:9]}; {sent}")
    equal("story: the stream arrived", counts.get("received_bytes", size), size)
    payload = tcp_payload(file, WEB_IP)
    check("story: the file has every byte of the stream", payload >= size, f"{payload} of {size}; {counts}")
    moves = receipt["moves"]
    if check("story: one move, from hv-1 to hv-2", [(m["from"], m["to"]) for m in moves] == [("hv-1", "hv-2")], moves):
        gap, judged = moves[0]["gap_ms"], longest_silence(file, began, ended)
        check("story: the gap is that of the guest's own packets", abs(gap - judged) < 5, f"{gap} and {judged}")
    comment = subprocess.run(["tshark", "-r", capture.file, "-Y", "frame.comment contains \"moved from\"", "-T", "fields", "-e", "frame.comment"],
                             capture_output=True, text=True).stdout
    check("story: Wireshark shows the move at its packet", "web moved from hv-1 to hv-2" in comment, comment)
    again = overtap("mon", "receipt", capture.file)
    check("story: the receipt can be read again from the file", again.stdout.startswith("Receipt: web") and "web moved from hv-1 to hv-2" in again.stdout and again.returncode == 0, again.stdout + again.stderr)


def tcp_payload(capture, source):
    """Distinct bytes of TCP streams that `source` sent, by their sequence numbers."""
    spans = collections.defaultdict(list)
    for packet in capture.packets:
        data = packet.data
        if data[12:14] != b"\x08\x00" or data[23] != 6 or data[26:30] != source:
            continue
        header = 14 + 4 * (data[14] & 15)
        length = int.from_bytes(data[16:18], "big") - 4 * (data[14] & 15) - 4 * (data[header + 12] >> 4)
        if length > 0:
            sequence = int.from_bytes(data[header + 4:header + 8], "big")
            spans[data[header:header + 4]].append((sequence, sequence + length))
    total = 0
    for each in spans.values():
        end = 0
        for first, last in sorted(each):
            total += max(0, last - max(first, end))
            end = max(end, last)
    return total


def longest_silence(capture, began, ended):
    """The longest time in ms in which web sent nothing, between two times, ARP and RARP included."""
    mine = mac("52:54:00:00:07:0a")
    times = [p.time for p in capture.packets if p.data[6:12] == mine and began - 1 <= p.time / 1e9 <= ended + 1]
    return max((b - a) / 1e6 for a, b in zip(times, times[1:]))


def uplink():
    """The same at the uplinks, tunnels removed."""
    capture = Far("web", "--point", "uplink", "--strip")
    sending = Traffic("web", "cache", "--udp", "100pps", "--count", 700, name="acme")
    time.sleep(0.5)
    migrate("web")
    sent = sending.wait()
    time.sleep(0.5)
    status, receipt, file = capture.finish()
    whole("uplink", status, receipt, file)
    missing, twice = marked(file, "acme", sent["sent"], WEB_IP)
    check("uplink: no datagram twice", not twice, twice)
    # Before or after the move both are on one host, and no uplink sees that; all else is there.
    stayed = list(range(missing[0], missing[-1] + 1)) if missing else []
    at_an_end = 0 < len(missing) < sent["sent"] and (missing[0] == 1 or missing[-1] == sent["sent"])
    check("uplink: what is missing is what stayed on the host", missing == stayed and at_an_end, (missing[:3], missing[-3:], len(missing), sent))
    check("uplink: the move is there", receipt["moves"], receipt["notes"])


def cancelled():
    """A migration that is cancelled: nothing changes, nothing is missing."""
    capture = Far("web", "--point", "tap")
    here = where("web")
    sending = Traffic("web", "db", "--udp", "200pps", "--count", 1200, name="acme")
    moving = subprocess.Popen(["lab", "migrate", "web", here, other(here), "--p2p", "--bandwidth", "4"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    arriving = until(lambda: "web" in started(other(here), "virsh", "-q", "list", "--all", "--name").split(), 10)
    time.sleep(1)
    aborted = run(here, "virsh", "-q", "domjobabort", "web")
    moving.wait(60)
    check("cancelled: the migration was under way and ended where it began", arriving and aborted.returncode == 0 and where("web") == here, aborted.stderr)
    receipt, _ = ended("cancelled", capture, sending)
    equal("cancelled: no move is claimed", receipt["moves"], [])


def failed():
    """A migration that fails because the destination's QEMU is killed: nothing changes, nothing is missing."""
    capture = Far("web", "--point", "tap")
    here = where("web")
    sending = Traffic("web", "db", "--udp", "200pps", name="acme")
    moving = subprocess.Popen(["lab", "migrate", "web", here, other(here), "--p2p", "--bandwidth", "4"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    arriving = until(lambda: run(other(here), "pgrep", "-f", "guest=web,").stdout.strip(), 10)
    time.sleep(1)
    killed = run(other(here), "pkill", "-9", "-f", "guest=web,")
    moving.wait(60)
    check("failed: the migration was under way and ended where it began",
          arriving and killed.returncode == 0 and moving.returncode != 0 and until(lambda: where("web") == here, 5), killed.stderr)
    time.sleep(1)
    receipt, _ = ended("failed", capture, sending)
    equal("failed: no move is claimed", receipt["moves"], [])


def claimed_twice():
    """A second VM of the same identity comes and goes on the other host, as after a failed migration: nothing of web is missing."""
    here = where("web")
    twin = f"{WORK}/twin.xml"
    with open(twin, "w") as file:
        file.write(started(here, "virsh", "dumpxml", "--inactive", "web"))
    capture = Far("web", "--point", "tap")
    session = re.search(r"session (s-\w+)", capture.err())[1]
    sending = Traffic("web", "db", "--udp", "100pps", name="acme")
    captured = lambda: json.loads(must("sessions", "show", session, "--output", "json"))["parts"]
    there = lambda: [part for part in captured() if part["host"] == other(here)]
    for count in (1, 2, 3):
        started(other(here), "virsh", "-q", "create", twin)
        check(f"claimed twice: the twin is captured, too, {count}", until(lambda: len(there()) >= count, 8), captured())
        time.sleep(1)
        started(other(here), "virsh", "-q", "destroy", "web")
        check(f"claimed twice: and left again, {count}", until(lambda: all(part["ended"] for part in there()), 8), there())
    started(other(here), "virsh", "-q", "create", twin)
    said = until(lambda: "claim web at once" in must("sessions", "show", session), 30)
    check("claimed twice: what lasts is said, what flaps is not", said and must("sessions", "show", session).count("at once") == 1, must("sessions", "show", session))
    started(other(here), "virsh", "-q", "destroy", "web")
    time.sleep(1)
    receipt, _ = ended("claimed twice", capture, sending)
    running = [part for part in receipt["parts"] if part["host"] == here]
    equal("claimed twice: where web runs it was captured in one piece", len(running), 1)


def clocks():
    """The controller's clock is 3 s behind those of the hosts: all times are the controller's, and how far each host is off is said."""
    # A kernel has one clock for all hosts of the lab, and stamps the packets with it; so it is the
    # controller, which sees no packet, that gets another one. Hosts that differ from each other are
    # in crates/overtap/tests/control/stored.rs.
    SERVER[-1].stop(signal.SIGTERM)
    serve("env", f"LD_PRELOAD={FAKETIME}", "FAKETIME=-3s", "FAKETIME_DONT_FAKE_MONOTONIC=1")
    try:
        check("clocks: the agents come back", until(lambda: there() == {"hv-1", "hv-2"}, 15), there())
        capture = Far("web", "--point", "tap")
        sending = Traffic("web", "db", "--udp", "100pps", name="acme")
        time.sleep(1)
        began = time.time() - 3
        migrate("web")
        time.sleep(1)
        finished = time.time() - 3
        receipt, file = ended("clocks", capture, sending)
        off = {clock["host"]: (clock["ahead_ms"], clock["uncertainty_ms"]) for clock in receipt["clocks"]}
        check("clocks: each host is said to be 3 s ahead, within what is said",
              set(off) == {"hv-1", "hv-2"} and all(abs(ahead - 3000) <= within < 50 for ahead, within in off.values()), off)
        times = [packet.time / 1e9 for packet in file.packets]
        check("clocks: the times of the packets are the controller's", began - 10 < times[0] < began and finished - 1 < times[-1] < finished + 3, f"{times[0] - began} {times[-1] - finished}")
        moves = receipt["moves"]
        if check("clocks: one move", len(moves) == 1, moves):
            gap, judged = moves[0]["gap_ms"], longest_silence(file, began, finished)
            check("clocks: the gap is that of the guest's own packets", abs(gap - judged) < 5, f"{gap} and {judged}")
    finally:
        SERVER[-1].stop(signal.SIGTERM)
        serve()
        check("clocks: and back", until(lambda: there() == {"hv-1", "hv-2"}, 15), there())


FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


def post_copy():
    """Post-copy: the VM runs on the destination long before the migration is over."""
    capture = Far("web", "--point", "tap")
    sending = Traffic("web", "db", "--udp", "100pps", name="acme")
    time.sleep(1)
    migrate("web", "--p2p", "--postcopy", "--postcopy-after-precopy")
    time.sleep(1)
    receipt, _ = ended("post-copy", capture, sending)
    equal("post-copy: one move", len(receipt["moves"]), 1)


def hot_plugged():
    """The VM gets another vNIC in mid-session: it is captured there too, and what goes on is not cut."""
    here = where("web")
    capture = Far("web", "--point", "tap")
    sending = Traffic("web", "db", "--udp", "100pps", name="acme")
    time.sleep(1)
    nic = f"{WORK}/nic.xml"
    with open(nic, "w") as file:
        file.write("<interface type='bridge'><mac address='52:54:00:00:aa:01'/><source bridge='br-int'/>"
                   "<virtualport type='openvswitch'/><model type='virtio'/></interface>")
    started(here, "virsh", "-q", "attach-device", "web", nic, "--live")
    try:
        session = re.search(r"session (s-\w+)", capture.err())[1]
        two = until(lambda: must("sessions", "show", session).count(" on hv-") >= 2, 8)
        check("hot-plugged: another part begins", two, must("sessions", "show", session))
        time.sleep(1)
        receipt, _ = ended("hot-plugged", capture, sending)
        interfaces = {i["label"] for part in receipt["parts"] for i in part["receipt"]["interfaces"]}
        equal("hot-plugged: two interfaces of it were listened at", len({label.split(" @ ")[1] for label in interfaces}), 2)
    finally:
        run(here, "virsh", "-q", "detach-device", "web", nic, "--live")


def back_and_forth():
    """Ten migrations under load, there and back."""
    capture = Far("web", "--point", "tap")
    sending = Traffic("web", "db", "--udp", "100pps", name="acme")
    for _ in range(10):
        migrate("web")
    receipt, _ = ended("back and forth", capture, sending)
    equal("back and forth: ten moves", len(receipt["moves"]), 10)


def without_agent():
    """The destination has no agent: said at once; what the VM exchanges with hosts that have one is captured there; all of it when it is back."""
    here = where("web")
    near = {"hv-1": "cache", "hv-2": "probe"}
    address = {"hv-1": bytes([10, 0, 7, 30]), "hv-2": bytes([10, 0, 7, 40])}
    AGENTS[other(here)].stop(signal.SIGTERM)
    capture = Far("web", "--point", "tap")
    session = re.search(r"session (s-\w+)", capture.err())[1]
    parts = lambda: json.loads(must("sessions", "show", session, "--output", "json"))["parts"]
    across = Traffic("web", near[here], "--udp", "100pps", name="across")
    within = Traffic("web", near[other(here)], "--udp", "100pps", name="within")
    foreign = Traffic("web-b", "db-b", "--udp", "100pps", name="bravo")
    time.sleep(1)
    migrate("web")
    check("without agent: it is said within seconds", until(lambda: "not captured until" in capture.err(), 6), capture.err())
    check("without agent: and what is captured meanwhile", "at the uplinks of these, and nothing else" in capture.err(), capture.err())
    at_peer = lambda: [part for part in parts() if part["point"] == "uplink of a peer"]
    check("without agent: its peers' uplinks are listened at", until(lambda: [part["host"] for part in at_peer()] == [here], 5), parts())
    time.sleep(5)
    SERVER[-1].kill()
    serve()
    check("without agent: the agent comes back to a new controller", until(lambda: there() == {here}, 15), there())
    time.sleep(2)
    check("without agent: and goes on", [part["ended"] for part in at_peer()] == [None], at_peer())
    migrate("web")
    check("without agent: it is captured again", until(lambda: "capturing web" in AGENTS[here].err().split("exchanges")[-1], 6), capture.err())
    check("without agent: and no more at the uplinks", until(lambda: all(part["ended"] for part in at_peer()), 6), at_peer())
    time.sleep(1)
    sent, inside, _ = across.stop(), within.stop(), foreign.stop()
    time.sleep(0.5)
    status, receipt, file = capture.finish()
    whole("without agent", status, receipt, file)
    lost, twice = marked(file, "acme", sent["sent"], WEB_IP, address[here])
    one_piece = lambda missing: missing and missing == list(range(missing[0], missing[-1] + 1))
    check("without agent: what crossed to a host with an agent is missing only until that was known", one_piece(lost) and len(lost) < 500 and not twice, f"{len(lost)} {lost[:3]} {lost[-3:]} {list(twice)[:5]}")
    unseen, twice = marked(file, "acme", inside["sent"], WEB_IP, address[other(here)])
    check("without agent: what stayed on the host without one is missing as long as that lasted", one_piece(unseen) and len(unseen) > len(lost) + 500 and not twice, f"{len(unseen)} {unseen[:3]} {unseen[-3:]} {list(twice)[:5]}")
    equal("without agent: the way of the VM", [(m["from"], m["to"]) for m in receipt["moves"]], [(here, "a host without an agent"), ("a host without an agent", here)])
    seen = [part for part in receipt["parts"] if part["point"] == "uplink of a peer"]
    check("without agent: the receipt says which part is what peers saw", len(seen) == 1 and "elsewhere @" in seen[0]["receipt"]["interfaces"][0]["label"], receipt["parts"])
    again = overtap("mon", "receipt", capture.file)
    check("without agent: so does the file", "uplink of a peer" in again.stdout, again.stdout)
    agent(other(here))


def controller_restarts():
    """The controller is killed in the middle of a migration."""
    capture = Far("web", "--point", "tap")
    sending = Traffic("web", "db", "--udp", "100pps", name="acme")
    here = where("web")
    moving = subprocess.Popen(["lab", "migrate", "web", here, other(here)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    SERVER[-1].kill()
    moving.wait(60)
    time.sleep(1)
    serve()
    check("controller restarts: the agents come back", until(lambda: there() == {"hv-1", "hv-2"}, 15), there())
    time.sleep(1)
    ended("controller restarts", capture, sending, seconds=30)


def rotated():
    """The controller's authority is rotated in mid-capture, and the controller killed right behind it: agents and logins move along, nothing is missing."""
    here = where("web")
    away = other(here)
    must("users", "add", "rose")
    log_in("rose", must("tokens", "add", "rose"))
    shown = lambda: json.loads(must("agents", "authority", "--output", "json"))
    kept = lambda user: json.load(open(f"{WORK}/login-{user}.json"))["controller"]["ca_pem"]
    identity = lambda host: json.load(open(f"{WORK}/agent-{host}/identity.json"))["controller"]["ca_pem"]
    first, pem = shown(), kept("admin")
    check("rotated: one authority at first", first["before"] is None, first)
    spare = re.search(r"ovte_\w+", must("agents", "invite", "--address", ADDRESS))[0]
    token = re.search(r"--token (\S+)", must("tokens", "add", "rose"))[1]
    refused = far("agents", "rotate-authority", user="rose")
    check("rotated: not by everybody", refused.returncode == 1, refused.stderr)
    early = far("agents", "retire-authority")
    check("rotated: nothing to retire yet", early.returncode == 1 and "no authority to retire" in early.stderr, early.stderr)
    shutil.copytree(f"{WORK}/agent-{here}", f"{WORK}/stolen", ignore=shutil.ignore_patterns("spool"), dirs_exist_ok=True)
    capture = Far("web", "--point", "tap")
    sending = Traffic("web", "db", "--udp", "100pps", name="acme")
    time.sleep(1)
    AGENTS[away].stop(signal.SIGTERM)
    must("agents", "rotate-authority", "--keep", "1s", "--reason", "a backup was lost")
    SERVER[-1].kill()
    time.sleep(1)
    serve()
    check("rotated: who knows the authority before still speaks to the controller", kept("rose") == pem and far("find", "db", user="rose").returncode == 1)
    check("rotated: ... and knows the new one from then on", kept("rose") != pem)
    check("rotated: so does whoever had it rotated, at once", kept("admin") == kept("rose"))
    check("rotated: an agent that is there renews", until(lambda: identity(here) == kept("admin"), 15), AGENTS[here].err())
    waits = until(lambda: (shown()["before"] or {}).get("behind") == [away], 5)
    check("rotated: one that is away is waited for", waits and shown()["fingerprint"] != first["fingerprint"], shown())
    unforced = far("agents", "retire-authority")
    check("rotated: it is not retired over an agent's head", unforced.returncode == 1 and f"{away} would have to be enrolled again" in unforced.stderr, unforced.stderr)
    enrolled = run("hv-3", OVERTAP, "agent", "--dir", folder("agent-hv-3"), "enrol", "--token", spare)
    check("rotated: an invitation of before lets a host in", enrolled.returncode == 0 and identity("hv-3") == kept("admin"), enrolled.stderr)
    again = far("login", ADDRESS, "--ca", first["fingerprint"], "--token", token, user="rose")
    check("rotated: the fingerprint of before lets a person in", again.returncode == 0 and kept("rose") == kept("admin"), again.stderr)
    agent(away)
    check("rotated: it ends by itself once all have renewed", until(lambda: shown()["before"] is None, 15), shown())
    equal("rotated: the agent that was away has the new one, too", identity(away), kept("admin"))
    check("rotated: all are there", until(lambda: there() == {"hv-1", "hv-2"}, 15), there())
    stolen = Process(here, OVERTAP, "agent", "--dir", f"{WORK}/stolen")
    check("rotated: a certificate of before is worth nothing", until(lambda: "no line to the controller" in stolen.err(), 10) and "attending" not in stolen.err(), stolen.err())
    stolen.stop(signal.SIGTERM)
    late = far("login", ADDRESS, "--ca", first["fingerprint"], "--token", token, user="rose")
    check("rotated: nor is the fingerprint of before", late.returncode == 1 and "CA of another one" in late.stderr, late.stderr)
    log = must("audit", "list")
    check("rotated: all of it is in the audit log", all(words in log for words in ("takes the place of", "retire the authority before")) and f"{first['fingerprint']}" in log, log[-2000:])
    check("rotated: ... which is whole", far("audit", "verify").returncode == 0)
    ended("rotated", capture, sending, seconds=30)


def cut_off():
    """An agent cannot reach the controller for a while: its packets come later, in their place."""
    here = where("web")
    capture = Far("web", "--point", "tap")
    sending = Traffic("web", "db", "--udp", "100pps", name="acme")
    time.sleep(1)
    started(here, "ip", "route", "add", "blackhole", "10.0.0.9/32")
    try:
        time.sleep(float(os.environ.get("E2E_CUT_S", "30")))
        migrate("web")
    finally:
        started(here, "ip", "route", "del", "blackhole", "10.0.0.9/32")
    check("cut off: the agent comes back", until(lambda: there() == {"hv-1", "hv-2"}, 30), there())
    time.sleep(2)
    ended("cut off", capture, sending, seconds=40)


def killed():
    """The agent is killed: nothing is left behind, what was captured is kept, the next agent goes on."""
    here = where("web")
    capture = Far("web", "--point", "tap")
    sending = Traffic("web", "db", "--udp", "100pps", name="acme")
    time.sleep(2)
    before = started(here, "sh", "-c", "grep -c . /proc/net/packet")
    AGENTS[here].kill()
    gone = until(lambda: int(started(here, "sh", "-c", "grep -c . /proc/net/packet")) < int(before), 5)
    check("killed: no packet socket is left", gone, before)
    time.sleep(1)
    agent(here)
    check("killed: the next agent captures", until(lambda: AGENTS[here].err().count("capturing web"), 10), AGENTS[here].err())
    time.sleep(1)
    sent = sending.stop()
    time.sleep(0.5)
    status, receipt, file = capture.finish(seconds=30)
    equal("killed: exit status 3, for nobody knows what the kernel dropped", status, 3)
    check("killed: the part says so", "without a word" in receipt["parts"][0]["end"], receipt["parts"][0])
    missing, twice = marked(file, "acme", sent["sent"], WEB_IP)
    one_piece = missing == list(range(missing[0], missing[-1] + 1)) if missing else False
    check("killed: what is missing is one piece of some seconds", one_piece and len(missing) < 500 and not twice, f"{missing[:5]} {len(missing)} {twice}")


def detached():
    """A session goes on without its terminal, and is fetched later."""
    login_of("admin")
    done = far("capture", "web", "--point", "tap", "--detach", "--reason", "test", "--duration", "5m")
    session = done.stdout.strip()
    check("detached: it says its id", re.fullmatch(r"s-\w+", session), done.stderr)
    time.sleep(1)
    sent = traffic("web", "db", "--udp", "200pps", "--count", 300)
    time.sleep(1)
    check("detached: it is in the list", session in must("sessions", "list"))
    must("sessions", "stop", session)
    file = f"{WORK}/fetched.pcapng"
    done = far("sessions", "fetch", session, "-w", file, "--output", "json")
    check("detached: fetched, exit status 0", done.returncode == 0, done.stderr + done.stdout[-500:])
    packets = Capture(file).packets
    check("detached: the packets are there", len(packets) >= 300, len(packets))
    must("sessions", "remove", session)
    spool = f"{folder('agent-' + where('web'))}/spool/{session}"
    check("detached: removed everywhere", until(lambda: not os.path.exists(spool), 5), spool)
    equal("detached: fetching it again is refused", far("sessions", "fetch", session, "-w", file).returncode, 1)
    del sent


def asked(user, path, *words, timeout=30):
    """What curl gets from hv-3 at the controller's HTTP API, as a user: the status and the body."""
    login = json.load(open(f"{WORK}/login-{user}.json"))
    authority = f"{WORK}/ca.pem"
    with open(authority, "w") as file:
        file.write(login["controller"]["ca_pem"])
    shown = [] if "--nobody" in words else ["-H", f"Authorization: Bearer {login['token']}"]
    words = [word for word in words if word != "--nobody"]
    done = run("hv-3", "curl", "-sS", "--cacert", authority, *shown, "-w", "\n%{http_code}", *words, f"https://{WEB}/api/v1/{path}", timeout=timeout)
    body, _, status = done.stdout.rpartition("\n")
    return int(status or 0), body if done.returncode == 0 else done.stderr


def posted(user, path, **body):
    status, text = asked(user, path, "--json", json.dumps(body))
    return status, json.loads(text) if text.startswith("{") else text


def watch_far():
    """overtap watch through the controller: a VM with its talkers, followed to its other host."""
    login_of("admin")
    here = where("web")
    watch = Process("mon", OVERTAP, "watch", "web", "--output", "json")
    check("watch: it begins", until(lambda: watch.out().count("\n") > 1, 30), watch.err())
    sending = Traffic("web", "db", "--udp", "100pps", name="acme")
    time.sleep(2)
    migrate("web")
    time.sleep(2)
    sent = sending.stop()["sent"]
    time.sleep(2)
    equal("watch: ends with 0 by Ctrl-C", watch.stop(), 0)
    lines = [json.loads(line) for line in watch.out().splitlines()]
    equal("watch: where it was, and where it is", (lines[0]["hosts"], lines[-1]["hosts"]), ([here], [other(here)]))
    talks = [talk for talk in lines[-1]["talkers"] if talk["app"].startswith("udp/")]
    seen = max((end["sent_packets"] for talk in talks for end in talk["ends"]), default=0)
    check("watch: every datagram of its talk is counted once, across the move", talks and seen == sent, f"{seen} of {sent}: {lines[-1]['talkers']}")
    names = {end["vm"] for talk in talks for end in talk["ends"]}
    check("watch: who talks has a name", any(name and name.endswith("web") for name in names), names)
    events = [event for line in lines for event in line["events"]]
    check("watch: the move is told", any(other(here) in event for event in events), events)
    listed = must("sessions", "list")
    check("watch: its session has ended with it", "running" not in listed, listed)
    check("watch: it is in the audit log", "overtap watch" in must("audit", "list", "--output", "json"))
    must("users", "add", "walter")
    log_in("walter", must("tokens", "add", "walter"))
    login_of("walter")
    refused = overtap("mon", "watch", "web", "--output", "json", "--count", 1)
    check("watch: who has no grant sees nothing", refused.returncode != 0 and not refused.stdout, refused.stderr)


def over_http():
    """Find, capture, migrate, download, all with curl: the file that the program fetches."""
    status, text = asked("admin", "machines?what=web")
    found = [it for it in json.loads(text)["items"] if it["machine"]["name"] == "web"] if status == 200 else []
    check("http: a VM is found where it is, by TLS of the controller's authority", found and found[0]["host"] == where("web"), text)
    status, text = asked("admin", "plan?vm=web")
    check("http: its points are ranked", status == 200 and json.loads(text)["points"][0]["rank"] == 1, text)
    status, text = asked("admin", "topology")
    hosts = json.loads(text)["hosts"] if status == 200 else []
    vnics = {(host["name"], vnic["machine"]) for host in hosts for switch in host["switches"] for group in switch["port_groups"] for vnic in group["vnics"]}
    check("http: the site as a tree has web at its switch", (where("web"), "web") in vnics, text)
    status, session = posted("admin", "sessions", what=["web"], point="tap", reason="http", duration_s=120)
    if not check("http: a capture begins", status == 201, session):
        return
    path = f"sessions/{session['id']}"
    check("http: its part runs", until(lambda: json.loads(asked("admin", path)[1])["parts"]))
    login = json.load(open(f"{WORK}/login-admin.json"))
    listening = Process("hv-3", "curl", "-sSN", "--cacert", f"{WORK}/ca.pem", "-H", f"Authorization: Bearer {login['token']}", f"https://{WEB}/api/v1/events")
    check("http: events are told", until(lambda: "event: ready" in listening.out()), listening.err())
    sending = Traffic("web", "db", "--udp", "100pps", name="acme")
    time.sleep(1)
    began, there_before = time.time(), where("web")
    migrate("web")
    moved = lambda: json.loads(asked("admin", "machines?what=web")[1])["items"][0]["host"] == other(there_before)
    check("http: the move is seen", until(moved, 2), f"{time.time() - began:.1f} s")
    check("http: and was told of", until(lambda: "event: machines" in listening.out(), 2), listening.out())
    time.sleep(1)
    sent = sending.stop()
    time.sleep(0.5)
    listening.stop()
    check("http: it is stopped", posted("admin", f"{path}/stop")[1]["state"] == "ended")
    check("http: it is complete", until(lambda: json.loads(asked("admin", path)[1])["is_complete"]))
    file = f"{WORK}/http.pcapng"
    status, text = asked("admin", f"{path}/capture.pcapng", "-o", file)
    equal("http: the download", status, 200)
    missing, twice = marked(Capture(file), "acme", sent["sent"], WEB_IP)
    check("http: every datagram once, across the move", not missing and not twice, f"missing {missing[:9]}, twice {list(twice)[:9]}; {sent}")
    equal("http: tshark has no complaint", complaints(file), [])
    fetched = f"{WORK}/http-fetched.pcapng"
    must("sessions", "fetch", session["id"], "-w", fetched)
    check("http: byte for byte the file that the program fetches", open(file, "rb").read() == open(fetched, "rb").read())
    status, receipt = asked("admin", f"{path}/receipt")
    receipt = json.loads(receipt)
    check("http: the hosts' accounts add up", receipt["is_final"] and receipt["unaccounted"] == 0 and receipt["lost"] == 0, receipt["total"])
    status, lines = asked("admin", f"{path}/packets")
    shown = [json.loads(line[6:]) for line in lines.splitlines() if line.startswith("data: {\"number\"")]
    check("http: packets are shown with their host and layers", shown and {it["host"] for it in shown} <= {"hv-1", "hv-2"}
          and any(it["stack"][:3] == ["eth", "ip", "udp"] for it in shown), [{it["host"] for it in shown}, {str(it["stack"]) for it in shown}, lines[-300:]])
    must("users", "add", "carl")
    log_in("carl", must("tokens", "add", "carl"))
    before = len(refusals())
    status, said = posted("carl", "sessions", what=["web"])
    check("http: who has no grant is refused", status in (403, 404) and "web" in said["detail"], said)
    equal("http: others' sessions do not exist", asked("carl", path)[0], 404)
    equal("http: nobody without a token", asked("carl", "machines", "--nobody")[0], 401)
    last = json.loads(asked("admin", "audit?limit=10")[1])["items"]
    tries = [it for it in last if it["name"] == "carl" and it["answer"] == "refused"]
    check("http: each is in the audit log, with the browser's address", len(refusals()) >= before + 3 and len(tries) == 2
          and all(it["from"].startswith("10.0.0.3:") for it in tries), last)
    equal("http: removed", asked("admin", path, "-X", "DELETE")[0], 204)


def in_browser():
    """Somebody at the page: finds a VM, captures it, sees it move within two seconds, downloads."""
    ui = f"{os.path.dirname(os.path.dirname(os.path.realpath(__file__)))}/ui"
    if not os.path.isdir(f"{ui}/node_modules/playwright-core"):
        subprocess.run(["npm", "ci", "--no-fund", "--no-audit"], cwd=ui, check=True, capture_output=True)
    token = json.load(open(f"{WORK}/login-admin.json"))["token"]
    file = f"{WORK}/browser.pcapng"
    sending = Traffic("web", "db", "--udp", "100pps", name="acme")
    here = where("web")
    person = Process("hv-3", "node", f"{ui}/test/lab.mjs", f"https://{WEB}", token, "web", file, stdin=subprocess.PIPE)
    begun = until(lambda: "capturing" in person.out() or not person.is_running(), 60)
    check("browser: packets are shown after two clicks", begun and "capturing" in person.out(), person.out() + person.err())
    check("browser: the VM is where it is", f"at {here}" in person.out(), person.out())
    migrate("web")
    check("browser: the move is seen within two seconds", until(lambda: f"at {other(here)}" in person.out(), 2), person.out())
    time.sleep(1)
    sending.stop()
    if person.is_running():
        person.popen.stdin.write(b"stop\n")
        person.popen.stdin.close()
    equal("browser: nothing was complained of, and no other host asked", (person.wait(60), person.err()), (0, ""))
    capture = Capture(file)
    numbers = sorted({int(found[1]) for p in capture.packets if (found := re.search(rb"acme:(\d+)", p.data))})
    check("browser: the file has packets of both hosts", len(capture.interfaces) >= 2 and len(numbers) > 200, capture.interfaces)
    equal("browser: and none is missing between the first and the last", len(numbers), numbers[-1] - numbers[0] + 1)
    equal("browser: tshark has no complaint", complaints(file), [])


def full():
    """A reader that does not read: its host keeps what it may, drops and counts the rest, and goes on when there is room."""
    login_of("admin")
    output, written = os.pipe()
    capture = Overtap("mon", "web", "--point", "tap", "--spool", "512KiB", "--when-full", "drop", file="-", stdout=written)
    os.close(written)
    session = re.search(r"session (s-\w+)", capture.err())[1]
    spool = f"{folder('agent-' + where('web'))}/spool/{session}"
    sending = Traffic("web", "db", "--udp", "200pps", "--size", 1200, name="acme")
    check("full: it is said that packets are dropped", until(lambda: "packets are dropped" in must("sessions", "show", session), 15), capture.err())
    time.sleep(2)
    kept = int(subprocess.run(["du", "-s", "--block-size=1", spool], capture_output=True, text=True).stdout.split()[0])
    check("full: no more is kept than may be", 256 << 10 < kept < 600 << 10, kept)
    file = f"{WORK}/slow.pcapng"
    with open(file, "wb") as copy:
        reading = subprocess.Popen(["cat"], stdin=output, stdout=copy)
    os.close(output)
    check("full: it is said that there is room again", until(lambda: "there is room again" in must("sessions", "show", session), 15), capture.err())
    time.sleep(4)
    sent = sending.stop()
    time.sleep(0.5)
    status = capture.stop(seconds=30)
    reading.wait(10)
    receipt, packets = capture.receipt(), Capture(file)
    equal("full: exit status 3", status, 3)
    check("full: the receipt adds up to the packet", far_adds_up(receipt), json.dumps({**receipt, "parts": []}))
    dropped = receipt["total"]["queue_full"]
    equal("full: the receipt says what the file holds", (receipt["written"], receipt["lost"]), (len(packets.packets), dropped))
    missing, twice = marked(packets, "acme", sent["sent"], WEB_IP)
    check("full: what is missing is what was dropped, and it went on after that",
          200 < len(missing) <= dropped < len(missing) + 50 and missing[-1] < sent["sent"] - 400 and not twice,
          f"{len(missing)} missing from {missing[:1]} to {missing[-1:]}, {dropped} dropped, {sent}")
    check("full: the file says so where it was", b"there is room again" in open(file, "rb").read())


def filtered():
    """The filter changes while it runs: what both filters take is there at the switch-over, once."""
    login_of("admin")
    capture = Far("web", "udp", "--point", "tap")
    session = re.search(r"session (s-\w+)", capture.err())[1]
    sending = Traffic("web", "db", "--udp", "200pps", name="acme")
    time.sleep(1)
    began = time.time()
    must("sessions", "filter", session, "udp or tcp")
    two = until(lambda: must("sessions", "show", session).count(" on hv-") == 2, 5)
    check("filtered: the agent has it within a second", two and time.time() - began < 1.5, time.time() - began)
    time.sleep(1)
    receipt, _ = ended("filtered", capture, sending)
    check("filtered: the file says so", any("the filter is now" in note for note in receipt["notes"]), receipt["notes"])
    done = far("sessions", "filter", session, "udp port")
    check("filtered: a filter that means nothing is refused", done.returncode == 1, done.stderr)


def growing():
    """A selection of names: machines that come are in it, whoever they are not."""
    capture = Far("tenant:acme", "--point", "tap")
    sent = traffic("web", "db", "--udp", "200pps", "--count", 300)
    time.sleep(0.5)
    status, receipt, file = capture.finish()
    whole("growing", status, receipt, file)
    machines = {part["vm"] for part in receipt["parts"]}
    check("growing: web and db are in it, on two hosts", {"web", "db"} <= machines and not any(name.endswith("-b") for name in machines), machines)
    missing, _ = marked(file, "acme", sent["sent"], WEB_IP)
    check("growing: every datagram", not missing, missing[:9])


def live():
    """Into a pipe: the first packet is there within a second of its time."""
    login_of("admin")
    script = f"""
import subprocess, sys, time, struct
p = subprocess.Popen([{OVERTAP!r}, "capture", "web", "--point", "tap", "-w", "-", "--quiet"], stdout=subprocess.PIPE)
worst, count, deadline = 0, 0, time.time() + 6
data = b""
import os
while time.time() < deadline:
    chunk = os.read(p.stdout.fileno(), 65536)
    if not chunk: break
    data += chunk
    while len(data) >= 12:
        kind, length = struct.unpack_from("<II", data)
        if len(data) < length: break
        if kind == 6:
            _, high, low = struct.unpack_from("<III", data, 8)
            worst = max(worst, time.time() - ((high << 32) | low) / 1e9)
            count += 1
        data = data[length:]
p.stdout.close()
p.terminate()
p.wait(20)
print(count, worst)
"""
    sending = Traffic("web", "db", "--udp", "50pps", name="acme")
    done = run("mon", sys.executable, "-c", script)
    sending.stop()
    count, worst = (float(word) for word in done.stdout.split())
    check("live: packets come", count > 50, done.stdout + done.stderr)
    check("live: none is older than a second", worst < 1.0, worst)


def grants():
    """A user of tenant bravo asks for acme's packets in every way there is: not one byte, and a line for each try."""
    must("users", "add", "bob")
    log_in("bob", must("tokens", "add", "bob"))
    done = far("find", user="bob")
    check("grants: who was granted nothing finds nothing", done.returncode == 1 and "web" not in done.stdout, done.stdout)
    must("grants", "add", "bob", "--machine", "tenant:bravo", "--longest", "10m")
    found = json.loads(must("find", "--output", "json", user="bob"))
    equal("grants: bob finds bravo's machines only", {m["tenant"] for m in found["machines"]}, {"bravo"})
    web = next(m for m in json.loads(must("find", "web", "--output", "json"))["machines"] if m["name"] == "web")
    ways = ["web", web["id"], web["id"].split(":")[1], "tenant:acme", "web,web-b", "acme/web", "*", "acme/*", web["vnics"][0]["attachment"]["device"]]
    before = len(refusals())
    for way in ways:
        done = far("capture", way, "-w", f"{WORK}/never.pcapng", "--duration", "1s", user="bob", timeout=20)
        mine = way == "*"
        check(f"grants: `{way}` gives bob nothing of acme", done.returncode != 0 or mine, done.stderr)
        if os.path.exists(f"{WORK}/never.pcapng"):
            check(f"grants: the file of `{way}` has nothing of acme", b"acme:" not in open(f"{WORK}/never.pcapng", "rb").read())
            os.remove(f"{WORK}/never.pcapng")
    check("grants: a line in the audit log for each try", len(refusals()) >= before + len(ways) - 1, len(refusals()) - before)
    before = len(refusals())
    for words in (["find", "web"], ["find", web["id"].split(":")[1]], ["plan", web["id"].split(":")[1]], ["find", "--at", "1s ago", "web"]):
        done = far(*words, user="bob")
        check(f"grants: `{' '.join(words)}` shows bob nothing of acme", "acme" not in done.stdout, done.stdout)
    equal("grants: looking for it by its name is a try, too", len(refusals()) - before, 4)
    far("find", "we", user="bob"), far("find", "52:54:00:00:07:0a", user="bob"), far("find", "nothing", user="bob")
    equal("grants: what may mean his own, or nothing at all, is none", len(refusals()) - before, 4)
    # His own VM has the addresses of acme's, and is captured with every trick of the expression.
    tricks = ["", "vm web-b or ip", "host 10.0.7.10 or vni 100", "any (vni 100) or ip", "ether host 52:54:00:00:07:0a", "not vni 1"]
    acme = Traffic("web", "db", "--udp", "100pps", name="acme")
    bravo = Traffic("web-b", "db-b", "--udp", "100pps", name="bravo")
    for point in ("tap", "uplink"):
        for trick in tricks:
            file = f"{WORK}/trick-{point}-{tricks.index(trick)}.pcapng"
            done = far("capture", "web-b", *([trick] if trick else []), "--point", point, "-w", file, "--duration", "2s", user="bob", timeout=30)
            data = open(file, "rb").read() if os.path.exists(file) else b""
            check(f"grants: web-b at its {point} with `{trick}`: bravo's packets and not one of acme", b"acme:" not in data and (b"bravo:" in data or done.returncode), done.stderr)
    acme.stop(), bravo.stop()
    must("users", "disable", "bob")
    done = far("find", user="bob")
    check("grants: disabled, nothing", done.returncode == 1 and "disabled" in done.stderr, done.stderr)
    whole_log = must("audit", "verify")
    check("grants: the audit log is whole", "whole" in whole_log or "entries" in whole_log, whole_log)


def changes_hands():
    """A VM passes to another tenant in mid-session: from then on not one byte, and it is said and logged."""
    must("users", "add", "ann")
    log_in("ann", must("tokens", "add", "ann"))
    must("grants", "add", "ann", "--machine", "tenant:acme")
    here = where("web")
    capture = Far("web", "--point", "tap", user="ann")
    acme = Traffic("web", "db", "--udp", "50pps", name="acme")
    time.sleep(1)
    try:
        own(here, "web", "bravo")
        changed = time.time()
        said = until(lambda: "changed hands" in capture.err(), 8)
        check("changes hands: it is said", said, capture.err())
        status, receipt, file = capture.finish()
        acme.stop()
        last = max(packet.time for packet in file.packets) / 1e9
        check("changes hands: packets until then, and none after", len(file.packets) > 20 and last < changed + 0.5, f"{last - changed:.3f} s after, {len(file.packets)}")
        check("changes hands: the receipt adds up", far_adds_up(receipt), receipt)
        done = far("capture", "web", "-w", f"{WORK}/never.pcapng", "--duration", "1s", user="ann")
        check("changes hands: she cannot ask for it again", done.returncode == 1, done.stderr)
        check("changes hands: the log has a line", "changed hands" in must("audit", "list", "--refused"))
    finally:
        own(here, "web", "acme")


def own(host, name, tenant):
    """Says in libvirt whose VM it is, as Nova does."""
    owner = f"<instance><owner><project uuid='00000000-0000-0000-0000-000000000000'>{tenant}</project></owner></instance>"
    started(host, "virsh", "-q", "metadata", name, "--uri", "http://openstack.org/xmlns/libvirt/nova/1.1", "--key", "nova", "--set", owner, "--live")


def refusals():
    return must("audit", "list", "--refused", "--last", "0").splitlines()


def strangers():
    """Whoever shows nothing, or something wrong, gets nothing."""
    done = far("status", user="nobody")
    check("strangers: no login, and it says what to do", done.returncode == 1 and "overtap login" in done.stderr, done.stderr)
    with open(f"{WORK}/login-admin.json") as file:
        login = json.load(file)
    for what, token in (("no token", ""), ("another token", login["token"][:-4] + "aaaa"), ("nonsense", "ovtu_x")):
        with open(f"{WORK}/login-stranger.json", "w") as file:
            json.dump({**login, "token": token}, file)
        done = far("find", user="stranger")
        check(f"strangers: {what} finds nothing", done.returncode == 1 and not done.stdout, done.stdout + done.stderr)
    idle = Process("hv-3", sys.executable, "-c", IDLE)
    check("strangers: a thousand connections of one host, at both doors", until(lambda: "standing" in idle.out(), 20), idle.err())
    began = time.time()
    equal("strangers: others are served meanwhile", far("status").returncode, 0)
    page = run("mon", "curl", "-sSk", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", f"https://{WEB}/")
    check("strangers: at the page, too, and soon", page.stdout == "200" and time.time() - began < 3, page.stdout + page.stderr)
    check("strangers: who only stands there is gone after a while", until(lambda: "gone" in idle.out(), 20), idle.out())
    until(lambda: not idle.is_running())
    before = len(refusals())
    status = run("mon", "curl", "-sSk", "-o", "/dev/null", "-w", "%{http_code}", f"https://{WEB}/api/v1/me").stdout
    check("strangers: opening the page is no try to get something", status == "401" and len(refusals()) == before, status)
    garbage = run("mon", sys.executable, "-c", GARBAGE)
    check("strangers: garbage at the port, and the controller lives", garbage.returncode == 0 and SERVER[-1].is_running() and there() == {"hv-1", "hv-2"}, garbage.stderr)


IDLE = """
import socket, time
doors = {port: [] for port in (7443, 7480)}
for port, standing in doors.items():
    for _ in range(1000):
        try:
            standing.append(socket.create_connection(("10.0.0.9", port), 5))
        except OSError:
            pass
print("standing", flush=True)
began = time.time()
for standing in doors.values():
    for s in standing:
        s.settimeout(max(0.1, 18 - (time.time() - began)))
        try:
            while s.recv(100):
                pass
        except ConnectionError:
            pass
print("gone", flush=True)
"""
GARBAGE = """
import os, socket
for length, port in [(length, port) for length in (0, 1, 100, 100000) for port in (7443, 7480)]:
    s = socket.create_connection(("10.0.0.9", port), 5)
    s.settimeout(5)
    try:
        s.sendall(os.urandom(length)); s.recv(100)
    except OSError:
        pass
    s.close()
"""


def in_wireshark():
    """tshark on the third machine lists VMs of all hosts and tenants, and captures one through a migration."""
    login_of("admin")
    os.environ["XDG_CACHE_HOME"], os.environ["XDG_CONFIG_HOME"] = folder("cache"), folder("config")
    extcap, file = folder("extcap"), f"{WORK}/tshark.pcapng"
    must("extcap", "install", "--folder", extcap)
    place = re.search(r"Extcap path:\s*(\S+)", started("mon", "tshark", "-G", "folders"))[1]
    started("mon", "mount", "--bind", extcap, place)
    said = started("mon", "tshark", "-D")
    line = re.search(rf"(overtap_v_\w+) \(overtap: web on {where('web')} \(acme\)\)", said)
    check("in Wireshark: web, its host and its tenant", line, said)
    check("in Wireshark: whole tenants", "overtap_t_acme (overtap: tenant acme)" in said, said)
    shark = Process("mon", "tshark", "-i", line[1], "-f", "udp", "-w", file)
    check("in Wireshark: it captures", until(lambda: os.path.exists(file) and os.path.getsize(file) > 100, 15), shark.err())
    sending = Traffic("web", "db", "--udp", "100pps", name="acme")
    time.sleep(1)
    migrate("web")
    sent = sending.stop()
    time.sleep(1.5)
    equal("in Wireshark: tshark ends in peace", shark.stop(), 0)
    capture = Capture(file)
    missing, twice = marked(capture, "acme", sent["sent"], WEB_IP)
    check("in Wireshark: every datagram once", not missing and not twice, f"missing {missing[:9]}, twice {list(twice)[:9]}; {sent}")
    check("in Wireshark: both hosts are interfaces", {"hv-1", "hv-2"} <= {re.search(r"@ ([^:]+):", i["name"])[1] for i in capture.interfaces}, capture.interfaces)
    running = lambda: [s for s in must("sessions", "list").splitlines() if "web" in s and "running" in s]
    check("in Wireshark: the session ended with it", until(lambda: not running(), 10), running())


def restarted_elsewhere():
    """The VM's QEMU is killed and it is started again on another host: said, and captured there."""
    here = where("db")
    as_it_was = f"{WORK}/db.xml"
    with open(as_it_was, "w") as file:
        file.write(started(here, "virsh", "dumpxml", "--inactive", "db"))
    capture = Far("db", "--point", "tap")
    sent = traffic("web", "db", "--udp", "100pps", "--count", 100)
    started(here, "pkill", "-9", "-f", "guest=db,")
    check("restarted: its end is said", until(lambda: "there is nothing to capture" in capture.err(), 8), capture.err())
    started(other(here), "virsh", "-q", "create", as_it_was)
    check("restarted: its return is said", until(lambda: "db is back" in capture.err(), 10), capture.err())
    time.sleep(4)
    status, receipt, file = capture.finish()
    equal("restarted: exit status", status, 0)
    check("restarted: the receipt adds up", far_adds_up(receipt), receipt)
    check("restarted: its packets are there", len(file.packets) >= sent["received"], len(file.packets))
    equal("restarted: a part on each host", [part["host"] for part in receipt["parts"]], [here, other(here)])


def recording():
    """Agents that keep a flight recorder of both tenants' machines."""
    for host in ("hv-1", "hv-2"):
        if "recording tenant" not in AGENTS[host].err():
            AGENTS[host].stop(signal.SIGTERM)
            agent(host, "--record-tenant", "acme", "--record-tenant", "bravo", "--record-size", "256MiB")
    here = where("web")
    if not until(lambda: "recording web/" in AGENTS[here].err() and there() == {"hv-1", "hv-2"}, 10):
        raise RuntimeError(f"nothing is recorded: {AGENTS[here].err()}")


def past_only(user, *words, last="1m", vm="web"):
    """What was recorded of a VM, from a third machine: the process, its receipt and its file."""
    file = f"{WORK}/past-{user}-{getattr(Process, 'number', 0)}-{time.time_ns()}.pcapng"
    done = far("capture", vm, "--last", last, "--no-live", *words, "-w", file, "--output", "json", user=user)
    receipt = json.loads(done.stdout[done.stdout.index("{\n"):]) if "{\n" in done.stdout else None
    return done, receipt, Capture(file) if os.path.exists(file) else None


def found_id(name):
    return next(m["id"] for m in json.loads(must("find", name, "--output", "json"))["machines"] if m["name"] == name)


def past():
    """--last from a third machine: what both hosts had seen before anybody asked, then live, each packet once."""
    recording()
    sending = Traffic("web", "db", "--udp", "200pps", name="acme")
    time.sleep(2)
    migrate("web")
    time.sleep(2)
    asked = time.time()
    capture = Far("web", "--point", "tap", "--last", "1m")
    time.sleep(3)
    receipt, file = ended("past", capture, sending)
    before = [packet for packet in file.packets if packet.time / 1e9 < asked]
    check("past: from before it was asked for, and from after", len(before) > 500 and len(file.packets) - len(before) > 400, f"{len(before)} of {len(file.packets)}")
    equal("past: from both hosts", {part["host"] for part in receipt["parts"]}, {"hv-1", "hv-2"})
    equal("past: the move is in it, though nobody was looking", len(receipt["moves"]), 1)
    check("past: before the recording is said", "no host has recorded anything to show of web" in capture.err(), capture.err())
    equal("past: in one piece", capture.err().count("no host has recorded anything to show of web"), 1)
    time.sleep(1.5)
    done, receipt, only = past_only("admin")
    check("past only: exit status 0, and why it ended", done.returncode == 0 and "all that was recorded" in receipt["end"], done.stderr + str(receipt and receipt["end"]))
    whole("past only", done.returncode, receipt, only)
    acme = lambda capture: [p.data for p in capture.packets if b"acme:" in p.data and p.data[26:30] == WEB_IP]
    equal("past only: the same packets again", acme(only), acme(file))
    check("past: it is in the audit log", "the last 60 s" in must("audit", "list"), must("audit", "list")[-500:])
    size = os.path.getsize(only.path)
    check("past: the disk of the host has nothing in the clear", size > 10_000 and not any(
        b"acme:" in open(os.path.join(folder(f"agent-{host}"), "recorder", name), "rb").read()
        for host in ("hv-1", "hv-2") for name in os.listdir(os.path.join(folder(f"agent-{host}"), "recorder"))))
    stream = Traffic("web", "db", "--tcp", 60_000_000, name="stream")
    stream.wait()
    # On a loaded machine the end of it takes longer to get to the disk.
    for _ in range(5):
        time.sleep(1.5)
        done, receipt, only = past_only("admin", "tcp")
        payload = tcp_payload(only, WEB_IP)
        if payload >= 60_000_000:
            break
    check("past only: much of it", payload >= 60_000_000 and receipt["lost"] == 0, f"{payload}, {receipt['lost']} lost: {done.stderr}")
    session = must("capture", "web", "tcp", "--last", "1m", "--no-live", "--detach").strip()
    over = until(lambda: "all that was recorded is there" in must("sessions", "show", session), 20)
    check("past only: a session of its own ends by itself", over, must("sessions", "show", session))
    done = far("sessions", "fetch", session, "-w", f"{WORK}/fetched-past.pcapng", timeout=60)
    fetched = Capture(f"{WORK}/fetched-past.pcapng")
    check("past only: fetched later, all of it", done.returncode == 0 and len(fetched.packets) == len(only.packets), f"{len(fetched.packets)} of {len(only.packets)}: {done.stderr}")
    piped = f"{WORK}/piped.pcapng"
    login_of("admin")
    with open(piped, "wb") as out:
        pipe = Process("mon", OVERTAP, "capture", "web", "udp", "--last", "1m", "-w", "-", stdout=out)
        check("past into a pipe: there within two seconds", until(lambda: os.path.getsize(piped) > 100_000 and len(Capture(piped).packets) > 500, 2), pipe.err())
        asked = time.time()
        traffic("web", "db", "--udp", "200pps", "--count", 100)
        check("past into a pipe: and live", until(lambda: sum(p.time / 1e9 > asked for p in Capture(piped).packets) >= 100, 5), pipe.err())
        equal("past into a pipe: exit status", pipe.stop(), 0)
    done = overtap(where("web"), "capture", "web", "--local", "--last", "1m", "--no-live", "--recorder", f"{folder('agent-' + where('web'))}/recorder",
                   "-w", f"{WORK}/never.pcapng")
    check("past: half a key opens nothing on the host", done.returncode == 1 and "other half" in done.stderr, done.stderr)


def past_of_another():
    """The VM was another tenant's for a while: that while is withheld from its owner, counted, said and logged."""
    recording()
    must("users", "add", "eve")
    log_in("eve", must("tokens", "add", "eve"))
    must("grants", "add", "eve", "--machine", "tenant:acme", "--longest", "10m", "--snaplen", "100")
    here = where("web")
    # Datagrams of the chapter before have the same numbers.
    time.sleep(3)
    first = time.time()
    sending = Traffic("web", "db", "--udp", "200pps", name="acme")
    time.sleep(2)
    try:
        own(here, "web", "bravo")
        began = time.time()
        time.sleep(2)
    finally:
        over = time.time()
        own(here, "web", "acme")
    time.sleep(1)
    sent = sending.stop()
    time.sleep(1.5)
    done, receipt, file = past_only("eve", last=f"{time.time() - first + 1:.0f}s")
    check("past of another: exit status 0", done.returncode == 0, done.stderr)
    missing, twice = marked(file, "acme", sent["sent"], WEB_IP)
    one_piece = bool(missing) and missing == list(range(missing[0], missing[-1] + 1))
    check("past of another: what is missing is one piece", one_piece and 350 < len(missing) < 600 and not twice, f"{len(missing)} {missing[:3]} {missing[-3:]}")
    inside = [p for p in file.packets if began + 0.3 < p.time / 1e9 < over - 0.1]
    check("past of another: not one packet of that while", not inside, len(inside))
    check("past of another: counted", receipt["total"]["other_tenant"] >= len(missing), receipt["total"])
    check("past of another: the receipt adds up", far_adds_up(receipt), receipt)
    check("past of another: said", "withheld" in done.stderr and "changed hands" in done.stderr and "bravo" not in done.stderr, done.stderr)
    check("past of another: in the audit log", "some of what was recorded of web is withheld" in must("audit", "list", "--refused"))
    check("past of another: the grant's snaplen holds", max(len(p.data) for p in file.packets) <= 100)
    done, _, file = past_only("eve", last="20m")
    check("past of another: no further back than the grant goes", done.returncode == 1 and "so far" in done.stderr and file is None, done.stderr)
    before = len(refusals())
    must("users", "add", "mallory")
    log_in("mallory", must("tokens", "add", "mallory"))
    must("grants", "add", "mallory", "--machine", "vm:bravo/db-b")
    for vm in ("web", "tenant:acme", "tenant:bravo", "*,web", found_id("web")):
        done, _, file = past_only("mallory", vm=vm)
        check(f"past: no grant, no past: {vm}", done.returncode == 1 and file is None, done.stderr)
    check("past: ... and a line in the log for each", len(refusals()) >= before + 5)
    must("grants", "add", "mallory", "--machine", "tenant:bravo")
    for vm in ("web", "tenant:bravo"):
        done, _, file = past_only("mallory", vm=vm)
        packets = [p for p in file.packets if b"acme:" in p.data] if file else []
        inside = [p for p in packets if began - 0.1 < p.time / 1e9 < over + 0.5]
        check(f"past: bravo's has that while and nothing else, asked as {vm}", packets == inside and len(inside) > 300, f"{len(inside)} of {len(packets)}; {done.stderr}")


def past_revoked():
    """A host's recorder key is revoked: nothing recorded before can be read, a sentence says so; it records on."""
    recording()
    here = where("web")
    traffic("web", "db", "--udp", "200pps", "--count", 300)
    time.sleep(1.5)
    done, receipt, file = past_only("admin")
    check("revoked: before that, it is there", receipt and receipt["written"] >= 300, done.stderr)
    done = far("agents", "revoke-recorder", here, "--reason", "a disk was stolen", user="eve")
    check("revoked: not by everybody", done.returncode == 1, done.stderr)
    must("agents", "revoke-recorder", here, "--reason", "a disk was stolen")
    must("agents", "revoke-recorder", other(here), "--reason", "a disk was stolen")
    check("revoked: the recorder begins anew", until(lambda: AGENTS[here].err().count("recording tenant acme") == 2, 10), AGENTS[here].err())
    done, receipt, file = past_only("admin")
    check("revoked: nothing of before", done.returncode in (0, 3) and not any(b"e2e" in p.data for p in file.packets) and len(file.packets) < 50, f"{done.returncode} {len(file.packets)}")
    check("revoked: a sentence", "their key was revoked" in done.stderr, done.stderr)
    sent = traffic("web", "db", "--udp", "200pps", "--count", 200)
    time.sleep(1.5)
    done, receipt, file = past_only("admin")
    check("revoked: recorded from then on", len(file.packets) >= sent["received"], f"{len(file.packets)} {sent} {done.stderr}")
    check("revoked: in the audit log", f"revoke the recorder key of agent {here}" in must("audit", "list"))
    AGENTS[here].stop(signal.SIGKILL)
    agent(here, "--record-tenant", "acme", "--record-tenant", "bravo", "--record-size", "256MiB")
    until(lambda: "recording web/" in AGENTS[here].err(), 10)
    done, receipt, file = past_only("admin")
    check("killed: its recording is there when it is back", len(file.packets) >= sent["received"], f"{len(file.packets)} {done.stderr}")
    check("killed: the time between is said", "no host has recorded anything to show of web" in done.stderr, done.stderr)


def past_while_away():
    """Agents that are started while the controller is away record on; started anew with the host, they say why they do not."""
    recording()
    here = where("web")
    SERVER[-1].kill()
    words = ("--record-tenant", "acme", "--record-tenant", "bravo", "--record-size", "256MiB")

    def again():
        AGENTS[here].kill()
        AGENTS[here] = lasting(Process(here, OVERTAP, "agent", "--dir", folder(f"agent-{here}"), *words))

    again()
    check("away: it records on", until(lambda: "recording web/" in AGENTS[here].err(), 10), AGENTS[here].err())
    check("away: with no line to the controller", "attending" not in AGENTS[here].err(), AGENTS[here].err())
    sent = traffic("web", "db", "--udp", "200pps", "--count", 300)
    time.sleep(1.5)
    mode = started(here, "stat", "-c", "%a %U", f"/run/overtap/agent-{here}.half")
    equal("away: half a key is for root alone", mode, "600 root")
    serve()
    check("away: it attends when the controller is back", until(lambda: there() == {"hv-1", "hv-2"}, 15), there())
    check("away: under the same key", AGENTS[here].err().count("recording tenant") == 1, AGENTS[here].err())
    done, _, file = past_only("admin")
    check("away: what was recorded meanwhile is there", file and len(file.packets) >= sent["received"], f"{sent} {done.stderr}")
    SERVER[-1].kill()
    # What a start of the host does.
    started(here, "rm", "-r", "/run/overtap")
    again()
    said = until(lambda: "nothing is recorded: the controller has not said its half" in AGENTS[here].err(), 10)
    check("away: after a start of the host nothing is recorded, and it is said why", said and "recording tenant" not in AGENTS[here].err(), AGENTS[here].err())
    serve()
    check("away: it records as soon as the controller is there", until(lambda: "recording web/" in AGENTS[here].err(), 15), AGENTS[here].err())
    must("agents", "revoke-recorder", here)
    check("away: another half takes the place of the one that was kept", until(lambda: AGENTS[here].err().count("recording tenant") == 2, 10), AGENTS[here].err())
    before = far("audit", "verify")
    check("away: the audit log is whole", before.returncode == 0, before.stderr)


def watched():
    """`find --watch` from a third machine: a migration as it happens, over a restart of the controller, and no more than the grants say."""
    must("users", "add", "wanda")
    log_in("wanda", must("tokens", "add", "wanda"))
    must("grants", "add", "wanda", "--machine", "tenant:bravo")
    login_of("admin")
    watch = Process("mon", OVERTAP, "find", "web", "--watch")
    login_of("wanda")
    other_watch = Process("mon", OVERTAP, "find", "--watch", "--output", "json")
    check("watched: it says what it watches", until(lambda: "watching 1 machine" in watch.err() and "watching" in other_watch.err(), 10), watch.err() + other_watch.err())
    here, began = where("web"), time.time()
    migrate("web")
    gone = f"{here}  web"
    check("watched: it comes and goes as it happens", until(lambda: f"{other(here)}  web" in watch.out() and any("vanished" in line or "gone" in line for line in watch.out().splitlines() if gone in line), 6), watch.out())
    SERVER[-1].kill()
    serve()
    check("watched: a controller that is away is waited for", until(lambda: there() == {"hv-1", "hv-2"} and "waiting for it" in watch.err(), 15), watch.err())
    time.sleep(1.5)
    lines = len(watch.out().splitlines())
    migrate("web")
    check("watched: and watched again", until(lambda: len(watch.out().splitlines()) >= lines + 2, 8), watch.out())
    check("watched: who has no grant sees nothing of it", not any("acme" in line or '"web"' in line for line in other_watch.out().splitlines()), other_watch.out())
    here = where("web-b")
    migrate("web-b")
    seen = lambda: [json.loads(line) for line in other_watch.out().splitlines()]
    check("watched: but what the grant says", until(lambda: {change["host"] for change in seen()} == {"hv-1", "hv-2"}, 8), other_watch.out())
    # A token of her own for this one stream, and then none.
    token = re.search(r"--token (\S+)", must("tokens", "add", "wanda"))[1]
    mine = json.load(open(f"{WORK}/login-wanda.json"))
    with open(f"{WORK}/login-wanda2.json", "w") as file:
        json.dump({**mine, "token": token}, file)
    login_of("wanda2")
    third = Process("mon", OVERTAP, "find", "--watch")
    live = Process("mon", OVERTAP, "capture", "web-b", "-w", "-", stdout=subprocess.DEVNULL)
    check("watched: with another token", until(lambda: "watching" in third.err() and "listening" in live.err(), 10), third.err() + live.err())
    rows = json.loads(must("tokens", "list", "--output", "json"))
    newest = max((row for row in rows if row.get("user") == "wanda"), key=lambda row: row["made_at"])
    began = time.time()
    must("tokens", "remove", newest["id"])
    over = until(lambda: not third.is_running(), 5)
    check("watched: a removed token ends it at once, with a word", over and time.time() - began < 2 and "token was removed" in third.err(), f"{time.time() - began:.1f} s, {third.err()}")
    check("watched: and the packets that came by it", until(lambda: not live.is_running(), 5) and "token was removed" in live.err(), live.err())
    check("watched: and the log has lines", until(lambda: sum("removed meanwhile" in line for line in refusals()) >= 2), refusals()[-3:])
    check("watched: the other token is as good as it was", other_watch.is_running())
    # What is another's is refused, once.
    session = must("capture", "web-b", "--detach", "--duration", "60s", user="wanda").strip()
    before = len(refusals())
    done = far("sessions", "fetch", session, "-w", f"{WORK}/never.pcapng", timeout=20)
    check("watched: an administrator fetches nothing of hers, and is told so at once", done.returncode == 1 and "wanda's" in done.stderr and not os.path.exists(f"{WORK}/never.pcapng"), done.stderr)
    equal("watched: one line in the log", len(refusals()) - before, 1)
    grants = json.loads(must("grants", "list", "--output", "json"))
    began = time.time()
    must("grants", "remove", next(grant["id"] for grant in grants if grant["to"] == "wanda"))
    over = until(lambda: not other_watch.is_running(), 5)
    check("watched: a removed grant ends it at once, with a word", over and time.time() - began < 2 and "you may not see web-b" in other_watch.err(), f"{time.time() - began:.1f} s, {other_watch.err()}")
    check("watched: and her session", until(lambda: "may not see these packets any more" in must("sessions", "list"), 3), must("sessions", "list"))
    must("grants", "add", "wanda", "--machine", "tenant:bravo")
    login_of("wanda")
    other_watch = Process("mon", OVERTAP, "find", "--watch")
    until(lambda: "watching" in other_watch.err())
    must("users", "disable", "wanda")
    check("watched: a disabled account watches no more", until(lambda: not other_watch.is_running(), 12), other_watch.err())
    equal("watched: it ends with Ctrl-C", watch.stop(signal.SIGINT), 0)
    migrate("web-b")


def two_controllers():
    """Two controllers of one PostgreSQL: the first is killed in mid-capture, the second goes on; nothing is missed."""
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not programs:
        print("NOT RUN two controllers: PostgreSQL is not installed (scripts/deps stores)", flush=True)
        return
    database = f"{WORK}/postgres"
    os.makedirs(database)
    shutil.chown(database, "postgres", "postgres")
    os.chmod(WORK, 0o755), os.chmod(os.path.dirname(WORK), 0o755)
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
    started("mon", *as_postgres, f"{programs[-1]}/initdb", "--no-sync", "--auth=trust", "--username=overtap", "--locale=C.UTF-8", "-E", "UTF8", f"--pgdata={database}/data")
    server = Process("mon", *as_postgres, f"{programs[-1]}/postgres", "-c", "fsync=off", "-c", "listen_addresses=", "-k", database, "-D", f"{database}/data")
    url = f"host={database} user=overtap dbname=postgres"
    address = "10.0.0.9:7543"

    def controller(name):
        return Process("mon", OVERTAP, "serve", "--listen", address, "--postgres", url, "--dir", folder(name))

    def begun(name):
        until(lambda: run("mon", *as_postgres, f"{programs[-1]}/pg_isready", "-h", database).returncode == 0, 20)
        return controller(name)

    first = begun("pg-first")
    if not check("two controllers: the first is at work", until(lambda: "listening on" in first.err(), 20), first.err()):
        return
    other_one = controller("pg-second")
    check("two controllers: one with an authority of its own is refused, and told what to do",
          until(lambda: not other_one.is_running(), 10) and "copy ca.pem" in other_one.err(), other_one.err())
    shutil.copy2(f"{folder('pg-first')}/ca.pem", f"{folder('pg-second')}/ca.pem")
    second = controller("pg-second")
    check("two controllers: the second waits", until(lambda: "waiting for it to end" in second.err(), 10) and second.is_running(), second.err())
    log_in("dba", first.err())
    must("grants", "add", "admin", "--machine", "all", user="dba")
    token = re.search(r"overtap agent enrol --token (\S+)", must("agents", "invite", "--uses", "2", "--address", address, user="dba"))[1]
    agents = []
    for host in ("hv-1", "hv-2"):
        place = folder(f"pg-agent-{host}")
        enrolled = run(host, OVERTAP, "agent", "enrol", "--dir", place, "--token", token)
        agents.append(Process(host, OVERTAP, "agent", "--dir", place))
        check(f"two controllers: {host} is there", enrolled.returncode == 0 and until(lambda: "attending" in agents[-1].err(), 10), enrolled.stderr + agents[-1].err())
    capture = Far("web", "--point", "tap", user="dba")
    sending = Traffic("web", "db", "--udp", "100pps", name="acme")
    time.sleep(2)
    first.kill()
    began = time.time()
    check("two controllers: the second is at work once the first is gone", until(lambda: "listening on" in second.err(), 10), second.err())
    back = lambda: sum(agent["is_connected"] for agent in json.loads(far("status", "--output", "json", user="dba").stdout or '{"agents":[]}')["agents"]) == 2
    check("two controllers: both agents come to it", until(back, 20), f"{time.time() - began:.1f} s")
    migrate("web")
    time.sleep(2)
    ended("two controllers", capture, sending)
    kinds = must("audit", "verify", user="dba")
    check("two controllers: one audit log of both, whole", "whole" in kinds or "entries" in kinds, kinds)
    # Cut off from the database, it does not go on as if nothing were.
    server.stop(signal.SIGINT)
    check("two controllers: without the database it ends, and says why", until(lambda: not second.is_running(), 15) and "another controller may be at work" in second.err(), second.err())
    for agent in agents:
        agent.stop()


if __name__ == "__main__":
    chapters(
        set_up, story, uplink, cancelled, failed, claimed_twice, clocks, post_copy, hot_plugged, back_and_forth, without_agent, controller_restarts, rotated, cut_off, killed, detached, watch_far, over_http, in_browser,
        full, filtered, growing, live, in_wireshark, grants, changes_hands, strangers, restarted_elsewhere,
        past, past_of_another, past_revoked, past_while_away, watched, two_controllers,
    )
