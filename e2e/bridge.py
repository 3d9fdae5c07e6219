#!/usr/bin/env python3
"""overtap in shape bridge: a VM with three vNICs on Linux bridges, QEMU by hand, kernel VXLAN."""
from harness import *

MACS = {f"52:54:00:00:01:0{number}": bridge for number, bridge in ((1, "br0"), (2, "br101"), (3, "br102"))}


def three_found():
    """find knows the three vNICs of a VM that only its command line names."""
    found = find("hv-1", "router")["machines"]
    equal("one machine is called router", len(found), 1)
    router = found[0]
    equal("it runs, as a VM", (router["state"], router["kind"]), ("running", "vm"))
    equal("its vNICs are where they are", {v["mac"]: v["attachment"]["switch"] for v in router["vnics"]}, MACS)
    vnis = {v["attachment"]["switch"]: [n["vni"] for n in v["attachment"]["networks"] if n["uplinks"]] for v in router["vnics"]}
    equal("the VNIs behind its bridges", vnis, {"br0": [], "br101": [101], "br102": [102]})
    uplinks = {u["device"] for v in router["vnics"] for n in v["attachment"]["networks"] for u in n["uplinks"]}
    equal("the uplink", uplinks, {"up0"})
    for vnic in router["vnics"]:
        device = vnic["attachment"]["device"]
        master = started("hv-1", "cat", f"/sys/class/net/{device}/master/uevent")
        check(f"{device} is a port of {vnic['attachment']['switch']}", f"INTERFACE={vnic['attachment']['switch']}" in master, master)
        equal(f"find by its tap {device}", names("hv-1", device), ["router"])
    equal("machines of hv-1", names("hv-1"), ["box", "router"])


def three_captured():
    """One capture holds all three vNICs, one interface block each."""
    vnics = {v["mac"]: v["attachment"]["device"] for v in find("hv-1", "router")["machines"][0]["vnics"]}
    judges = {device: Tcpdump("hv-1", device) for device in vnics.values()}
    whole = Overtap("hv-1", "router")
    second = vnics["52:54:00:00:01:02"]
    one = Overtap("hv-1", "router", "--point", second, "--buffer", "4MiB")
    uplink = Overtap("hv-1", "router", "--point", "uplink", "--strip", "--buffer", "4MiB")
    began = time.time_ns()
    streams = [
        Traffic("box", "router", "--udp", "100pps", "--count", "100"),
        Traffic("far-101", "router", "--udp", "100pps", "--count", "120", "--port", "5002"),
        Traffic("far-102", "router", "--udp", "100pps", "--count", "140", "--port", "5003"),
        Traffic("router", "far-101", "--udp", "100pps", "--count", "90", "--port", "5004"),
    ]
    sent = [stream.wait() for stream in streams]
    ended = time.time_ns()
    check("the lab's traffic itself lost nothing", all(s["sent"] == s["distinct"] for s in sent), sent)
    status, receipt, file = whole.finish()
    honest("three vNICs", status, receipt, file)
    equal("three vNICs: three interface blocks, named", sorted(i["name"].split("@ ")[1] for i in file.interfaces), sorted(f"hv-1:{d}" for d in vnics.values()))
    equal("three vNICs: each has its MAC", sorted(i["mac"].hex(":") for i in file.interfaces), sorted(MACS))
    window = lambda packets: collections.Counter(p.data for p in packets if began <= p.time <= ended)
    seen = {device: judge.finish() for device, judge in judges.items()}
    for number, interface in enumerate(file.interfaces):
        device = interface["name"].split(":")[-1]
        same_frames(f"three vNICs: {device}: exactly what tcpdump saw there",
                    window(p for p in file.packets if p.interface == number), window(seen[device].packets))
    times = [p.time for p in file.packets]
    check("three vNICs: in the order of time", times == sorted(times) and receipt["out_of_order"] == 0, receipt["out_of_order"])
    equal("three vNICs: statistics for each", sorted(s["interface"] for s in file.statistics), [0, 1, 2])
    equal("three vNICs: everybody reads the file", complaints(file.path), [])
    status, receipt, file = one.finish()
    honest(f"--point {second}", status, receipt, file)
    same_frames(f"--point {second}: only that vNIC", window(file.packets), window(seen[second].packets))
    status, receipt, file = uplink.finish()
    honest("three vNICs at the uplink", status, receipt, file)
    far = [device for address, device in vnics.items() if MACS[address] != "br0"]
    wanted = sum((window(seen[device].packets) for device in far), collections.Counter())
    same_frames("three vNICs at the uplink: the two that leave the host", window(file.packets), wanted)
    check("no frame of the intra-host vNIC at the uplink", not [p for p in file.packets if mac("52:54:00:00:01:10") in p.data[:12]])


if __name__ == "__main__":
    chapters(three_found, three_captured)
