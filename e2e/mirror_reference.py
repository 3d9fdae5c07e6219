#!/usr/bin/env python3
"""The frames in the packets of mirrors, by a second hand: no code of overtap's, and another way.

Walks by fixed rules from the front, knows nothing but what mirrors send, and prints one line of
hexadecimal digits for each frame, in the order of the file. Tests compare it with what
`overtap extract --decapsulate` writes.

    mirror_reference.py FILE [auto|erspan|gre|vxlan|geneve|tzsp|rspan=VLAN] [--plain]

With --plain it prints the packets as they are.
"""

import gzip
import struct
import sys


def packets(path):
    """(link type, bytes) of each packet of a pcap or pcapng file."""
    opener = gzip.open if open(path, "rb").read(2) == b"\x1f\x8b" else open
    data = opener(path, "rb").read()
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        yield from pcapng(data)
        return
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    link = struct.unpack(order + "I", data[20:24])[0] & 0xFFFF
    at = 24
    while at + 16 <= len(data):
        held = struct.unpack(order + "I", data[at + 8:at + 12])[0]
        yield link, data[at + 16:at + 16 + held]
        at += 16 + held


def pcapng(data):
    at, order, links = 0, "<", []
    while at + 12 <= len(data):
        if data[at:at + 4] == b"\x0a\x0d\x0d\x0a":
            order = "<" if data[at + 8:at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            links = []
        kind, length = struct.unpack(order + "II", data[at:at + 8])
        body = data[at + 8:at + length - 4]
        if kind == 1:
            links.append(struct.unpack(order + "H", body[:2])[0])
        elif kind == 6:
            point, _, _, held = struct.unpack(order + "IIII", body[:16])
            yield links[point], body[20:20 + held]
        at += length


def decapsulate(link, data, form):
    """The frame in a packet, or None."""
    at = 0
    if link == 1:
        kind, at = struct.unpack(">H", data[12:14])[0], 14
        if form.startswith("rspan="):
            vlan = struct.unpack(">H", data[14:16])[0] & 0xFFF if kind in (0x8100, 0x88A8) else None
            return data[:12] + data[16:] if vlan == int(form[6:]) else None
        while kind in (0x8100, 0x88A8, 0x9100):
            kind, at = struct.unpack(">H", data[at + 2:at + 4])[0], at + 4
    elif link in (12, 101):
        kind = 0x0800 if data[0] >> 4 == 4 else 0x86DD
    else:
        return None
    return in_ip(kind, data, at, form)


def in_ip(kind, data, at, form):
    if kind == 0x0800:
        total, flags, protocol = struct.unpack(">H", data[at + 2:at + 4])[0], data[at + 6:at + 8], data[at + 9]
        if struct.unpack(">H", flags)[0] & 0x3FFF:
            return None
        end, at = at + total if total else len(data), at + (data[at] & 15) * 4
    elif kind == 0x86DD:
        length, protocol = struct.unpack(">HB", data[at + 4:at + 7])
        end, at = at + 40 + length if length else len(data), at + 40
        while protocol in (0, 43, 60):
            protocol, at = data[at], at + 8 + 8 * data[at + 1]
    else:
        return None
    data = data[:end]
    if protocol == 47:
        return in_gre(data, at, form)
    if protocol == 17:
        return in_udp(data, at + 8, struct.unpack(">H", data[at + 2:at + 4])[0], form)
    return None


def in_gre(data, at, form):
    flags, kind = struct.unpack(">HH", data[at:at + 4])
    at += 4 + 4 * bool(flags & 0xC000) + 4 * bool(flags & 0x2000) + 4 * bool(flags & 0x1000)
    if flags & 7:
        return None
    if kind == 0x6558 and form in ("auto", "gre") or kind in (0x0800, 0x86DD) and form == "gre":
        return data[at:]
    if kind in (0x88BE, 0x22EB) and form in ("auto", "erspan"):
        if kind == 0x88BE and not flags & 0x1000:
            return data[at:]
        if data[at] >> 4 == 1:
            return data[at + 8:]
        if data[at] >> 4 == 2 and data[at + 10] >> 2 & 0x1F in (0, 2):
            return data[at + 12 + 8 * (data[at + 11] & 1):]
    return None


def in_udp(data, at, port, form):
    if port in (4789, 8472) and form in ("auto", "vxlan"):
        return data[at + 8:] if data[at] & 8 else None
    if port == 6081 and form in ("auto", "geneve"):
        return data[at + 8 + 4 * (data[at] & 63):] if data[at] >> 6 == 0 and not data[at + 1] & 0x80 else None
    if port == 4754:
        return in_gre(data, at, form)
    if port == 37008 and form in ("auto", "tzsp"):
        at += 4
        while data[at] != 1:
            at += 1 if data[at] == 0 else 2 + data[at + 1]
        return data[at + 1:]
    return None


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    form = words[1] if len(words) > 1 else "auto"
    for link, data in packets(words[0]):
        try:
            frame = data if "--plain" in sys.argv else decapsulate(link, data, form)
        except (IndexError, struct.error):
            frame = None
        if frame is not None:
            print(frame.hex())


if __name__ == "__main__":
    main()
