#!/usr/bin/env python3
"""overtap in shape taps: one VM among 200 taps."""
from harness import *


def crowd():
    """find is right and fast among 200 taps."""
    began = time.monotonic()
    found = find("hv-1", "web")["machines"]
    took = time.monotonic() - began
    check("find takes less than a second", took < 1, f"{took:.2f} s")
    equal("it finds the one", [(m["name"], m["vnics"][0]["mac"], m["vnics"][0]["attachment"]["device"]) for m in found], [("web", "52:54:00:00:02:01", "tap-web")])
    done = overtap("hv-1", "find")
    check("the list holds both machines", done.returncode == 0 and "web" in done.stdout and "db" in done.stdout, done.stdout[:500])
    watch = Process("hv-1", OVERTAP, "find", "--watch", "--output", "json")
    time.sleep(1)
    started("hv-1", "ip", "link", "set", "tap-db", "name", "tap-other")
    began = time.monotonic()
    told = until(lambda: [line for line in watch.out().splitlines() if "tap-other" in line], 5)
    took = time.monotonic() - began
    check("a renamed tap is told within a second", told and took < 1, f"{took:.2f} s {watch.out()}")
    started("hv-1", "ip", "link", "set", "tap-other", "name", "tap-db")
    watch.kill()


def alone():
    """A capture of one VM holds nothing of the crowd."""
    judge = Tcpdump("hv-1", "tap-web")
    capture = Overtap("hv-1", "web")
    began = time.time_ns()
    stream = Traffic("db", "web", "--udp", "100pps", "--count", "150")
    said = lab("crowd", "send", 20)
    sent = stream.wait()
    ended = time.time_ns()
    check("the crowd was active", "sent=4000" in said, said)
    status, receipt, file = capture.finish()
    honest("one of 200", status, receipt, file)
    window = lambda packets: collections.Counter(p.data for p in packets if began <= p.time <= ended)
    same_frames("one of 200: exactly what tcpdump saw at its tap", window(file.packets), window(judge.finish().packets))
    equal("one of 200: its own datagrams", len(file.holding(b"acme:")), sent["sent"])
    equal("one of 200: nothing of the crowd", len(file.holding(b"crowd-")), 0)


if __name__ == "__main__":
    chapters(crowd, alone)
