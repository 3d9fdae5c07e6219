#!/usr/bin/python3
"""A crowd of taps: holds many open, so that they have a carrier, and sends counted frames on demand.

Usage: crowd.py BRIDGE COUNT SOCKET, inside a host. Tap k is vnet<k>. A line with a number N on SOCKET
lets every tap send N frames to the next tap (the last one to the first) and answers with one line
`taps=... sent=... received=... foreign=...`. Payload: `crowd-<k>:<number>`. One request at a time.
The bridge gets a static entry for each MAC, so nothing is flooded and the counts are exact.
"""
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TAP_WITHOUT_HEADER = 0x0002 | 0x1000
QUIET_S = 0.5


def mac(k):
    return bytes([0x52, 0x54, 0x00, 0xC0, k >> 8, k & 255])


def open_tap(k):
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"vnet%d" % k, IFF_TAP_WITHOUT_HEADER))
    return tap


def run_batch(tool, lines):
    subprocess.run([tool, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def frame(source, target, number):
    payload = b"crowd-%03d:%06d" % (source, number)
    udp = struct.pack(">HHHH", 5001, 5001, 8 + len(payload), 0) + payload
    addresses = bytes([10, 77, source >> 8, source & 255, 10, 77, target >> 8, target & 255])
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), number & 0xFFFF, 0, 64, 17, 0) + addresses
    total = sum(struct.unpack(">10H", header))
    checksum = ~(total + (total >> 16)) & 0xFFFF
    header = header[:10] + struct.pack(">H", checksum) + header[12:]
    return mac(target) + mac(source) + b"\x08\x00" + header + udp


class Crowd:
    def __init__(self, bridge, count):
        self.taps = [open_tap(k) for k in range(count)]
        run_batch("ip", [f"link set vnet{k} master {bridge} up" for k in range(count)])
        run_batch("bridge", [f"fdb replace {mac(k).hex(':')} dev vnet{k} master static" for k in range(count)])
        self.number_of = {tap: k for k, tap in enumerate(self.taps)}
        self.poll = select.poll()
        for tap in self.taps:
            self.poll.register(tap, select.POLLIN)
        self.next_number = 1
        self.received = self.foreign = 0

    def drain(self, timeout_ms):
        """Reads what is there; says whether anything was."""
        ready = self.poll.poll(timeout_ms)
        for tap, _ in ready:
            try:
                data = os.read(tap, 65536)
            except BlockingIOError:
                continue
            before = (self.number_of[tap] - 1) % len(self.taps)
            if data[42:52] == b"crowd-%03d:" % before:
                self.received += 1
            else:
                self.foreign += 1
        return bool(ready)

    def send(self, count):
        while self.drain(0):
            pass
        self.received = self.foreign = sent = 0
        for number in range(self.next_number, self.next_number + count):
            for k, tap in enumerate(self.taps):
                os.write(tap, frame(k, (k + 1) % len(self.taps), number))
                sent += 1
            self.drain(0)
        self.next_number += count
        quiet_since = time.time()
        while time.time() - quiet_since < QUIET_S:
            if self.drain(50):
                quiet_since = time.time()
        return f"taps={len(self.taps)} sent={sent} received={self.received} foreign={self.foreign}\n"


def main():
    bridge, count, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    crowd = Crowd(bridge, count)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    while True:
        # Between requests only broadcasts arrive; they are read so that no queue is ever full.
        ready, _, _ = select.select([server], [], [], 0.2)
        if not ready:
            while crowd.drain(0):
                pass
            continue
        client, _ = server.accept()
        with client, client.makefile("r") as lines:
            request = lines.readline().strip()
            answer = crowd.send(int(request)) if request.isdigit() else "error=expected_a_number\n"
            client.sendall(answer.encode())


main()
