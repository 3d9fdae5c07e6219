#!/usr/bin/env python3
"""overtap in shape receive: Open vSwitch mirrors to a machine where overtap is the end of the tunnel."""
import struct

from harness import *

WEB = mac("52:54:00:00:07:0a")
#: What Open vSwitch's tunnel port is told, overtap's name for the mirror, and the words for the session.
KINDS = {
    "erspan-2": ("type=erspan options:erspan_ver=1 options:erspan_idx=3 options:key=100", "erspan", "ERSPAN II session 100"),
    "erspan-3": ("type=erspan options:erspan_ver=2 options:erspan_dir=1 options:erspan_hwid=4 options:key=101", "erspan", "ERSPAN III session 101"),
    "gre": ("type=gre options:key=77", "gre", "GRE key 77"),
    "vxlan": ("type=vxlan options:key=4242", "vxlan", "VXLAN VNI 4242"),
    "geneve": ("type=geneve options:key=555", "geneve", "GENEVE VNI 555"),
}


def ports():
    """The vSwitch port of each machine."""
    rows = json.loads(started("hv-1", "ovs-vsctl", "-f", "json", "--columns=name,external_ids", "list", "Interface"))
    return {dict(ids[1]).get("vm-id"): name for name, ids in rows["data"]}


class Mirror:
    """An Open vSwitch mirror of some machines' ports into a tunnel, made and taken away by hand."""

    def __init__(self, kind, *machines):
        known = ports()
        names = [known[machine] for machine in machines]
        words = ["--", "add-port", "br-int", f"m-{kind}", "--", "set", "Interface", f"m-{kind}", *KINDS[kind][0].split(), "options:remote_ip=10.0.0.9"]
        for number, name in enumerate(names):
            words += ["--", f"--id=@p{number}", "get", "Port", name]
        chosen = ",".join(f"@p{number}" for number in range(len(names)))
        words += ["--", "--id=@o", "get", "Port", f"m-{kind}"]
        words += ["--", "--id=@m", "create", "Mirror", f"name=m-{kind}", f"select_src_port={chosen}", f"select_dst_port={chosen}", "output_port=@o"]
        started("hv-1", "ovs-vsctl", *words[1:], "--", "add", "Bridge", "br-int", "mirrors", "@m")
        self.kind = kind

    def sent(self):
        """How many copies the vSwitch says that it has made."""
        text = started("hv-1", "ovs-vsctl", "get", "Mirror", f"m-{self.kind}", "statistics")
        return int(re.search(r"tx_packets=(\d+)", text)[1])

    def remove(self):
        name = f"m-{self.kind}"
        started("hv-1", "ovs-vsctl", "--", "--id=@m", "get", "Mirror", name, "--", "remove", "Bridge", "br-int", "mirrors", "@m", "--", "del-port", "br-int", name)


def tagged(frame, vlan):
    """As Open vSwitch mirrors the frames of an access port: with its tag."""
    return frame[:12] + struct.pack(">HH", 0x8100, vlan) + frame[12:]


def receive(*mirrors, vm="all", words=()):
    named = [word for mirror in mirrors for word in ("--mirror", mirror)]
    return Overtap("mon", vm, *named, "--local", "--buffer", "4MiB", *words)


def every_kind():
    """Each kind of tunnel: the frames that tcpdump saw at the mirrored port, and the numbers add up."""
    device = ports()["web"]
    for kind, (_, word, session) in KINDS.items():
        capture = receive(f"{word}://10.0.0.9")
        before = unreachables()
        mirror = Mirror(kind, "web")
        judge = Tcpdump("hv-1", device)
        traffic("web", "db", "--udp", "200pps", "--count", "300")
        until(lambda: "300" in capture.err(), 0.5)
        seen = judge.finish()
        time.sleep(0.3)
        answers = unreachables() - before
        mirror.remove()
        status, receipt, file = capture.finish()
        honest(kind, status, receipt, file)
        wanted = collections.Counter(tagged(packet.data, 100) for packet in seen.packets)
        got = collections.Counter(p.data for p in file.packets)
        same_frames(f"{kind}: what tcpdump saw at the mirrored port", of(got), of(wanted))
        check(f"{kind}: at least 600 datagrams or so", of(wanted).total() >= 300, of(wanted).total())
        equal(f"{kind}: nothing lost on the way", receipt["lost_of_mirrors"], 0)
        names = {file.interfaces[p.interface]["name"] for p in file.packets}
        check(f"{kind}: the session is an interface of the file", all(name.startswith(f"{session} from 10.0.0.1 @ mon:") for name in names) and names, names)
        equal(f"{kind}: the sender is not told that nobody listens", answers, 0)
        equal(f"{kind}: everybody reads the file", complaints(file.path), [])


def unreachables():
    """How often the receiving host has said that nobody listens there."""
    lines = [line.split() for line in started("mon", "cat", "/proc/net/snmp").splitlines() if line.startswith("Icmp:")]
    return int(dict(zip(*lines))["OutDestUnreachs"])


def of(frames):
    """Only the test's own datagrams: ARP and the like may fall before or behind one of the captures."""
    return collections.Counter({frame: n for frame, n in frames.items() if b"acme:0" in frame})


def two_sessions():
    """Two ERSPAN sessions of one vSwitch share their numbers: no loss is reported (pitfall E6)."""
    capture = receive("erspan://10.0.0.9")
    mirrors = [Mirror("erspan-2", "web"), Mirror("erspan-3", "web-b")]
    streams = [Traffic("web", "db", "--udp", "200pps", "--count", "200"), Traffic("web-b", "db-b", "--udp", "200pps", "--count", "200")]
    for stream in streams:
        stream.wait()
    time.sleep(0.3)
    for mirror in mirrors:
        mirror.remove()
    status, receipt, file = capture.finish()
    honest("two sessions", status, receipt, file)
    sessions = [i for i in receipt["interfaces"] if i["interface"] == "mirror"]
    equal("two sessions: each with its account", len(sessions), 2)
    equal("two sessions: nothing lost", receipt["lost_of_mirrors"], 0)
    later = [p.time for p in file.packets if b"bravo:0" in p.data]
    now = time.time_ns()
    check("ERSPAN III: times of the switch, near ours", later and all(abs(now - t) < 60e9 for t in later))


MIRRORED = """
import socket, struct, sys
gre = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)
for n, frame in enumerate(sys.argv[1].split(",")):
    gre.sendto(struct.pack(">HHIHHI", 0x1000, 0x88be, n, 0x1000, 7, 5) + bytes.fromhex(frame), ("10.0.0.1", 0))
"""


def guarded():
    """Of a mirror that shows two tenants with the same MACs, a capture of one VM and its tools get that VM's frames only."""
    web, db, outside = "52:54:00:00:07:0a", "52:54:00:00:07:14", "52:54:00:00:ee:01"
    tag = lambda vlan: struct.pack(">HH", 0x8100, vlan)
    plain = lambda marker, tags=b"", source=web, target=outside: udp_frame(source, target, "10.0.7.10", "10.0.7.99", marker, tags=tags)
    vxlan = lambda vni, inner: struct.pack(">II", 0x08000000, vni << 8) + inner
    carried = udp_frame(web, outside, "10.0.7.10", "10.0.7.99", vxlan(100, plain(b"forged:0001", tag(100))), port=4789, tags=tag(200))
    frames = {
        "own:0001": plain(b"own:0001", tag(100)),
        "own:0002": plain(b"own:0002", tag(100), outside, web),
        "foreign:0001": plain(b"foreign:0001", tag(200)),
        "foreign:0002": plain(b"foreign:0002", tag(200), outside, web),
        "nobodys:0001": plain(b"nobodys:0001"),
        "neighbour:0001": plain(b"neighbour:0001", tag(100), db, outside),
        "twice:0001": plain(b"twice:0001", struct.pack(">HH", 0x88A8, 100) + tag(200)),
        "forged:0001": carried,
        "cut:0001": plain(b"cut:0001", tag(200))[:13],
    }
    # Both VLANs lead out of the switch, so they name the VMs on wires.
    started("hv-1", "ovs-vsctl", "set", "port", "patch-phy", "trunks=20,30,100,200", "--", "set", "port", "patch-int", "trunks=20,30,100,200")
    started("hv-1", OVERTAP, "tools", "add", "ids", "--pcap-over-ip", "127.0.0.1:57020")
    tool = Process("hv-1", "socat", "-u", "TCP-LISTEN:57020,bind=127.0.0.1", f"CREATE:{WORK}/ids.pcapng")
    until(lambda: ":57020" in started("hv-1", "ss", "-Hltn"), 5)
    capture = Overtap("hv-1", "web", "--mirror", "erspan://10.0.0.1", "--local", "--buffer", "4MiB", "--to", "ids")
    started("mon", sys.executable, "-c", MIRRORED, ",".join(frame.hex() for frame in frames.values()))
    time.sleep(0.5)
    status, receipt, file = capture.finish()
    tool.wait()
    markers = lambda path: sorted(re.findall(rb"[a-z]+:0\d+", open(path, "rb").read()))
    equal("guarded: exit status 0", status, 0)
    adds_up(receipt)
    equal("guarded: in the file the VM's frames and no others", markers(file.path), [b"own:0001", b"own:0002"])
    equal("guarded: at the tool as well", markers(f"{WORK}/ids.pcapng"), [b"own:0001", b"own:0002"])
    total = receipt["total"]
    equal("guarded: each frame that was kept back has its reason", total["other_tenant"] + total["undecidable"] + total["not_mirrored"], len(frames) - 2)
    equal("guarded: the tool was offered what the VM's are", receipt["tools"][0]["offered"], 2)
    done = overtap("hv-1", "capture", "all", "--mirror", "erspan://10.0.0.1", "--local", "--to", "ids", "--duration", "1")
    check("guarded: every frame, whosever it is, goes to no tool that may not have everybody's", done.returncode == 1 and "may not have every frame" in done.stderr, done.stderr)


SENDER = """
import socket, struct, sys, time
kind, numbers = sys.argv[1], eval(sys.argv[2])
gre = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)
gre.bind((sys.argv[3], 0))
for n in numbers:
    frame = b"\\xff" * 6 + b"\\x52\\x54\\0\\0\\0\\1" + b"\\x88\\xb5" + struct.pack(">I", n) + b"numbered" * 5
    session = struct.pack(">HHI", 0x1000, 7, 5)
    gre.sendto(struct.pack(">HHI", 0x1000, 0x88be, n) + session + frame, ("10.0.0.9", 0))
    if n % 50 == 0: time.sleep(0.002)
"""


def holes():
    """A stream with holes, out of order and with copies: exactly the holes are losses."""
    for what, numbers, lost in (
        ("holes", "[n for n in range(5000) if n % 500 not in (7, 8, 9)]", 30),
        ("swapped", "[n ^ 1 for n in range(1000)]", 0),
        ("doubled", "[n // 2 for n in range(2000)]", 0),
        ("begun anew", "[*range(1000), *range(1000)]", 0),
        ("across the last number", "[n % 2**32 for n in range(2**32 - 500, 2**32 + 500) if n % 100 != 50]", 10),
    ):
        capture = receive("erspan://10.0.0.9")
        started("hv-1", sys.executable, "-c", SENDER, "erspan", numbers, "10.0.0.1")
        time.sleep(0.3)
        status, receipt, file = capture.finish()
        equal(f"{what}: lost on the way", receipt["lost_of_mirrors"], lost)
        equal(f"{what}: exit status", status, 3 if lost else 0)
        check(f"{what}: the receipt adds up", adds_up(receipt), json.dumps(receipt["interfaces"]))
        equal(f"{what}: what came is in the file", len(file.packets), len(eval(numbers)))
        told = sum(s["dropped"] or 0 for s in file.statistics)
        equal(f"{what}: the file says so, too", told, lost)


FLOOD = """
import os, random, socket, struct
random.seed(7)
gre = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
frame = b"\\xff" * 6 + b"\\x52\\x54\\0\\0\\0\\1" + b"\\x88\\xb5" + b"flood" * 10
for n in range(20000):
    gre.sendto(struct.pack(">HHI", 0x2000, 0x6558, n) + frame, ("10.0.0.9", 0))
    gre.sendto(struct.pack(">HHI", 0x1000, 0x88be, random.getrandbits(32)) + struct.pack(">HHI", 0x1000, n % 1024, 5) + frame, ("10.0.0.9", 0))
    gre.sendto(os.urandom(random.randrange(1, 200)), ("10.0.0.9", 0))
    udp.sendto(os.urandom(random.randrange(1, 200)), ("10.0.0.9", 4789))
"""


def hostile():
    """Garbage and a flood of sessions: bounded memory, every packet in an account."""
    capture = receive("gre://10.0.0.9", "erspan://10.0.0.9", "vxlan://10.0.0.9")
    status_of = lambda: open(f"/proc/{capture.engine()}/status").read()
    resident = lambda: int(re.search(r"RssAnon:\s+(\d+)", status_of())[1])
    before = resident()
    started("hv-1", sys.executable, "-c", FLOOD)
    time.sleep(0.5)
    grown = resident() - before
    check("a flood of 20 000 sessions takes less than 64 MiB", grown < 64 << 10, f"{grown} KiB")
    status, receipt, file = capture.finish(seconds=40)
    check("the flood: it ends by itself when asked", status in (0, 3), status)
    check("the flood: the receipt adds up", adds_up(receipt), json.dumps(receipt["total"]))
    check("the flood: some garbage was no mirror's", receipt["total"]["not_mirrored"] > 10_000, receipt["total"])
    check("the flood: few interfaces", len(file.interfaces) < 3 * 70, len(file.interfaces))
    equal("the flood: everybody reads the file", complaints(file.path), [])


def spans():
    """RSPAN and SPAN: frames as they come by an interface, without the RSPAN's own tag."""
    capture = receive("rspan://eth0?vlan=999")
    plain = receive("span://eth0", words=("ether proto 0x88b5",))
    frames = [b"\x02\0\0\0\0\1" + WEB + b"\x88\xb5" + struct.pack(">I", n) + b"spanned" * 8 for n in range(100)]
    own = [tagged(frame, 100) for frame in frames]
    send_frames(enter("hv-1"), "up0", [tagged(frame, 999) for frame in own] + frames)
    time.sleep(0.3)
    status, receipt, file = capture.finish()
    honest("RSPAN", status, receipt, file)
    same_frames("RSPAN: the frames with the tags they had", file.frames(), collections.Counter(own))
    status, receipt, file = plain.finish()
    got = collections.Counter(frame for frame in file.frames().elements() if b"spanned" in frame)
    wanted = collections.Counter(frames)
    check("SPAN: the frames as they came, for others too", not wanted - got, difference(wanted, got))


if __name__ == "__main__":
    chapters(every_kind, two_sessions, guarded, holes, hostile, spans)
