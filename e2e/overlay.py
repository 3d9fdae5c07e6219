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

WEB, DB, CACHE, PROBE = (mac(f"52:54:00:00:07:{last}") for last in ("0a", "14", "1e", "28"))
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
    judge["legacy"] = Tcpdump("hv-3", "tap-legacy")
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

    local = {"web": {CACHE}, "web-b": {CACHE}, "mail": set(), "app": set(), "legacy": set()}
    own = {"web": WEB, "web-b": WEB, "mail": MAIL, "app": APP}
    for vm in ("web", "web-b", "mail", "app", "legacy"):
        leaves = of(seen[vm], lambda frame: frame[:6] not in local[vm] and frame[6:12] not in local[vm])
        same_frames(f"{vm}: the stripped uplink holds what the tap saw, less what stays inside the host", held[f"{vm} stripped"], leaves)
        bare = collections.Counter()
        for frame, count in held[f"{vm} uplink"].items():
            bare[untag(inner(frame)[0])] += count
        same_frames(f"{vm}: so does the uplink as it is, inside its headers", bare, leaves)

    wire = seen["up0"] + seen["up1"]
    for vm in ("web", "web-b", "mail", "app"):
        check(f"{vm}: every frame of the uplink file was on the wire", not held[f"{vm} uplink"] - wire,
              difference(held[f"{vm} uplink"], wire))
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
    udp = lambda capture, marker, port: sum(
        1 for packet in capture.packets if marker in packet.data and untag(inner(packet.data)[0])[36:38] == port.to_bytes(2, "big"))
    for name, marker, port, count in (
        ("web tap", b"acme:", 5001, 300), ("web tap", b"acme:", 5002, 150), ("web tap", b"acme:", 5003, 100),
        ("web uplink", b"acme:", 5001, 300), ("web uplink", b"acme:", 5002, 150), ("web uplink", b"acme:", 5003, 0),
        ("web stripped", b"acme:", 5001, 300), ("web stripped", b"acme:", 5002, 150),
        ("web-b tap", b"bravo:", 5001, 170), ("web-b tap", b"bravo:", 5004, 90), ("web-b uplink", b"bravo:", 5001, 170),
        ("web-b uplink", b"bravo:", 5004, 0), ("mail tap", b"acme:", 5001, 110), ("mail uplink", b"acme:", 5001, 110),
        ("app tap", b"charlie:", 5001, 120), ("app uplink", b"charlie:", 5001, 120),
        ("legacy tap", b"charlie:", 5001, 120), ("legacy uplink", b"charlie:", 5001, 120),
    ):
        equal(f"{name}: datagrams {marker.decode()} to port {port}", udp(file[name], marker, port), count)

    directions(file, own)
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


if __name__ == "__main__":
    chapters(two_tenants)
