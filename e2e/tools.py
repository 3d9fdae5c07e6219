#!/usr/bin/env python3
"""overtap in shape veth: packets to analysis tools. Encapsulations, policies, grants, loops, slow tools."""
import collections
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from harness import *
from veth import BOX, FAR, HOST, SMALL, Sender, numbers, send

SINK = "10.8.0.9"
IN_BOX_WORDS = ["nsenter", "--net=/run/netns/box"]
IN_SINK = [*enter(HOST), "nsenter", "--net=/run/netns/sink"]
# What stands before the frame on the wire of the sink: Ethernet, IPv4, then the tunnel.
TUNNELS = {
    "vxlan": (("--vxlan", SINK, "--vni", "42"), 14 + 20 + 8 + 8, "udp:vxlan:eth"),
    "geneve": (("--geneve", SINK, "--vni", "42"), 14 + 20 + 8 + 8, "udp:geneve:eth"),
    "gre": (("--gre", SINK, "--key", "7"), 14 + 20 + 12, "gre:eth"),
    "erspan-2": (("--erspan2", SINK, "--session", "1023"), 14 + 20 + 16, "gre:erspan:eth"),
    "erspan-3": (("--erspan3", SINK, "--session", "5"), 14 + 20 + 28, "gre:erspan:eth"),
    "tzsp": (("--tzsp", SINK), 14 + 20 + 8 + 15, "udp:tzsp:eth"),
}


def overtap(*words):
    """A command of overtap that must succeed."""
    return started(HOST, OVERTAP, *words)


def add(name, *words):
    run(HOST, OVERTAP, "tools", "remove", name)
    return overtap("tools", "add", name, *words)


def set_up():
    """A machine called box at the end of a veth, and a sink that tools' packets go to."""
    started(HOST, "ip", "netns", "add", "box")
    started(HOST, "ip", "netns", "add", "sink")
    for name in ("box", "sink"):
        started(HOST, "ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1", "net.ipv6.conf.all.disable_ipv6=1")
    started(HOST, "ip", "link", "add", "tap-box", "type", "veth", "peer", "name", "eth0", "address", BOX, "netns", "box")
    started(HOST, "ip", "link", "add", "to-sink", "type", "veth", "peer", "name", "eth0", "netns", "sink")
    for name, address in (("tap-box", None), ("to-sink", "10.8.0.1/24")):
        started(HOST, "ip", "link", "set", name, "up")
        if address:
            started(HOST, "ip", "addr", "add", address, "dev", name)
    for name, address in (("box", "10.1.1.1/24"), ("sink", f"{SINK}/24")):
        started(HOST, "ip", "-n", name, "addr", "add", address, "dev", "eth0")
        started(HOST, "ip", "-n", name, "link", "set", "eth0", "up")
        started(HOST, "ip", "-n", name, "link", "set", "lo", "up")
    mac = started(HOST, "ip", "netns", "exec", "sink", "cat", "/sys/class/net/eth0/address")
    started(HOST, "ip", "neigh", "replace", SINK, "lladdr", mac, "dev", "to-sink", "nud", "permanent")


class Wire:
    """tcpdump at the sink's end of the wire. A slot of its ring is as long as the snapshot: a short one makes room for a burst."""

    def __init__(self, name):
        self.path = f"{WORK}/{name}.pcap"
        self.process = Process(HOST, "tcpdump", "-i", "eth0", "-U", "-s", "2048", "-B", "65536", "--immediate-mode", "-Q", "in", "-w", self.path, prefix=IN_SINK)
        until(lambda: "listening" in self.process.err())

    def close(self):
        time.sleep(0.3)
        self.process.stop(signal.SIGINT)
        if "\n0 packets dropped by kernel" not in self.process.err():
            raise RuntimeError(f"tcpdump lost packets: {self.process.err()}")
        return Capture(self.path)


def tunnelled(capture, name):
    """The datagrams of one encapsulation in a capture of the wire."""
    ports = {"vxlan": 4789, "geneve": 6081, "tzsp": 37008}
    protocols = {"gre": 0x6558, "erspan-2": 0x88BE, "erspan-3": 0x22EB}

    def is_it(data):
        if data[12:14] != b"\x08\x00" or data[26:34] != socket.inet_aton("10.8.0.1") + socket.inet_aton(SINK):
            return False
        if name in ports:
            return data[23] == 17 and struct.unpack_from(">H", data, 36)[0] == ports[name]
        return data[23] == 47 and struct.unpack_from(">H", data, 36)[0] == protocols[name]

    return [packet for packet in capture.packets if is_it(packet.data)]


def tool(receipt, name):
    """The account of a tool, which adds up."""
    account = next(tool for tool in receipt["tools"] if tool["name"] == name)
    reasons = ("other_tenant", "undecidable", "own_export", "not_selected", "duplicate", "not_sampled", "not_ethernet",
               "too_large", "over_rate", "not_connected", "queue_full", "sink_failed")
    equal(f"{name}: every packet offered is accounted for", account["sent"] + sum(account[r] for r in reasons), account["offered"])
    return account


def tshark(path, *words):
    done = subprocess.run(["tshark", "-n", "-r", path, *words], capture_output=True, text=True, timeout=120)
    return done.stdout.splitlines()


def encapsulations():
    """Each encapsulation decodes in tshark, holds the same inner bytes, and counts to the packet at both ends."""
    for name, (words, _, _) in TUNNELS.items():
        add(name, *words)
    wire = Wire("encapsulations")
    capture = Overtap(HOST, "box", *SMALL, "--to", ",".join(TUNNELS))
    count = send(1000)
    status, receipt, file = capture.finish()
    seen = wire.close()
    equal("ends well", status, 0)
    sent = [packet.data for packet in file.packets]
    equal("the file beside the tools has all packets", len(numbers(file)), count)
    for name, (_, around, protocols) in TUNNELS.items():
        packets = tunnelled(seen, name)
        inner = [packet.data[around:] for packet in packets]
        equal(f"{name}: the inner frames are those of the file", inner == sent, True)
        account = tool(receipt, name)
        equal(f"{name}: as many arrived as the account says", (account["sent"], account["datagrams"]), (len(packets), len(packets)))
        bytes_ = sum(len(p.data) - 14 - 20 - (8 if "udp" in protocols else 0) for p in packets)
        equal(f"{name}: and as many bytes", account["sent_bytes"], bytes_)
        check(f"{name}: no fragment, and none allowed", all(p.data[20:22] == b"\x40\x00" for p in packets))
    rows = tshark(wire.path, "-T", "fields", "-e", "frame.protocols", "-e", "_ws.malformed", "-Y", f"ip.dst=={SINK} and ip.src==10.8.0.1 and not icmp")
    for name, (_, _, protocols) in TUNNELS.items():
        decoded = [row for row in rows if f":{protocols}:" in row and row.endswith("\t")]
        wanted = {"erspan-2": 0, "erspan-3": 2 * count}.get(name, count)
        if wanted:
            check(f"{name}: tshark decodes every packet down to the frame", len([r for r in decoded if "udp:data" in r]) >= wanted, rows[:2])
    for name, field in (("gre", "gre.proto==0x6558"), ("erspan-2", "gre.proto==0x88be"), ("erspan-3", "gre.proto==0x22eb")):
        numbers_ = [int(row) for row in tshark(wire.path, "-T", "fields", "-E", "occurrence=f", "-e", "gre.sequence_number", "-Y", field)]
        equal(f"{name}: the sequence numbers have no gap", numbers_ == list(range(len(sent))), True)
    fields = tshark(wire.path, "-T", "fields", "-e", "erspan.spanid", "-e", "erspan.timestamp", "-e", "erspan.p_d5_timestamp", "-e", "erspan.platid", "-Y", "gre.proto==0x22eb")
    check("erspan-3: session as asked", all(row.split("\t")[0] == "5" for row in fields), fields[:2])
    times = [struct.unpack_from(">I", p.data, 58)[0] * 10**9 + struct.unpack_from(">I", p.data, 46)[0] for p in tunnelled(seen, "erspan-3")]
    equal("erspan-3: the times are those of the file, to the nanosecond", times == [packet.time for packet in file.packets], True)
    counts = [struct.unpack_from(">I", p.data, 14 + 20 + 8 + 6)[0] for p in tunnelled(seen, "tzsp")]
    equal("tzsp: its packet counts have no gap", counts == list(range(len(sent))), True)


class Reader(threading.Thread):
    """Reads a stream to its end, from a socket that listens or one that calls."""

    def __init__(self, connect):
        super().__init__(daemon=True)
        self.data, self.connect, self.pause = b"", connect, threading.Event()
        self.pause.set()
        self.start()

    def run(self):
        with self.connect() as connection:
            while True:
                self.pause.wait()
                block = connection.recv(1 << 16)
                if not block:
                    return
                self.data += block

    def capture(self, name):
        self.join(5)
        path = f"{WORK}/{name}.pcapng"
        with open(path, "wb") as file:
            file.write(self.data)
        return Capture(path)


def listening(family, address):
    server = socket.socket(family)
    server.bind(address)
    server.listen()
    return server, lambda: server.accept()[0]


def in_host(code):
    """Python in the network of the host: sockets belong to the network they are made in."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"{LAB_DIR}/pids/init-{HOST}") as record:
        pid = record.read().split()[0]
    with open("/proc/self/ns/net") as own, open(f"/proc/{pid}/ns/net") as other:
        if libc.setns(other.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            return code()
        finally:
            libc.setns(own.fileno(), 0x40000000)


def streams():
    """pcap-over-IP both ways, a unix socket and a file hold the same packets as the capture's own file."""
    server, accept = in_host(lambda: listening(socket.AF_INET, ("127.0.0.1", 57012)))
    unix, accept_unix = listening(socket.AF_UNIX, f"{WORK}/tool.sock")
    add("called", "--pcap-over-ip", "127.0.0.1:57012")
    add("caller", "--pcap-over-ip-listen", "127.0.0.1:57013")
    add("unix", "--unix", f"{WORK}/tool.sock")
    add("file", "--file", f"{WORK}/tool.pcapng")
    readers = {"called": Reader(accept), "unix": Reader(accept_unix)}
    capture = Overtap(HOST, "box", *SMALL, "--to", "called,caller,unix,file")
    send(50)
    readers["caller"] = Reader(lambda: in_host(lambda: socket.create_connection(("127.0.0.1", 57013))))
    check("a reader that calls is announced", until(lambda: "a reader of it is connected" in capture.err()), capture.err())
    count = send(500)
    status, receipt, file = capture.finish()
    equal("ends well", status, 0)
    frames = [(packet.time, packet.data) for packet in file.packets]
    for name in ("called", "unix", "file"):
        got = Capture(f"{WORK}/tool.pcapng") if name == "file" else readers[name].capture(name)
        equal(f"{name}: the packets are those of the file", [(p.time, p.data) for p in got.packets] == frames, True)
        equal(f"{name}: and the account says so", tool(receipt, name)["sent"], len(frames))
        equal(f"{name}: everybody reads it", complaints(got.path), [])
    got, account = readers["caller"].capture("caller"), tool(receipt, "caller")
    equal("caller: what was sent since it called", [(p.time, p.data) for p in got.packets] == frames[-len(got.packets):], True)
    equal("caller: what came before is counted", (account["sent"], account["not_connected"]), (len(got.packets), len(frames) - len(got.packets)))
    check("caller: it has all since", len(got.packets) >= count, len(got.packets))
    server.close(), unix.close()


def policies():
    """Slices, masks with honest checksums, samples, selections; every packet accounted for."""
    to = ("--vxlan", SINK, "--vni")
    add("all", *to, "1")
    add("sliced", *to, "2", "--slice", "64")
    add("masked", *to, "3", "--mask", "payload,ips")
    add("sampled", *to, "4", "--sample", "10")
    add("other", *to, "5", "--select", "udp port 9")
    add("same", *to, "6", "--select", "udp port 5001", "--slice", "headers")
    add("slow", *to, "7", "--rate", "100k")
    names = ("all", "sliced", "masked", "sampled", "other", "same", "slow")
    wire = Wire("policies")
    capture = Overtap(HOST, "box", *SMALL, "--to", ",".join(names))
    count = send(1000)
    status, receipt, file = capture.finish()
    seen = tunnelled(wire.close(), "vxlan")
    by_vni = collections.defaultdict(list)
    for packet in seen:
        by_vni[packet.data[48]].append(packet.data[50:])
    frames = [packet.data for packet in file.packets]
    equal("all: everything", by_vni[1] == frames, True)
    equal("sliced: the first 64 bytes", by_vni[2] == [frame[:64] for frame in frames], True)
    equal("sampled: one of ten", by_vni[4] == frames[::10], True)
    equal("other: nothing", len(by_vni[5]), 0)
    equal("same: headers and nothing else", {len(frame) for frame in by_vni[6]}, {42})
    check("slow: some, within the rate", 0 < len(by_vni[7]) < len(frames), len(by_vni[7]))
    for name, vni in zip(names, range(1, 8)):
        equal(f"{name}: as many arrived as the account says", tool(receipt, name)["sent"], len(by_vni[vni]))
    check("masked: no payload", not any(b"acme" in frame for frame in by_vni[3]) and len(by_vni[3]) == len(frames))
    path = f"{WORK}/masked.pcap"
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for frame in by_vni[3]:
            out.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
    sums = tshark(path, "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-T", "fields", "-e", "ip.checksum.status", "-e", "udp.checksum.status", "-Y", "udp")
    before = tshark(file.path, "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-T", "fields", "-e", "ip.checksum.status", "-e", "udp.checksum.status", "-Y", "udp")
    equal("masked: tshark finds every checksum as it found it before", sums == before, True)


def taken_away():
    """A tool that is removed under load gets nothing more within 100 ms; the others and the capture go on."""
    add("one", "--vxlan", SINK, "--vni", "1")
    add("two", "--gre", SINK)
    wire = Wire("taken")
    capture = Overtap(HOST, "box", *SMALL, "--to", "one,two")
    sender = Sender(rate=2000)
    time.sleep(0.5)
    overtap("tools", "remove", "one")
    removed = time.time_ns()
    time.sleep(0.5)
    sender.stop()
    status, receipt, file = capture.finish()
    seen = wire.close()
    last = max(packet.time for packet in tunnelled(seen, "vxlan"))
    check("nothing more after 100 ms", (last - removed) / 1e6 < 100, f"{(last - removed) / 1e6:.1f} ms")
    one, two = tool(receipt, "one"), tool(receipt, "two")
    equal("the other tool has got everything", (two["sent"], len(tunnelled(seen, "gre"))), (len(file.packets), len(file.packets)))
    check("what the first has not got is counted under its name", one["other_tenant"] > 500, one)
    equal("as many arrived as the account says", one["sent"], len(tunnelled(seen, "vxlan")))
    check("and it is said", any("no grant" in event for event in receipt["events"]), receipt["events"])
    done = run(HOST, OVERTAP, "capture", "box", "--to", "one")
    check("a tool that is not known is refused", done.returncode == 2 and "there is no tool one" in done.stderr, done.stderr)
    add("strict", "--vxlan", SINK, "--tenant", "acme")
    done = run(HOST, OVERTAP, "capture", "box", "--to", "strict")
    check("a tool without a grant is refused", done.returncode == 1 and "may not have the packets of box" in done.stderr, done.stderr)


def loops():
    """H2: the sink itself is captured and the copies are sent to the sink: nothing is copied twice."""
    add("loop", "--vxlan", SINK, "--vni", "9")
    wire = Wire("loops")
    capture = Overtap(HOST, "sink", *SMALL, "--to", "loop")
    for number in range(20):
        started(HOST, *IN_SINK[len(enter(HOST)):], "ping", "-c1", "-W1", "10.8.0.1")
    # The copies of the last ones pass the interface, too.
    time.sleep(0.5)
    status, receipt, file = capture.finish()
    seen = tunnelled(wire.close(), "vxlan")
    account = tool(receipt, "loop")
    equal("each packet was sent once", (len(seen), account["sent"]), (len(file.packets), len(file.packets)))
    check("and no copy of a copy", not any(b"\x12\xb5" == p.data[36:38] for p in file.packets))
    equal("the copies are counted under their name", receipt["total"]["own_export"], len(seen))


def slow():
    """H4: a tool that does not read loses counted packets; the other tool and the file lose none."""
    server, accept = in_host(lambda: listening(socket.AF_INET, ("127.0.0.1", 57014)))
    add("stuck", "--pcap-over-ip", "127.0.0.1:57014")
    add("quick", "--gre", SINK)
    reader = Reader(accept)
    reader.pause.clear()
    wire = Wire("slow")
    capture = Overtap(HOST, "box", "--to", "stuck,quick")
    count = send(12000, size=1400)
    until(lambda: False, 0.5)
    reader.pause.set()
    status, receipt, file = capture.finish()
    stuck, quick = tool(receipt, "stuck"), tool(receipt, "quick")
    equal("the file has everything", len(numbers(file)), count)
    equal("the quick tool has everything", (quick["sent"], quick["queue_full"]), (len(file.packets), 0))
    equal("and it arrived", len(tunnelled(wire.close(), "gre")), len(file.packets))
    check("the stuck tool has lost some", stuck["queue_full"] > 0, stuck)
    equal("what it has got is what the account says", len(reader.capture("stuck").packets), stuck["sent"])
    equal("the exit code says that packets were lost", status, 3)
    server.close()


def rspan():
    """Frames in the mirror's own VLAN of an interface, around the tag they have; and never captured again."""
    add("rspan", "--rspan", "to-sink", "--vlan", "3900")
    wire = Wire("rspan")
    capture = Overtap(HOST, "box", *SMALL, "--to", "rspan")
    count = send(200)
    status, receipt, file = capture.finish()
    seen = [p for p in wire.close().packets if p.data[12:16] == b"\x81\x00\x0f\x3c"]
    equal("the frames are those of the file", [p.data[:12] + p.data[16:] for p in seen] == [p.data for p in file.packets], True)
    equal("as many as the account says", (len(seen), tool(receipt, "rspan")["sent"]), (len(file.packets), len(file.packets)))
    check("all that were sent", len(seen) >= count, len(seen))
    capture = Overtap(HOST, "sink", *SMALL, "--to", "rspan")
    started(HOST, *IN_SINK[len(enter(HOST)):], "ping", "-c3", "-i0.2", "-W1", "10.8.0.1")
    time.sleep(0.5)
    status, receipt, file = capture.finish()
    equal("no copy of a copy", (tool(receipt, "rspan")["sent"], receipt["total"]["own_export"]), (len(file.packets), len(file.packets)))


def segments():
    """Super-frames of a TCP stream become segments that tshark finds nothing wrong with; no byte is missing."""
    started(HOST, "ip", "addr", "add", "10.1.1.254/24", "dev", "tap-box")
    add("segments", "--vxlan", SINK, "--vni", "3", "--oversized", "segment")
    add("refused", "--vxlan", SINK, "--vni", "4", "--oversized", "refuse")
    server, accept = in_host(lambda: listening(socket.AF_INET, ("10.1.1.254", 5555)))
    reader = Reader(accept)
    wire = Wire("segments")
    capture = Overtap(HOST, "box", "--to", "segments,refused")
    code = "import socket, os; s = socket.create_connection(('10.1.1.254', 5555)); s.sendall(bytes(range(250)) * 4000); s.close()"
    started(HOST, *IN_BOX_WORDS, sys.executable, "-c", code)
    reader.join(10)
    time.sleep(0.3)
    status, receipt, file = capture.finish()
    started(HOST, "ip", "addr", "del", "10.1.1.254/24", "dev", "tap-box")
    server.close()
    account, refused = tool(receipt, "segments"), tool(receipt, "refused")
    seen = tunnelled(wire.close(), "vxlan")
    mine = [p for p in seen if p.data[48] == 3]
    equal("as many datagrams arrived as the account says", (len(mine), len(seen) - len(mine)), (account["datagrams"], refused["sent"]))
    check("some were segmented", account["segmented"] > 0 and account["sliced"] == 0, account)
    equal("what one tool segments the other refuses", refused["too_large"], account["segmented"])
    check("no datagram is larger than the way takes", all(len(p.data) <= 1514 for p in seen))
    pieces = {}
    for packet in mine:
        frame = packet.data[50:]
        if frame[12:14] == b"\x08\x00" and frame[23] == 6 and struct.unpack_from(">H", frame, 36)[0] == 5555:
            start, head = struct.unpack_from(">I", frame, 38)[0], 34 + (frame[46] >> 4) * 4
            pieces[start] = max(pieces.get(start, b""), frame[head:14 + struct.unpack_from(">H", frame, 16)[0]], key=len)
    first, stream = min((start for start, data in pieces.items() if data), default=0), b""
    for start in sorted(pieces):
        stream = stream[:start - first] + pieces[start] if pieces[start] else stream
    equal("put together they are the stream", stream == bytes(range(250)) * 4000, True)
    path = f"{WORK}/segmented.pcap"
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for packet in mine:
            frame = packet.data[50:]
            if len(frame) > 1000:
                out.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
    sums = tshark(path, "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-T", "fields", "-e", "ip.checksum.status", "-e", "tcp.checksum.status", "-Y", "tcp")
    check("tshark finds their checksums right", sums and set(sums) == {"1\t1"}, collections.Counter(sums))


if __name__ == "__main__":
    chapters(set_up, encapsulations, streams, policies, taken_away, loops, slow, rspan, segments)
