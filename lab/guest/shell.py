#!/usr/bin/python3
"""Runs one command in a guest over its virtio-serial port; the guest's half is shell.rs.

Usage: shell.py SOCKET SECONDS COMMAND. Prints what the command printed and ends with its status,
or with 124 when no answer came in time. The port serves one caller at a time; callers queue.
"""
import os
import socket
import sys
import time


def connect(path, end):
    while True:
        port = socket.socket(socket.AF_UNIX)
        # QEMU accepts one client and lets the others wait, so the answer itself is the queue.
        port.settimeout(max(end - time.time(), 0.1))
        try:
            port.connect(path)
            return port
        except OSError:
            if time.time() > end:
                raise
            time.sleep(0.05)


def main():
    path, seconds, command = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    end = time.time() + seconds
    identity = b"%d.%d" % (os.getpid(), time.time_ns())
    said = b""
    trailer = b"\0" + identity + b" "
    try:
        port = connect(path, end)
        port.sendall(identity + b"\0" + command.encode() + b"\0")
        while trailer not in said or not said.endswith(b"\n"):
            port.settimeout(max(end - time.time(), 0.1))
            data = port.recv(65536)
            if not data:
                raise OSError("the guest's port was closed")
            said += data
    except OSError as error:
        print(f"shell: {path}: {error or 'no answer'}", file=sys.stderr)
        return 124
    output, status = said.split(trailer)
    # An answer that an earlier caller did not wait for ends with a trailer of its own.
    if b"\0" in output:
        output = output.rsplit(b"\0", 1)[1].split(b"\n", 1)[1]
    sys.stdout.buffer.write(output)
    return int(status)


sys.exit(main())
