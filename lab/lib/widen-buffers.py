#!/usr/bin/python3
"""Gives the packet sockets of a running Open vSwitch a receive buffer that holds a migration.

Usage: widen-buffers.py PID BYTES. The userspace datapath reads its ports from packet sockets with the
kernel's default buffer of 208 KiB. The stream of a live migration overflows it on the uplinks, and the
datagrams of every other VM there are lost with it, uncounted by any interface. The default belongs to the
whole machine, so the lab changes the sockets instead: it borrows each one from the process.
"""
import ctypes
import os
import socket
import sys

PIDFD_GETFD = 438
SO_RCVBUFFORCE = 33


def main():
    pid, size = int(sys.argv[1]), int(sys.argv[2])
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    widened = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
            continue
        fd = libc.syscall(PIDFD_GETFD, pidfd, int(name), 0)
        if fd < 0:
            raise OSError(ctypes.get_errno(), f"pidfd_getfd of {pid}")
        with socket.socket(fileno=fd) as borrowed:
            if borrowed.family == socket.AF_PACKET:
                borrowed.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
                widened += 1
    print(f"{widened} packet sockets")


main()
