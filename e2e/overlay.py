#!/usr/bin/env python3
"""overtap in shape overlay: two tenants with the same addresses, VXLAN, GENEVE, VLAN, kernel VXLAN."""
import collections
import json
import os
import re
import signal
import subprocess
import sys
import time

from harness import *

WEB = mac("52:54:00:00:07:0a")
# Captures of two_tenants, for those who come after it.
PATHS = {}
MAIL, APP = mac("52:54:00:00:14:0e"), mac("52:54:00:00:65:11")


def taps(host="hv-1"):
    """The tap of each machine, as Open vSwitch itself knows it."""
    rows = json.loads(started(host, "ovs-vsctl", "-f", "json", "--columns=name,external_ids", "list", "Interface"))
    found = {}
    for name, ids in rows["data"]:
        ids = dict(ids[1])
        if "vm-id" in ids:
            found[ids["vm-id"]] = name
    by_id = {line.split()[1]: line.split()[0] for line in lab("vm", "list").splitlines() if len(line.split()) > 1}
    return {by_id.get(vm_id, vm_id): name for vm_id, name in found.items()}


def port_counts(tap):
    """Frames from and to the VM, as the vSwitch counts them."""
    text = started("hv-1", "ovs-ofctl", "dump-ports", "br-int", tap)
    return sum(int(number) for number in re.findall(r"[rt]x pkts=(\d+)", text))


def within(capture, began, ended):
    """Its frames between two times of the wall clock."""
    return collections.Counter(p.data for p in capture.packets if began <= p.time <= ended)


def of(frames, keep):
    return collections.Counter({frame: count for frame, count in frames.items() if keep(frame)})


def inner(frame):
    """The frame inside a tunnel over IPv4 and UDP without options, as in this lab; and its VNI."""
    if frame[12:14] != b"\x08\x00" or frame[23] != 17:
        return frame, None
    port = int.from_bytes(frame[36:38], "big")
    if port == 4789:
        return frame[50:], int.from_bytes(frame[46:49], "big")
    if port == 6081:
        return frame[50 + 4 * (frame[42] & 0x3F):], int.from_bytes(frame[46:49], "big")
    return frame, None


def two_tenants():
    """Both tenants active: every capture holds exactly its VM's frames."""
    small = ("--buffer", "4MiB")
    tap = taps()
    judge = {name: Tcpdump("hv-1", tap[name]) for name in ("web", "web-b", "mail", "app")}
    judge["up0"], judge["up1"] = Tcpdump("hv-1", "up0"), Tcpdump("hv-1", "up1")
    judge["legacy"], judge["hv-3 up0"] = Tcpdump("hv-3", "tap-legacy"), Tcpdump("hv-3", "up0")
    run_of = {"web tap": Overtap("hv-1", "web", "--point", "tap")}
    for vm in ("web-b", "mail", "app"):
        run_of[f"{vm} tap"] = Overtap("hv-1", vm, "--point", "tap", *small)
    for vm in ("web", "web-b", "mail", "app"):
        run_of[f"{vm} uplink"] = Overtap("hv-1", vm, "--point", "uplink", *small)
        run_of[f"{vm} stripped"] = Overtap("hv-1", vm, "--point", "uplink", "--strip", *small)
    run_of["legacy tap"] = Overtap("hv-3", "legacy", "--point", "tap", *small)
    run_of["legacy uplink"] = Overtap("hv-3", "legacy", "--point", "uplink", *small)
    run_of["legacy stripped"] = Overtap("hv-3", "legacy", "--point", "uplink", "--strip", *small)

    ports_before = port_counts(tap["web"])
    began = time.time_ns()
    streams = [
        Traffic("web", "db", "--udp", "200pps", "--count", "300"),
        Traffic("db", "web", "--udp", "100pps", "--count", "150", "--port", "5002"),
        Traffic("web", "cache", "--udp", "100pps", "--count", "100", "--port", "5003"),
        Traffic("web-b", "db-b", "--udp", "100pps", "--count", "170"),
        Traffic("cache-b", "web-b", "--udp", "100pps", "--count", "90", "--port", "5004"),
        Traffic("mail", "printer", "--udp", "100pps", "--count", "110"),
        Traffic("app", "legacy", "--udp", "100pps", "--count", "120"),
        Traffic("cache", "probe", "--udp", "100pps", "--count", "130"),
    ]
    sent = [stream.wait() for stream in streams]
    tcp = traffic("db", "web", "--tcp", "400000", "--port", "5005")
    ended = time.time_ns()
    ports_after = port_counts(tap["web"])
    check("the lab's traffic itself lost nothing", all(s["sent"] == s["distinct"] for s in sent), sent)
    check("TCP between the guests lost nothing", tcp["sent_bytes"] == tcp["received_bytes"] == 400000, tcp)

    file, receipts = {}, {}
    for name, capture in run_of.items():
        status, receipts[name], file[name] = capture.finish()
        honest(name, status, receipts[name], file[name])
    seen = {name: within(capture.finish(), began, ended) for name, capture in judge.items()}
    held = {name: within(capture, began, ended) for name, capture in file.items()}

    for vm in ("web", "web-b", "mail", "app", "legacy"):
        same_frames(f"{vm}: the file of the tap holds exactly what tcpdump saw there", held[f"{vm} tap"], seen[vm])
        total = receipts[f"{vm} tap"]["total"]
        check(f"{vm}: at the tap seen is written", total["received"] == total["written"], total)

    # What leaves the host is what tcpdump saw on the wires; a vSwitch that has forgotten a MAC floods
    # frames of neighbours there too, which the VM's own port may even see, but which are not the VM's.
    wire = {"hv-1": seen["up0"] + seen["up1"], "hv-3": seen["hv-3 up0"]}
    bare_wire = {host: bare(frames) for host, frames in wire.items()}
    own = {"web": WEB, "web-b": WEB, "mail": MAIL, "app": APP, "legacy": mac("52:54:00:00:65:1f")}
    network = {"web": 100, "web-b": 200, "mail": 20, "app": 101, "legacy": 101}
    for vm, host in (("web", "hv-1"), ("web-b", "hv-1"), ("mail", "hv-1"), ("app", "hv-1"), ("legacy", "hv-3")):
        is_of_vm = lambda frame: frame[0] & 1 or own[vm] in (frame[:6], frame[6:12])
        leaves = of(seen[vm], is_of_vm) & bare_wire[host][network[vm]]
        check(f"{vm}: much of what its tap sees leaves the host", leaves.total() > 100, leaves.total())
        same_frames(f"{vm}: the stripped uplink holds what the tap saw, less what stays inside the host", held[f"{vm} stripped"], leaves)
        same_frames(f"{vm}: so does the uplink as it is, inside its headers", bare(held[f"{vm} uplink"])[network[vm]], leaves)
    for vm in ("web", "web-b", "mail", "app"):
        check(f"{vm}: every frame of the uplink file was on the wire", not held[f"{vm} uplink"] - wire["hv-1"],
              difference(held[f"{vm} uplink"], wire["hv-1"]))
    for vm, wanted in {"web": {100}, "web-b": {200}, "app": {101}, "mail": {None}, "legacy": {101}}.items():
        equal(f"{vm}: the VNIs in its uplink file", {inner(frame)[1] for frame in held[f"{vm} uplink"]}, wanted)
    equal("web: VNIs by tshark", {row[0] for row in tshark(file["web uplink"].path, fields=["vxlan.vni"])}, {"100"})
    equal("web-b: VNIs by tshark", {int(row[0], 0) for row in tshark(file["web-b uplink"].path, fields=["geneve.vni"])}, {200})
    equal("mail: VLANs by tshark", {row[0] for row in tshark(file["mail uplink"].path, fields=["vlan.id"])}, {"20"})

    foreign = {"web": (b"bravo:", b"charlie:"), "web-b": (b"acme:", b"charlie:"), "mail": (b"bravo:", b"charlie:"),
               "app": (b"acme:", b"bravo:"), "legacy": (b"acme:", b"bravo:")}
    for name, capture in file.items():
        found = [packet for marker in foreign[name.split()[0]] for packet in capture.holding(marker)]
        check(f"{name}: not one frame of another tenant", not found, f"{len(found)}: {[p.data.hex() for p in found[:2]]}")
    udp = lambda vm, capture, marker, port: sum(
        1 for frame in (untag(inner(packet.data)[0]) for packet in capture.holding(marker))
        if frame[36:38] == port.to_bytes(2, "big") and own[vm] in (frame[:6], frame[6:12]))
    for name, marker, port, count in (
        ("web tap", b"acme:", 5001, 300), ("web tap", b"acme:", 5002, 150), ("web tap", b"acme:", 5003, 100),
        ("web uplink", b"acme:", 5001, 300), ("web uplink", b"acme:", 5002, 150),
        ("web stripped", b"acme:", 5001, 300), ("web stripped", b"acme:", 5002, 150),
        ("web-b tap", b"bravo:", 5001, 170), ("web-b tap", b"bravo:", 5004, 90), ("web-b uplink", b"bravo:", 5001, 170),
        ("mail tap", b"acme:", 5001, 110), ("mail uplink", b"acme:", 5001, 110),
        ("app tap", b"charlie:", 5001, 120), ("app uplink", b"charlie:", 5001, 120),
        ("legacy tap", b"charlie:", 5001, 120), ("legacy uplink", b"charlie:", 5001, 120),
    ):
        equal(f"{name}: datagrams {marker.decode()} to port {port}", udp(name.split()[0], file[name], marker, port), count)

    directions(file, own)
    PATHS.update((name, capture.path) for name, capture in file.items() if name in ("web tap", "web uplink", "web-b uplink", "mail uplink", "legacy uplink"))
    for name in ("web tap", "web uplink", "web stripped", "mail uplink", "legacy uplink"):
        equal(f"{name}: tshark, capinfos and tcpdump read it without a word", complaints(file[name].path), [])
        equal(f"{name}: tshark counts as the receipt does", len(tshark(file[name].path, fields=["frame.number"])), receipts[name]["total"]["written"])
    counted = ports_after - ports_before
    check("web: Open vSwitch counts as many frames at the port", abs(counted - held["web tap"].total()) <= 2,
          f"{counted} and {held['web tap'].total()}")
    one = receipts["web tap"]["interfaces"][0]
    check("web: the tap's own counters agree with the receipt", abs(one["interface_packets"] - one["received"]) <= 2, one)
    for one in receipts["web uplink"]["interfaces"]:
        check(f"web: what the kernel passed over on {one['interface']} is told",
              one["passed_over"] == one["interface_packets"] - one["received"] and one["passed_over"] > 0, one)


def bare(frames):
    """For each VNI or VLAN, the frames without tunnel and tag."""
    found = collections.defaultdict(collections.Counter)
    for frame, count in frames.items():
        within, vni = inner(frame)
        if vni is None and within[12:14] == b"\x81\x00":
            vni = int.from_bytes(within[14:16], "big") & 0xFFF
        found[vni][untag(within)] += count
    return found


def untag(frame):
    """Without an 802.1Q tag, if it has one."""
    return frame[:12] + frame[16:] if frame[12:14] == b"\x81\x00" else frame


def directions(file, own):
    for name, capture in file.items():
        vm = name.split()[0]
        if vm not in own:
            continue
        wrong = [
            packet for packet in capture.packets
            if packet.direction != ("out" if untag(inner(packet.data)[0])[6:12] == own[vm] else "in")
        ]
        check(f"{name}: every frame has the direction the VM sees", not wrong,
              f"{len(wrong)} of {len(capture.packets)}: {[(p.direction, p.data[:60].hex()) for p in wrong[:3]]}")
    by_tshark = tshark(file["web tap"].path, fields=["eth.src", "frame.packet_flags_direction"])
    wanted = [[source, "0x00000002" if source == "52:54:00:00:07:0a" else "0x00000001"] for source, _ in by_tshark]
    equal("web tap: tshark shows the same directions", [[s, f"0x{int(d, 0):08x}"] for s, d in by_tshark], wanted)


def decoded():
    """decode sees in the captures of two_tenants what tshark sees in them."""
    for name, path in sorted(PATHS.items()):
        done = overtap("hv-1", "decode", path, "--output", "tsv")
        head, *rows = [line.split("\t") for line in done.stdout.splitlines()]
        rows = [dict(zip(head, row)) for row in rows]
        equal(f"decode {name}: exit status, and nothing is wrong", (done.returncode, done.stderr), (0, ""))
        shown = tshark(path, "-E", "occurrence=a", "-E", "aggregator=|",
                       fields=["eth.src", "ip.src", "ip.dst", "vlan.id", "vxlan.vni", "geneve.vni", "ipv6.src", "ipv6.dst"])
        first, last = lambda text: text.split("|")[0], lambda text: text.split("|")[-1]
        differ = []
        for row, (source, ip_source, ip_target, vlan, vxlan, geneve, source_6, target_6) in zip(rows, shown):
            is_inner_ip = row["ip_in_inner_frame"] == "1"
            wanted = [first(source), last(source), first(ip_source or source_6),
                      last(source_6 or ip_source) if is_inner_ip else "", last(target_6 or ip_target) if is_inner_ip else ""]
            got = [row["outer_eth_src"], row["inner_eth_src"], row["outer_ip_src"], *([row["inner_ip_src"], row["inner_ip_dst"]] if is_inner_ip else ["", ""])]
            tunnels = f"vxlan.vni={vxlan}" if vxlan else f"geneve.vni={int(geneve, 0)}" if geneve else ""
            if wanted != got or not row["tunnel_ids"].startswith(tunnels) or bool(tunnels) != bool(row["tunnel_ids"]) or not row["vlans"].startswith(vlan):
                differ.append((wanted, got, tunnels, row["tunnel_ids"], vlan, row["vlans"]))
        check(f"decode {name}: addresses, VLANs and tunnels of every packet are those tshark shows", not differ and len(rows) == len(shown) > 0,
              f"{len(rows)} and {len(shown)} rows, {len(differ)} differ: {differ[:2]}")
    text = overtap("hv-1", "decode", PATHS["web uplink"]).stdout.splitlines()
    rows = [json.loads(line) for line in overtap("hv-1", "decode", PATHS["web uplink"], "--output", "json").stdout.splitlines()]
    equal("decode: text and JSON have a line for each packet", {len(text), len(rows)}, {len(Capture(PATHS["web uplink"]).packets)})


def same_everywhere():
    """An expression selects the same packets at the tap, at the uplink and without the tunnel."""
    small = ("--buffer", "4MiB")
    expressions = ("udp port 5001", "not udp", "src host 10.0.7.10 and less 200", "udp dst port 5002 or icmp")
    runs = {(e, p): Overtap("hv-1", "web", *words, e, *small) for e in expressions for p, words in (
        ("tap", ("--point", "tap")), ("uplink", ("--point", "uplink")), ("stripped", ("--point", "uplink", "--strip")))}
    runs["outer"] = Overtap("hv-1", "web", "--point", "uplink", "outer (udp port 4789) and udp port 5001", *small)
    runs["vni"] = Overtap("hv-1", "web", "--point", "uplink", "vni 100 and udp port 5001", *small)
    runs["other vni"] = Overtap("hv-1", "web", "--point", "uplink", "vni 200", *small)
    runs["cut"] = Overtap("hv-1", "web", "--point", "uplink", "--strip", "-s", "50", "udp port 5001", *small)
    streams = [Traffic("web", "db", "--udp", "200pps", "--count", "100"), Traffic("db", "web", "--udp", "200pps", "--count", "80", "--port", "5002", "--size", "400"),
               Traffic("web-b", "db-b", "--udp", "200pps", "--count", "100")]
    for stream in streams:
        stream.wait()
    files = {key: run_.finish() for key, run_ in runs.items()}
    for key, (status, receipt, file) in files.items():
        check(f"{key}: adds up, nothing lost", status == 0 and adds_up(receipt) and receipt["total"]["written"] == len(file.packets), f"{status} {receipt['total']}")
    own = lambda frames: of(frames, lambda frame: WEB in (frame[:6], frame[6:12]) and frame[12:14] == b"\x08\x00")
    for e in expressions:
        tap, stripped = own(files[e, "tap"][2].frames()), own(files[e, "stripped"][2].frames())
        same_frames(f"'{e}': the same at the tap and at the uplink, stripped", stripped, tap)
        same_frames(f"'{e}': the same at the tap and at the uplink as it is", own(bare(files[e, "uplink"][2].frames())[100]), tap)
    equal("'udp port 5001' selects the 100 datagrams", len(files["udp port 5001", "uplink"][2].packets), 100)
    equal("'outer (...)' looks at the underlay", len(files["outer"][2].packets), 100)
    equal("'vni 100' is a predicate", len(files["vni"][2].packets), 100)
    equal("'vni 200' selects nothing of this VM", len(files["other vni"][2].packets), 0)
    cut = files["cut"][2].packets
    check("--strip and -s 50: 50 bytes of the inner frame, its own length told", len(cut) == 100 and all(len(p.data) == 50 and p.wire_len == 106 and WEB in (p.data[:6], p.data[6:12]) for p in cut),
          [(len(p.data), p.wire_len) for p in cut[:2]])


def trunk():
    """A VM on a trunk port: its tags as sent, priority kept, and only its own frames at the uplink."""
    hv = lambda *words: started("hv-1", *words)
    address, printer = "52:54:00:00:bb:01", "02:00:c0:a8:14:64"
    hv("ip", "netns", "add", "trunky")
    hv("ip", "link", "add", "tap-trunky", "type", "veth", "peer", "name", "eth0", "address", address, "netns", "trunky")
    hv("ip", "netns", "exec", "trunky", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    hv("ip", "link", "set", "tap-trunky", "up")
    hv("ip", "-n", "trunky", "link", "set", "eth0", "up")
    hv("ethtool", "-K", "tap-trunky", "tx", "off")
    hv("ovs-vsctl", "add-port", "br-int", "tap-trunky", "trunks=20,30")
    found = until(lambda: [m for m in find("hv-1", "trunky")["machines"] if m["vnics"] and m["vnics"][0]["attachment"]], 2)[0]
    place = found["vnics"][0]["attachment"]
    equal("trunk: find knows both VLANs", sorted({n["vlan"] for n in place["networks"]} & {20, 30}), [20, 30])
    frames = [udp_frame(address, printer, "192.168.20.50", "192.168.20.100", b"acme:%08d" % n, tags=bytes.fromhex(tag))
              for n, tag in enumerate(("81000014", "8100a014", "8100e014", "8100001e"), 1) for _ in range(5)]
    alien = [udp_frame(address, printer, "192.168.20.50", "192.168.20.100", b"acme:none", tags=bytes.fromhex("81000063"))] * 5
    small = ("--buffer", "4MiB")
    tap, uplink = Overtap("hv-1", "trunky", "--point", "tap", *small), Overtap("hv-1", "trunky", "--point", "uplink", *small)
    wires = [Tcpdump("hv-1", "up0"), Tcpdump("hv-1", "up1")]
    noise = Traffic("mail", "printer", "--udp", "100pps", "--count", "60")
    send_frames([*enter("hv-1"), "nsenter", "--net=/run/netns/trunky"], "eth0", frames + alien, 0.002)
    noise.wait()
    status, receipt, file = tap.finish()
    honest("trunk, tap", status, receipt, file)
    same_frames("trunk: the tap's file holds the frames as sent", of(file.frames(), lambda f: f[6:12] == mac(address)), collections.Counter(frames + alien))
    status, receipt, file = uplink.finish()
    honest("trunk, uplink", status, receipt, file)
    wire = sum((judge.finish().frames() for judge in wires), collections.Counter())
    left = of(wire, lambda f: f[6:12] == mac(address))
    check("trunk: the lab carries its frames", left.total() == 20, left.total())
    same_frames("trunk: the uplink's file holds what left, tags and priorities as on the wire", of(file.frames(), lambda f: f[6:12] == mac(address)), left)
    check("trunk: nothing of its neighbour in the same VLAN", not [p for p in file.packets if MAIL in (p.data[:6], p.data[6:12]) and not p.data[0] & 1], len(file.packets))
    hv("ovs-vsctl", "del-port", "tap-trunky")
    hv("ip", "netns", "del", "trunky")


def router():
    """A namespace without a process, with an internal port of Open vSwitch in it, as Neutron's routers are."""
    hv = lambda *words: started("hv-1", *words)
    hv("ip", "netns", "add", "qrouter")
    hv("ovs-vsctl", "add-port", "br-int", "qr-1", "tag=100", "--", "set", "interface", "qr-1", "type=internal")
    hv("ip", "link", "set", "qr-1", "netns", "qrouter")
    hv("ip", "netns", "exec", "qrouter", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    hv("ip", "-n", "qrouter", "link", "set", "qr-1", "mtu", "1450", "up")
    hv("ip", "-n", "qrouter", "addr", "add", "10.0.7.99/24", "dev", "qr-1")
    point = until(lambda: json.loads(overtap("hv-1", "plan", "qrouter", "--output", "json").stdout or "{}").get("points"), 2)[0]
    equal("router: its own interface is the best place", (point["kind"], point.get("refusal")), ("inside", None))
    judge = Tcpdump("hv-1", "qr-1", prefix=[*enter("hv-1"), "nsenter", "--net=/run/netns/qrouter"])
    capture = Overtap("hv-1", "qrouter", "--buffer", "4MiB")
    for target in ("10.0.7.30", "10.0.7.20"):
        run("hv-1", "ip", "netns", "exec", "qrouter", "ping", "-q", "-c", "5", "-i", "0.1", target)
    status, receipt, file = capture.finish()
    honest("router", status, receipt, file)
    check("router: echoes of its neighbour on the host and of the one on another", receipt["total"]["written"] >= 20, receipt["total"])
    same_frames("router: exactly what tcpdump saw there", file.frames(), judge.finish().frames())
    hv("ovs-vsctl", "del-port", "qr-1")
    hv("ip", "netns", "del", "qrouter")


def fragments():
    """An underlay too narrow for the tunnel: a VM's packets in pieces, all of them, and nobody else's."""
    hv = lambda *words: started("hv-3", *words)
    legacy, alien, app = "52:54:00:00:65:1f", "52:54:00:00:65:77", "52:54:00:00:65:11"
    hv("ip", "netns", "add", "alien")
    hv("ip", "link", "add", "tap-alien", "type", "veth", "peer", "name", "eth0", "address", alien, "netns", "alien")
    hv("ip", "netns", "exec", "alien", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    hv("ip", "link", "set", "tap-alien", "master", "br101", "up")
    hv("ip", "-n", "alien", "link", "set", "eth0", "up")
    hv("ip", "link", "set", "up0", "mtu", "600")
    whole, some, inside, wire = (Overtap("hv-3", "legacy", "--point", "uplink"), Overtap("hv-3", "legacy", "--point", "uplink", "udp port 5002"),
                                 Overtap("hv-3", "legacy", "--point", "uplink", "--strip"), Tcpdump("hv-3", "up0"))
    payload = lambda n, port: b"%d:%05d:" % (port, n) + bytes([n % 251]) * 1250
    own = [udp_frame(legacy, app, "172.16.101.31", "172.16.101.17", payload(n, 5001 + n % 2), port=5001 + n % 2) for n in range(200)]
    others = [udp_frame(alien, app, "172.16.101.77", "172.16.101.17", payload(n, 5002), port=5002) for n in range(200)]
    for n in range(0, 200, 20):
        send_frames(enter_machine("hv-3", "legacy"), "eth0", own[n:n + 20])
        send_frames([*enter("hv-3"), "nsenter", "--net=/run/netns/alien"], "eth0", others[n:n + 20])
    seen = wire.finish().frames()
    # The inner MACs and port stand in the first piece: outer headers and VXLAN are 50 bytes.
    of_id = {}
    for frame in seen:
        if frame[12:14] == b"\x08\x00" and frame[20] & 0x3f == 0x20 and frame[21] == 0:
            of_id[frame[18:20]] = (frame[56:62], int.from_bytes(frame[86:88], "big"))
    pieces = of(seen, lambda f: f[12:14] == b"\x08\x00" and int.from_bytes(f[20:22], "big") & 0x3fff and f[18:20] in of_id)
    belongs = lambda f, source, port: of_id[f[18:20]][0] == mac(source) and port in (None, of_id[f[18:20]][1])
    check("fragments: each packet is in three pieces on the wire", pieces.total() == 1200, pieces.total())
    is_later = lambda f: f[12:14] == b"\x08\x00" and int.from_bytes(f[20:22], "big") & 0x1fff
    for name, capture, port in (("all", whole, None), ("port 5002", some, 5002), ("--strip", inside, None)):
        status, receipt, file = capture.finish()
        held = of(file.frames(), lambda f: f in pieces or is_later(f))
        honest(f"fragments, {name}", status, receipt, file)
        same_frames(f"fragments, {name}: every piece of the VM's packets and none of its neighbour's", held, of(pieces, lambda f: belongs(f, legacy, port)))
        equal(f"fragments, {name}: nothing is undecidable", receipt["total"]["undecidable"], 0)
    hv("ip", "link", "set", "up0", "mtu", "1600")
    hv("ip", "netns", "del", "alien")


# --- find -------------------------------------------------------------------------------------

# What the shape says: switch, VLAN, VNI and tunnel of each machine, its MAC and address.
SITE = {
    "hv-1": {
        "web": ("br-int", 100, 100, "vxlan", "52:54:00:00:07:0a", "10.0.7.10"),
        "cache": ("br-int", 100, 100, "vxlan", "52:54:00:00:07:1e", "10.0.7.30"),
        "web-b": ("br-int", 200, 200, "geneve", "52:54:00:00:07:0a", "10.0.7.10"),
        "cache-b": ("br-int", 200, 200, "geneve", "52:54:00:00:07:1e", "10.0.7.30"),
        "app": ("br-int", 101, 101, "vxlan", "52:54:00:00:65:11", "172.16.101.17"),
        "mail": ("br-int", 20, None, None, "52:54:00:00:14:0e", "192.168.20.14"),
        "vault-1": ("br-internal", None, None, None, "52:54:00:00:63:0f", "10.99.0.15"),
        "vault-2": ("br-internal", None, None, None, "52:54:00:00:63:10", "10.99.0.16"),
    },
    "hv-2": {
        "db": ("br-int", 100, 100, "vxlan", "52:54:00:00:07:14", "10.0.7.20"),
        "db-b": ("br-int", 200, 200, "geneve", "52:54:00:00:07:14", "10.0.7.20"),
        "probe": ("br-int", 100, 100, "vxlan", "52:54:00:00:07:28", "10.0.7.40"),
    },
    "hv-3": {"legacy": ("br101", None, 101, "vxlan", "52:54:00:00:65:1f", "172.16.101.31")},
}
UPLINKS = {"hv-1": {"up0", "up1"}, "hv-2": {"up0", "up1"}, "hv-3": {"up0"}}


def vm_ids():
    """UUID of each VM and machine by its name, as the lab says."""
    return {line.split()[0]: line.split()[1] for line in lab("vm", "list").splitlines()}


def everything_found():
    """find knows every machine of every host as the shape says."""
    ids = vm_ids()
    for host, wanted in SITE.items():
        began = time.monotonic()
        found = find(host)
        took = time.monotonic() - began
        equal(f"{host}: the host's name", found["host"], host)
        equal(f"{host}: its machines", sorted(m["name"] for m in found["machines"]), sorted(wanted))
        equal(f"{host}: no source has a problem", [s for s in found["sources"] if s["problem"]], [])
        check(f"{host}: takes less than a second", took < 1, f"{took:.2f} s")
        tap_of = taps(host) if host != "hv-3" else {"legacy": "tap-legacy"}
        for machine in found["machines"]:
            name = machine["name"]
            if name not in wanted:
                continue
            switch, vlan, vni, tunnel, address, ip = wanted[name]
            vnic = machine["vnics"][0]
            place = vnic["attachment"]
            got = (len(machine["vnics"]), machine["state"], vnic["mac"], place["device"], place["switch"])
            equal(f"{host}: {name}: vNIC, MAC, tap and vSwitch", got, (1, "running", address, tap_of[name], switch))
            networks = place["networks"]
            if switch == "br-internal":
                check(f"{host}: {name}: its network leads nowhere", not any(n["uplinks"] for n in networks), networks)
            else:
                got = [(n["vlan"], n["vni"], n["tunnel"], {u["device"] for u in n["uplinks"]}) for n in networks]
                equal(f"{host}: {name}: VLAN, VNI, tunnel and team members", got, [(vlan, vni, tunnel, UPLINKS[host])])
            ips = {known["ip"] for known in vnic["ips"]}
            if machine["kind"] == "vm":
                check(f"{host}: {name}: no wrong address", ips <= {ip}, ips)
                equal(f"{host}: {name}: its UUID", machine["id"], f"uuid:{ids[name]}")
            else:
                equal(f"{host}: {name}: its address", ips, {ip})


def found_by():
    """find by name, prefix, UUID, MAC, address, tap and port id; and what is unknown."""
    ids, tap = vm_ids(), taps()
    port_id = started("hv-1", "ovs-vsctl", "get", "Interface", tap["web"], "external_ids:iface-id").strip('"')
    for what, query, wanted in (
        ("name", "web", ["web"]),
        ("prefix", "cach", ["cache", "cache-b"]),
        ("UUID", ids["web"], ["web"]),
        ("MAC of two tenants", "52:54:00:00:07:0a", ["web", "web-b"]),
        ("MAC written otherwise", "52-54-0-0-7-1E", ["cache", "cache-b"]),
        ("address of two tenants", "10.0.7.30", ["cache", "cache-b"]),
        ("tap", tap["web-b"], ["web-b"]),
        ("port id", port_id, ["web"]),
        ("address of an unnamed container", "172.16.101.17", ["app"]),
    ):
        equal(f"find by {what}", names("hv-1", query), wanted)
    done = overtap("hv-1", "find", "cahce")
    check("an unknown name suggests the nearest", done.returncode == 1 and "cache" in done.stderr and not done.stdout.strip(),
          f"{done.returncode} {done.stdout}{done.stderr}")
    done = overtap("hv-1", "capture", "52:54:00:00:07:0a", "-w", f"{WORK}/never.pcapng")
    check("capture of an address of two tenants is refused, with both names",
          done.returncode in (1, 2) and "web" in done.stderr and "web-b" in done.stderr, f"{done.returncode} {done.stderr}")
    plan = json.loads(overtap("hv-1", "plan", "web", "--output", "json").stdout)
    equal("plan ranks the VM's own port first", plan["points"][0]["interfaces"][0]["name"], tap["web"])
    long = " or ".join(f"udp port {port}" for port in range(5001, 5020))
    command = next(line for line in overtap("hv-1", "plan", "web", long).stdout.splitlines() if line.split()[:1] == ["run"])
    check("plan's command can be copied, however long it is", command.endswith(f"overtap capture --point tap web '{long}'"), command)
    started("hv-1", "ip", "netns", "add", "web")
    by_id = json.loads(overtap("hv-1", "plan", ids["web"], "--output", "json").stdout)["points"][0]["command"]
    started("hv-1", "ip", "netns", "del", "web")
    equal("plan's command names one of two machines called alike", by_id, f"overtap capture --point tap uuid:{ids['web']}")
    plan = json.loads(overtap("hv-1", "plan", "vault-1", "--output", "json").stdout)
    uplink = [point for point in plan["points"] if point["kind"] == "uplink"]
    check("plan refuses an uplink for an internal network", uplink and uplink[0]["refusal"], plan)


class Watch(Process):
    """`overtap find --watch` and when each of its lines came."""

    def __init__(self, host, *words):
        super().__init__(host, OVERTAP, "find", "--watch", "--output", "json", *words)
        time.sleep(1.0)

    def lines(self):
        return [json.loads(line) for line in self.out().splitlines() if line.endswith("}")]

    def after(self, sentence, act, wanted, seconds=1.0):
        """Does something; a change that `wanted` accepts must be told within a second of its end."""
        before = len(self.lines())
        act()
        began = time.monotonic()
        told = until(lambda: [line for line in self.lines()[before:] if wanted(line)], 5)
        took = time.monotonic() - began
        check(f"{sentence} is told within {seconds:g} s", told and took < seconds, f"{took:.2f} s: {self.lines()[before:]}")
        return told


def changes_watched():
    """find --watch tells every change within a second; find is right after it."""
    watch = Watch("hv-1")
    hv = lambda *words: started("hv-1", *words)

    def create():
        hv("ip", "netns", "add", "fresh")
        hv("ip", "link", "add", "tap-fresh", "type", "veth", "peer", "name", "eth0", "address", "52:54:00:00:aa:01", "netns", "fresh")
        hv("ip", "link", "set", "tap-fresh", "up")
        hv("ip", "-n", "fresh", "link", "set", "eth0", "up")
        hv("ovs-vsctl", "add-port", "br-int", "tap-fresh", "tag=100")

    def way(host, name):
        place = find(host, name)["machines"][0]["vnics"][0]["attachment"]
        return place["device"], place["switch"], [(n["vlan"], n["vni"]) for n in place["networks"]]

    is_of = lambda name, *kinds: lambda line: line["name"] == name and line["change"] in kinds
    watch.after("a machine that is created", create, is_of("fresh", "appeared"))
    until(lambda: way("hv-1", "fresh")[2] == [(100, 100)], 1)
    equal("... and find knows its port and network", way("hv-1", "fresh"), ("tap-fresh", "br-int", [(100, 100)]))
    noted = time.time()
    time.sleep(0.05)
    capture = Overtap("hv-1", "fresh", "--point", "uplink", "--buffer", "4MiB")
    watch.after("a VLAN tag changed in OVSDB", lambda: hv("ovs-vsctl", "set", "Port", "tap-fresh", "tag=200"), is_of("fresh", "way-out"))
    equal("... and find knows the new network", way("hv-1", "fresh")[2], [(200, 200)])
    check("... and a capture at the uplink follows it and says so", until(lambda: "in GENEVE 200 now" in capture.err(), 1), capture.err())
    shout = ("import socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\ns.bind(('eth0', 0))\n"
             "for _ in range(5): s.send(bytes.fromhex('ffffffffffff52540000aa0188b5') + b'after the change' * 3)")
    hv("ip", "netns", "exec", "fresh", "python3", "-c", shout)
    time.sleep(0.3)
    status, receipt, file = capture.finish()
    equal("... and holds what the machine sends in the new network", len(file.holding(b"after the change")), 5)
    check("... also in its receipt and file", "VNI 200" in str(receipt["events"]) and "VNI 200" in str(file.comments), receipt["events"])
    past = find("hv-1", "--at", time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(noted)) + f".{int(noted % 1 * 1000):03d}Z", "fresh")
    known = past["machines"][0]
    machine = known.get("machine") or known.get("before")
    equal("... and find --at knows the old one", [(n["vlan"], n["vni"]) for n in machine["vnics"][0]["attachment"]["networks"]], [(100, 100)])
    watch.after("an address that is given", lambda: hv("ip", "-n", "fresh", "addr", "add", "10.0.7.99/24", "dev", "eth0"), is_of("fresh", "ip-learned"))
    watch.after("a port taken from its vSwitch", lambda: hv("ovs-vsctl", "del-port", "tap-fresh"), is_of("fresh", "moved", "detached", "way-out"))

    def rename():
        hv("sh", "-c", "ip netns exec fresh sleep 5 >/dev/null 2>&1 & sleep 0.1; ip netns attach newname $! && ip netns del fresh; kill $!")

    watch.after("a namespace that is renamed", rename, lambda line: line["name"] == "newname" and line["change"] in ("renamed", "appeared"))
    equal("... and find knows it by the new name", names("hv-1", "52:54:00:00:aa:01"), ["newname"])
    watch.after("a machine that is removed", lambda: hv("ip", "netns", "del", "newname"), lambda line: line["change"] == "vanished")
    equal("... and find knows it no more", [m for m in names("hv-1") if m in ("fresh", "newname")], [])
    watch.kill()

    watch = Watch("hv-3")
    bridge = lambda *words: started("hv-3", *words)
    watch.after("a tap that is renamed", lambda: bridge("ip", "link", "set", "tap-legacy", "name", "tap-renamed"), is_of("legacy", "moved"))
    equal("... and find knows the new tap", way("hv-3", "legacy")[0], "tap-renamed")
    bridge("ip", "link", "set", "tap-renamed", "name", "tap-legacy")
    watch.kill()


def guests_watched():
    """Guests that pause, stop, start and get another name; and libvirt that goes and comes."""
    watch = Watch("hv-2")
    virsh = lambda *words: started("hv-2", "virsh", "-q", *words)
    state = lambda name: find("hv-2", name)["machines"][0]["state"]
    to = lambda *states: lambda line: line["name"] == "db-b" and (line.get("to") in states )
    watch.after("a guest that is paused", lambda: virsh("suspend", "db-b"), to("paused"))
    equal("... and find says so", state("db-b"), "paused")
    watch.after("a guest that runs again", lambda: virsh("resume", "db-b"), to("running"))
    watch.after("a guest that is stopped", lambda: virsh("destroy", "db-b"), to("shutoff"))
    watch.after("a guest that is renamed", lambda: virsh("domrename", "db-b", "db-c"), lambda line: line["name"] == "db-c")
    equal("... and find knows it by its UUID", names("hv-2", vm_ids()["db-b"]), ["db-c"])
    virsh("domrename", "db-c", "db-b")
    watch.after("a guest that is started", lambda: virsh("start", "db-b"), lambda line: line["name"] == "db-b" and (line.get("to") == "running" or line["change"] == "appeared"))
    place = until(lambda: find("hv-2", "db-b")["machines"][0]["vnics"][0]["attachment"], 1)
    equal("... and find knows its new tap", place["device"], started("hv-2", "virsh", "-r", "-q", "domiflist", "db-b").split()[0])
    equal("... and its network", [(n["vlan"], n["vni"]) for n in place["networks"]], [(200, 200)])

    before = names("hv-2")
    pid = started("hv-2", "cat", "/run/libvirtd.pid") if run("hv-2", "test", "-e", "/run/libvirtd.pid").returncode == 0 else ""
    if pid:
        command = started("hv-2", "sh", "-c", f"tr '\\0' ' ' </proc/{pid}/cmdline").split()
        lines = len(watch.lines())
        started("hv-2", "kill", "-KILL", pid)
        time.sleep(0.3)
        equal("without libvirt the running guests are still known", [m for m in names("hv-2") if m in ("db", "db-b", "probe")], ["db", "db-b", "probe"])
        started("hv-2", "rm", "-f", "/run/libvirtd.pid")
        Process("hv-2", *[word for word in command if word not in ("-d", "--daemon")])
        Process.running.pop()
        back = until(lambda: run("hv-2", "virsh", "-q", "list").returncode == 0, 15)
        check("libvirt is back", back)
        equal("after libvirt's restart everything is as before", names("hv-2"), before)
        virsh("suspend", "db-b")
        told = until(lambda: [line for line in watch.lines()[lines:] if line.get("to") == "paused"], 8)
        virsh("resume", "db-b")
        check("the watch follows the new libvirt", told, watch.lines()[lines:])
        gone = [line for line in watch.lines()[lines:] if line["change"] == "vanished"]
        equal("no machine seemed to vanish meanwhile", gone, [])
    else:
        check("libvirt's process is known", False, started("hv-2", "ls", "/run", "/run/libvirt"))
    watch.kill()


def balanced():
    """A team that balances by sender: find computes the member that a VM's frames take now."""
    started("hv-1", "ovs-vsctl", "set", "port", "bond0", "bond_mode=balance-slb")
    try:
        judge = {device: Tcpdump("hv-1", device, "-Q", "out") for device in ("up0", "up1")}
        streams = [
            Traffic("mail", "printer", "--udp", "200pps", "--count", "1200", "--size", "500"),
            Traffic("web", "db", "--udp", "200pps", "--count", "1200", "--size", "500"),
        ]

        def computed(vm):
            networks = [n for v in find("hv-1", vm)["machines"][0]["vnics"] for n in v["attachment"]["networks"]]
            return [u["device"] for n in networks for u in n["uplinks"] if u["choice"] == "computed"]

        told = {vm: until(lambda vm=vm: computed(vm), 5) for vm in ("mail", "web")}
        for stream in streams:
            stream.wait()
        seen = {device: capture.finish() for device, capture in judge.items()}
        sent = {
            "mail": {d for d, c in seen.items() if sum(MAIL == untag(p.data)[6:12] for p in c.packets) > 100},
            "web": {d for d, c in seen.items() if sum(inner(p.data)[0][6:12] == WEB for p in c.packets) > 100},
        }
        for vm in sent:
            check(f"balanced: {vm} leaves by the member that was computed", told[vm] and set(told[vm]) <= sent[vm], (told, sent))
    finally:
        started("hv-1", "ovs-vsctl", "set", "port", "bond0", "bond_mode=balance-tcp")


def migration():
    """A guest migrates: both hosts know within a second, and a capture ends or says so."""
    here, there = Watch("hv-1"), Watch("hv-2")
    capture = Overtap("hv-1", "web", "--buffer", "4MiB")
    lab("migrate", "web", "hv-1", "hv-2")
    ended = time.monotonic()
    arrived = until(lambda: "web" in names("hv-2") and find("hv-2", "web")["machines"][0]["state"] == "running", 5)
    check("the destination finds it within a second", arrived and time.monotonic() - ended < 1.5, f"{time.monotonic() - ended:.2f}")
    gone = until(lambda: not [m for m in find("hv-1")["machines"] if m["name"] == "web" and m["state"] == "running"], 5)
    check("the source knows that it runs there no more", gone, find("hv-1", "web"))
    check("the watch of the destination tells it", until(lambda: [l for l in there.lines() if l["name"] == "web"], 2), there.lines())
    check("the watch of the source tells it", until(lambda: [l for l in here.lines() if l["name"] == "web"], 2), here.lines())
    place = find("hv-2", "web")["machines"][0]["vnics"][0]["attachment"]
    equal("the destination knows its tap", place["device"], started("hv-2", "virsh", "-r", "-q", "domiflist", "web").split()[0])
    equal("and its network", [(n["vlan"], n["vni"]) for n in place["networks"]], [(100, 100)])
    until(lambda: not capture.is_running(), 3)
    status = capture.stop() if capture.is_running() else capture.wait()
    receipt = capture.receipt()
    check("a capture at the source ends with a sentence and all accounts", status == 1 and "vanished" in receipt["end"] and adds_up(receipt), f"{status} {receipt}")
    equal("... and a complete file", complaints(capture.file), [])
    here.kill()
    there.kill()


if __name__ == "__main__":
    chapters(everything_found, found_by, two_tenants, decoded, same_everywhere, trunk, router, fragments, changes_watched, guests_watched, balanced, migration)
