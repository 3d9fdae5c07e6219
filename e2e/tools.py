#!/usr/bin/env python3
"""overtap in shape veth: packets to analysis tools. Encapsulations, policies, grants, loops, slow tools."""
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time

from harness import *
from veth import BOX, FAR, HOST, SMALL, Sender, numbers, send

SINK = "10.9.0.9"
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
    for name, address in (("tap-box", None), ("to-sink", "10.9.0.1/24")):
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
    """tcpdump at the sink's end of the wire."""

    def __init__(self, name):
        self.path = f"{WORK}/{name}.pcap"
        self.process = Process(HOST, "tcpdump", "-i", "eth0", "-U", "-B", "65536", "--immediate-mode", "-Q", "in", "-w", self.path, prefix=IN_SINK)
        until(lambda: "listening" in self.process.err())

    def close(self):
        time.sleep(0.3)
        self.process.stop(signal.SIGINT)
        return Capture(self.path)


def tunnelled(capture, name):
    """The datagrams of one encapsulation in a capture of the wire."""
    ports = {"vxlan": 4789, "geneve": 6081, "tzsp": 37008}
    protocols = {"gre": 0x6558, "erspan-2": 0x88BE, "erspan-3": 0x22EB}

    def is_it(data):
        if data[12:14] != b"\x08\x00" or data[26:34] != socket.inet_aton("10.9.0.1") + socket.inet_aton(SINK):
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
    rows = tshark(wire.path, "-T", "fields", "-e", "frame.protocols", "-e", "_ws.malformed", "-Y", f"ip.dst=={SINK} and ip.src==10.9.0.1 and not icmp")
    for name, (_, _, protocols) in TUNNELS.items():
        decoded = [row for row in rows if f":{protocols}:" in row and row.endswith("\t")]
        wanted = {"erspan-2": 0, "erspan-3": 2 * count}.get(name, count)
        if wanted:
            check(f"{name}: tshark decodes every packet down to the frame", len([r for r in decoded if "udp:data" in r]) >= wanted, rows[:2])
    for name, field in (("gre", "gre.proto==0x6558"), ("erspan-2", "gre.proto==0x88be"), ("erspan-3", "gre.proto==0x22eb")):
        numbers_ = [int(row) for row in tshark(wire.path, "-T", "fields", "-E", "occurrence=f", "-e", "gre.sequence_number", "-Y", field)]
        equal(f"{name}: the sequence numbers have no gap", numbers_, list(range(len(sent))))
    fields = tshark(wire.path, "-T", "fields", "-e", "erspan.spanid", "-e", "erspan.timestamp", "-e", "erspan.p_d5_timestamp", "-e", "erspan.platid", "-Y", "gre.proto==0x22eb")
    check("erspan-3: session as asked", all(row.split("\t")[0] == "5" for row in fields), fields[:2])
    counts = [struct.unpack_from(">I", p.data, 14 + 20 + 8 + 6)[0] for p in tunnelled(seen, "tzsp")]
    equal("tzsp: its packet counts have no gap", counts, list(range(len(sent))))


if __name__ == "__main__":
    chapters(set_up, encapsulations)
