#!/usr/bin/env python3
"""overtap mirror in shape mirrors: mirrors of Open vSwitch and virtual taps, received by tshark."""
from harness import *

# Takes what mirrors send, so that the kernel answers none of it with "unreachable".
SINK = """
import select, socket, sys
sockets = []
for port in (4789, 6081, 4790):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", port))
    sockets.append(udp)
sockets.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, 47))
print("bound", flush=True)
while True:
    for ready in select.select(sockets, [], [])[0]:
        ready.recv(65535)
"""
# Open vSwitch counts every 5 s.
COUNTED_S = 6.5
TOOL = "10.0.0.9"


class Mirror(Process):
    """`overtap mirror`, running beside the test."""

    def __init__(self, selection, to, *words, host="hv-1", await_start=True):
        super().__init__(host, OVERTAP, "mirror", selection, "--to", to, "--output", "json", *words)
        self.to = to
        if await_start and not until(lambda: "Ctrl-C" in self.err() or not self.is_running(), 15):
            raise RuntimeError(f"mirror {selection} does not start: {self.err()}")
        found = re.search(r"-> .*, ([0-9a-f]{8})\)", self.err())
        self.id = found[1] if found else None

    def finish(self):
        status = self.stop()
        try:
            return status, json.loads(self.out())
        except ValueError:
            raise RuntimeError(f"{self.popen.args}: no report: {self.out()}{self.err()}") from None


def mirrors(host="hv-1"):
    return json.loads(overtap(host, "mirror", "list", "--output", "json").stdout)


def rows(table, column="name"):
    """The values of a column of all rows."""
    said = started("hv-1", "ovs-vsctl", "-f", "json", f"--columns={column}", "list", table)
    return [row[0] for row in json.loads(said)["data"]]


def ours():
    """Ports and mirrors of ours that Open vSwitch has."""
    return sorted(name for name in rows("Port") + rows("Mirror") if name.startswith(("ovt", "overtap")))


def nothing_left(what):
    equal(f"{what}: no row of ours is left in Open vSwitch", ours(), [])
    directory = os.path.join(os.environ["OVERTAP_STATE_DIR"], "mirrors")
    left = os.listdir(directory) if os.path.isdir(directory) else []
    equal(f"{what}: nothing is left written down", left, [])


def vswitchd():
    return started("hv-1", "pidof", "ovs-vswitchd")


def set_up():
    """A tool that listens."""
    sink = Process("mon", "/usr/bin/python3", "-c", SINK)
    Process.running.remove(sink)
    check("the tool listens", until(lambda: "bound" in sink.out(), 5), sink.err())
    # Otherwise each asks for the other seconds after the traffic, when the switch has counted.
    for machine, ip, address in (("web", "10.0.7.30", "52:54:00:00:07:1e"), ("cache", "10.0.7.10", "52:54:00:00:07:0a")):
        lab("exec", machine, "ip", "neigh", "replace", ip, "lladdr", address, "dev", "eth0", "nud", "permanent")


def ovs_encapsulations():
    """Each encapsulation decodes, and three counts agree to the packet: the VM's, the switch's, the tool's."""
    before = vswitchd()
    judge = Tcpdump("mon", "eth0")
    run_of = {to: Mirror("web", to, "--means", "ovs") for to in (
        f"vxlan://{TOOL}?vni=7", f"vxlan://{TOOL}:4790?vni=16777215", f"geneve://{TOOL}?vni=8", f"gre://{TOOL}?key=4294967295",
        f"erspan://{TOOL}?session=1023&index=102", f"erspan://{TOOL}?session=6&type=3&hardware=11",
    )}
    for to, mirror in run_of.items():
        check(f"{to}: mirrors", mirror.is_running() and mirror.id, mirror.err())
    sent = [traffic("cache", "web", "--udp", "200pps", "--count", "150"), traffic("web", "cache", "--udp", "200pps", "--count", "70", "--port", "5002")]
    foreign = traffic("cache-b", "web-b", "--udp", "200pps", "--count", "100", "--port", "5003")
    check("the lab's traffic itself lost nothing", all(s["sent"] == s["distinct"] for s in (*sent, foreign)), sent)
    time.sleep(COUNTED_S)
    equal("mirror list has them all", sorted(mirror["to"] for mirror in mirrors()), sorted(run_of))
    listed = {mirror["to"]: mirror["counts"] for mirror in mirrors()}
    reports = {to: mirror.finish() for to, mirror in run_of.items()}
    judge.finish()
    shown = tshark(judge.file, "-d", "udp.port==4790,vxlan", "-V")
    check("tshark finds nothing malformed", not [line for line in shown if "alformed" in line])
    fields = ("vxlan.vni", "geneve.vni", "gre.key", "erspan.spanid", "erspan.version", "erspan.index", "erspan.hw", "vlan.id", "udp.dstport", "data.data", "ip.dst")
    count = collections.defaultdict(lambda: collections.Counter())
    for row in tshark(judge.file, "-d", "udp.port==4790,vxlan", fields=fields):
        row = dict(zip(fields, row))
        if not row["ip.dst"].startswith(TOOL):
            continue
        tool = {
            row["vxlan.vni"]: f"vxlan://{TOOL}?vni=7" if row["vxlan.vni"] == "7" else f"vxlan://{TOOL}:4790?vni=16777215",
            row["geneve.vni"] and "g": f"geneve://{TOOL}?vni=8",
            row["gre.key"] and "k": f"gre://{TOOL}?key=4294967295",
            row["erspan.spanid"] and "e": f"erspan://{TOOL}?session=1023&index=102" if row["erspan.spanid"] == "1023" else f"erspan://{TOOL}?session=6&type=3&hardware=11",
        }
        tool.pop("", None)
        for to in tool.values():
            data = bytes.fromhex(row["data.data"].split(",")[-1].replace(":", ""))
            count[to]["all"] += 1
            count[to]["acme"] += b"acme:" in data
            count[to]["bravo"] += b"bravo:" in data
            count[to]["tagged 100"] += row["vlan.id"].split(",")[-1] == "100"
            if row["gre.key"]:
                count[to]["key"] += int(row["gre.key"], 0) == 4294967295
            if row["vxlan.vni"]:
                count[to]["vni"] += row["vxlan.vni"] in ("7", "16777215")
            if row["erspan.spanid"]:
                kind = (row["erspan.spanid"], row["erspan.version"], row["erspan.index"], row["erspan.hw"])
                count[to][kind] += 1
    for to, (status, report) in reports.items():
        copied = report["copied"]["packets"]
        equal(f"{to}: exit status 0", status, 0)
        check(f"{to}: the VM's 220 datagrams, each once", count[to]["acme"] == 220, count[to])
        equal(f"{to}: as many at the tool as the switch has copied", count[to]["all"], copied)
        check(f"{to}: the list says the same, or what it was when the switch had counted last", 220 <= listed[to]["packets"] <= copied, (listed[to], copied))
        equal(f"{to}: nothing of the other tenant, who has the same addresses", count[to]["bravo"], 0)
        equal(f"{to}: all with the VM's VLAN", count[to]["tagged 100"], count[to]["all"])
    equal("ERSPAN II: version 1, our index", [k for k in count[f"erspan://{TOOL}?session=1023&index=102"] if isinstance(k, tuple)], [("1023", "1", "102", "")])
    equal("ERSPAN III: version 2, our hardware id", [k for k in count[f"erspan://{TOOL}?session=6&type=3&hardware=11"] if isinstance(k, tuple)], [("6", "2", "", "11")])
    equal("the switch still runs", vswitchd(), before)
    nothing_left("encapsulations")


def ovs_span_rspan():
    """SPAN to an interface, RSPAN to a VLAN: counted, and the switch is left as it was."""
    started("hv-1", "sh", "-c", "ip link add ids0 type veth peer name ids1 && ethtool -K ids0 tx off >/dev/null && ip link set ids1 up && ip link set ids0 up mtu 1600")
    started("hv-1", "sh", "-c", "ovs-vsctl set port patch-phy trunks=20,30,900 -- set port patch-int trunks=20,30,900")
    judges = {"port:ids0": Tcpdump("hv-1", "ids1"), "vlan:900": Tcpdump("hv-1", "up0", "vlan", "900")}
    run_of = {to: Mirror("web", to) for to in judges}
    equal("while it lasts, the VLAN is flooded", rows("Bridge", "flood_vlans").count(900), 1)
    sent = traffic("cache", "web", "--udp", "200pps", "--count", "120")
    time.sleep(COUNTED_S)
    for to, mirror in run_of.items():
        status, report = mirror.finish()
        seen = judges[to].finish()
        equal(f"{to}: exit status 0", status, 0)
        got = sum(b"acme:" in p.data for p in seen.packets)
        equal(f"{to}: the VM's datagrams, each once", got, sent["sent"])
        equal(f"{to}: as many as the switch has copied", len([p for p in seen.packets if p.data[12:14] == b"\x81\x00"]), report["copied"]["packets"])
        tag = {"port:ids0": 100, "vlan:900": 900}[to]
        equal(f"{to}: the tag is {tag}", {int.from_bytes(p.data[14:16], "big") & 0xFFF for p in seen.packets if b"acme:" in p.data}, {tag})
    nothing_left("SPAN and RSPAN")
    check("no VLAN is flooded any more", 900 not in rows("Bridge", "flood_vlans"), rows("Bridge", "flood_vlans"))
    check("the interface is the host's again", "ids0" not in rows("Port"))
    started("hv-1", "ip", "link", "del", "ids0")


def arrivals(capture):
    return [p.time for p in capture.packets if b"acme:" in p.data]


def ovs_removed_under_load():
    """A mirror that is removed or changed under load stops within 100 ms."""
    load = Traffic("cache", "web", "--udp", "500pps", "--count", "6000")
    for round in range(3):
        judge = Tcpdump("mon", "eth0", "udp", "port", "4789")
        mirror = Mirror("web", f"vxlan://{TOOL}?vni=7")
        time.sleep(0.5)
        done = overtap("hv-1", "mirror", "remove", mirror.id[:5])
        removed = time.time_ns()
        equal(f"round {round}: remove says so", (done.returncode, done.stdout.strip()), (0, f"removed {mirror.id}"))
        time.sleep(0.7)
        times = arrivals(judge.finish())
        check(f"round {round}: it did mirror the load", len(times) > 100, len(times))
        late = [(at - removed) // 10**6 for at in times if at > removed + 100 * 10**6]
        equal(f"round {round}: nothing arrives 100 ms after it was removed", late, [])
        equal(f"round {round}: its watcher ended well", mirror.wait(), 0)
    judge = Tcpdump("mon", "eth0", "udp", "port", "4789")
    mirror = Mirror("web,cache", f"vxlan://{TOOL}?vni=7")
    time.sleep(0.3)
    ids = started("hv-1", "ovs-vsctl", "get", "interface", "tap-cache", "external_ids")
    began = time.time_ns()
    started("hv-1", "ovs-vsctl", "del-port", "tap-cache")
    check("a VM that was unplugged is not mirrored", until(lambda: "mirrors web" in mirror.err(), 5), mirror.err())
    print(f"     changed after {(time.time_ns() - began) // 10**6} ms", flush=True)
    ports = rows("Mirror", "select_src_port")
    equal("one port is mirrored now", [port[0] for port in ports], ["uuid"])
    equal("by a new pair; the old one is gone", len(ours()), 2)
    started("hv-1", "ovs-vsctl", "add-port", "br-int", "tap-cache", "tag=100", "--", "set", "interface", "tap-cache", f"external_ids={ids}")
    check("plugged in again it is", until(lambda: "mirrors cache" in mirror.err(), 5), mirror.err())
    mirror.finish()
    check("the load was mirrored all the while", len(arrivals(judge.finish())) > 100)
    load.stop()
    nothing_left("removed under load")


def ovs_killed():
    """Whatever kills the watcher, the mirror is gone."""
    load = Traffic("cache", "web", "--udp", "500pps", "--count", "8000")
    mirror = Mirror("web", f"vxlan://{TOOL}?vni=7")
    check("there is a mirror", len(ours()) == 2, ours())
    judge = Tcpdump("mon", "eth0", "udp", "port", "4789")
    time.sleep(0.3)
    mirror.send(signal.SIGKILL)
    killed = time.time_ns()
    mirror.wait()
    check("killed: its guard removes it", until(lambda: not ours(), 5), ours())
    time.sleep(0.5)
    late = [(at - killed) // 10**6 for at in arrivals(judge.finish()) if at > killed + 100 * 10**6]
    equal("killed: nothing arrives 100 ms after that", late, [])
    until(lambda: not os.listdir(os.path.join(os.environ["OVERTAP_STATE_DIR"], "mirrors")), 2)
    nothing_left("killed")

    mirror = Mirror("web", f"vxlan://{TOOL}?vni=7")
    guards = mirror.children()
    equal("it has one guard", len(guards), 1)
    os.kill(guards[0], signal.SIGKILL)
    check("a guard that was killed is replaced", until(lambda: mirror.children() and mirror.children() != guards, 5), mirror.err())
    # Both within one look of the watcher for its guard.
    pids = (*mirror.children(), mirror.pid())
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    mirror.wait()
    time.sleep(0.3)
    equal("killed together with its guard: the switch goes on", len(ours()), 2)
    done = overtap("hv-1", "mirror", "list")
    check("the next command removes it and says so", f"removed mirror {mirror.id}" in done.stderr, done.stderr)
    nothing_left("killed together with its guard")

    mirror = Mirror("web", f"vxlan://{TOOL}?vni=7")
    started("hv-1", "ovs-vsctl", "clear", "bridge", "br-int", "mirrors")
    equal("removed by somebody else: it ends", mirror.wait(), 1)
    check("and says so", "somebody else removed" in mirror.out() + mirror.err(), mirror.out() + mirror.err())
    nothing_left("removed by somebody else")
    load.stop()


def ovs_refused():
    """What would not work or do harm is refused, and nothing is changed."""
    before = vswitchd()
    ports = rows("Port")

    def refused(what, reason, *words, status=1):
        done = overtap("hv-1", "mirror", *words)
        check(f"{what} is refused", done.returncode == status and reason in done.stderr, f"{done.returncode}: {done.stderr}")

    refused("a twin of a tunnel", "already; give the mirror another", "app", "--to", "vxlan://10.0.0.3?vni=101", "--means", "ovs")
    refused("a port of the switch", "is a port of br-phy already", "web", "--to", "port:up0")
    refused("no interface", "there is no interface", "web", "--to", "port:nope")
    refused("the VM's own VLAN", "is in VLAN 100 itself", "web", "--to", "vlan:100", "--means", "ovs")
    refused("an expression", "cannot decide an expression", "web", "tcp", "--to", f"vxlan://{TOOL}?vni=1", "--means", "ovs")
    refused("a place that is none", "no tool ids-1", "web", "--to", "ids-1", status=2)
    refused("a VM that is not here", "printer", "printer", "--to", f"vxlan://{TOOL}?vni=1")
    refused("a way without a route", "no route", "web", "--to", "vxlan://203.0.113.9?vni=1", "--means", "ovs")

    started("hv-1", "ip", "link", "set", "up0", "mtu", "1500")
    until(lambda: started("hv-1", "ovs-vsctl", "get", "interface", "up0", "mtu") == "1500", 5)
    refused("a way that is too narrow", "needs 1554 bytes on up0, which has room for 1500", "web", "--to", f"vxlan://{TOOL}?vni=1", "--means", "ovs")
    done = overtap("hv-1", "mirror", "web", "--to", f"vxlan://{TOOL}?vni=1", "--means", "ovs", "--oversize", "drop", "--duration", "0.3")
    equal("unless that is accepted", done.returncode, 0)
    started("hv-1", "ip", "link", "set", "up0", "mtu", "1600")

    # A machine in the network by which the copies would leave.
    started("hv-1", "sh", "-c", "ip link add near0 type veth peer name near1 && ip link set near0 up && ip link set near1 up && "
            "ovs-vsctl add-port br-phy near0 -- set interface near0 external_ids:vm-id=near external_ids:attached-mac='\"52:54:00:00:aa:01\"'")
    until(lambda: "near" in names("hv-1"), 5)
    refused("a loop", "the switch that is mirrored", "near", "--to", f"vxlan://{TOOL}?vni=1", "--means", "ovs")
    started("hv-1", "sh", "-c", "ovs-vsctl del-port near0; ip link del near0")

    script = " ".join(f"-- --id=@m{n} create mirror name=other{n} output_vlan={n + 2000} -- add bridge br-int mirrors @m{n}" for n in range(32))
    started("hv-1", "sh", "-c", f"ovs-vsctl {script}")
    refused("the 33rd mirror", "has 32 mirrors already", "web", "--to", f"vxlan://{TOOL}?vni=1", "--means", "ovs")
    started("hv-1", "ovs-vsctl", "clear", "bridge", "br-int", "mirrors")
    equal("the switch still runs", vswitchd(), before)
    equal("its ports are what they were", sorted(rows("Port")), sorted(ports))
    nothing_left("refused")


def ovs_follows():
    """It follows the VM: a port that comes back, a VM that comes later; --detach, --duration."""
    done = overtap("hv-1", "mirror", "web,'late-*'".replace("'", ""), "--to", f"vxlan://{TOOL}?vni=9", "--detach", "--output", "json")
    equal("--detach says which", done.returncode, 0)
    mirror = json.loads(done.stdout)["id"]
    said = lambda: overtap("hv-1", "mirror", "show", mirror).stdout
    check("it mirrors", "mirroring" in said(), said())
    tag = started("hv-1", "ovs-vsctl", "get", "port", "tap-web", "tag")
    ids = started("hv-1", "ovs-vsctl", "get", "interface", "tap-web", "external_ids")
    started("hv-1", "ovs-vsctl", "del-port", "tap-web")
    check("unplugged: it waits", until(lambda: "waiting" in said(), 5), said())
    equal("and mirrors nothing", ours(), [])
    started("hv-1", "ovs-vsctl", "add-port", "br-int", "tap-web", f"tag={tag}", "--", "set", "interface", "tap-web", f"external_ids={ids}")
    check("plugged in again: it mirrors", until(lambda: "mirroring" in said(), 5), said())
    judge = Tcpdump("mon", "eth0", "udp", "port", "4789")
    sent = traffic("cache", "web", "--udp", "200pps", "--count", "60")
    time.sleep(0.3)
    equal("all of it arrives", len(arrivals(judge.finish())), sent["sent"])
    started("hv-1", "ovs-vsctl", "set", "port", "tap-web", "tag=200")
    check("in another tenant's network: it ends", until(lambda: mirror not in json.dumps(mirrors()), 3), said())
    started("hv-1", "ovs-vsctl", "set", "port", "tap-web", f"tag={tag}")
    overtap("hv-1", "mirror", "remove", "--all")
    nothing_left("follows")


OVN = "/run/ovn-lab"
NORTH = f"unix:{OVN}/nb.sock"


def nb(*words):
    return started("hv-1", "ovn-nbctl", f"--db={NORTH}", *words)


def ovn_set_up():
    """A whole OVN on hv-1: both databases, northd and a controller with a bridge of its own, and acme's vaults as its VMs."""
    kind = started("hv-1", "ovs-vsctl", "get", "bridge", "br-int", "datapath_type").strip('"')
    server = lambda name: f"ovsdb-tool create {name}.db /usr/share/ovn/ovn-{name}.ovsschema && ovsdb-server {name}.db --remote=punix:{OVN}/{name}.sock {'--remote=ptcp:6641:127.0.0.1' if name == 'nb' else ''} --pidfile={OVN}/{name}.pid --unixctl={OVN}/{name}.ctl --detach --no-chdir --log-file={OVN}/{name}.log"
    started("hv-1", "sh", "-c", f"rm -rf {OVN} && mkdir -p {OVN} && cd {OVN} && {server('nb')} && {server('sb')} && "
            f"ovn-nbctl --db={NORTH} init && ovn-sbctl --db=unix:{OVN}/sb.sock init && "
            f"OVN_RUNDIR={OVN} ovn-northd --ovnnb-db={NORTH} --ovnsb-db=unix:{OVN}/sb.sock --pidfile={OVN}/northd.pid --unixctl={OVN}/northd.ctl --detach --no-chdir --log-file={OVN}/northd.log && "
            f"ovs-vsctl set open_vswitch . external_ids:system-id=hv-1 external_ids:ovn-bridge=br-ovn external_ids:ovn-remote=unix:{OVN}/sb.sock "
            f"external_ids:ovn-encap-type=geneve external_ids:ovn-encap-ip=10.0.0.1 external_ids:ovn-bridge-datapath-type={kind or 'system'} && "
            f"OVN_RUNDIR={OVN} ovn-controller unix:/run/openvswitch/db.sock --pidfile={OVN}/controller.pid --detach --no-chdir --log-file={OVN}/controller.log")
    nb("ls-add", "vaults")
    for machine, address in (("vault-1", "52:54:00:00:63:0f"), ("vault-2", "52:54:00:00:63:10")):
        ids = json.loads(started("hv-1", "ovs-vsctl", "-f", "json", "--columns=external_ids", "list", "interface", f"tap-{machine}"))["data"][0][0][1]
        port = dict(ids).get("iface-id", machine)
        nb("lsp-add", "vaults", port, "--", "lsp-set-addresses", port, address)
        ids = [f"external_ids:{key}=\"{value}\"" for key, value in {**dict(ids), "iface-id": port}.items()]
        started("hv-1", "ovs-vsctl", "del-port", f"tap-{machine}", "--", "add-port", "br-ovn", f"tap-{machine}", "--", "set", "interface", f"tap-{machine}", *ids)
        OVN_PORTS[machine] = port
    for name, ip, address in (("vault-1", "10.99.0.16", "52:54:00:00:63:10"), ("vault-2", "10.99.0.15", "52:54:00:00:63:0f")):
        lab("exec", name, "ip", "neigh", "replace", ip, "lladdr", address, "dev", "eth0", "nud", "permanent")
    nb("--timeout=15", "--wait=hv", "sync")
    sent = traffic("vault-2", "vault-1", "--udp", "100pps", "--count", "20")
    equal("OVN carries the VMs' traffic", sent["distinct"], 20)


OVN_PORTS = {}


def ovn_nothing_left(what):
    equal(f"{what}: no mirror is left in OVN", nb("mirror-list"), "")
    equal(f"{what}: nothing of it is left in Open vSwitch", [name for name in rows("Port") + rows("Mirror") if "ovt" in name], [])
    nothing_left(what)


def ovn():
    """OVN mirrors both directions, each with its number; the counts agree; removed, killed, taken away: nothing is left."""
    if not shutil.which("ovn-northd"):
        check("OVN is here: scripts/deps lab", False)
        return
    before = vswitchd()
    ovn_set_up()
    words = ("--means", "ovn", "--ovn-nb", NORTH)
    judge = Tcpdump("mon", "eth0", "proto", "47")
    run_of = {to: Mirror("vault-1", to, *words) for to in (f"gre://{TOOL}?key=101", f"erspan://{TOOL}?session=7")}
    for to, mirror in run_of.items():
        check(f"{to}: mirrors", mirror.is_running() and mirror.id, mirror.err())
    sent = [traffic("vault-2", "vault-1", "--udp", "200pps", "--count", "150"), traffic("vault-1", "vault-2", "--udp", "200pps", "--count", "70", "--port", "5002")]
    check("the lab's traffic itself lost nothing", all(s["sent"] == s["distinct"] for s in sent), sent)
    time.sleep(COUNTED_S)
    reports = {to: mirror.finish() for to, mirror in run_of.items()}
    judge.finish()
    count = collections.Counter()
    for key, span, source, data in tshark(judge.file, fields=("gre.key", "erspan.spanid", "eth.src", "data.data")):
        if b"acme:" in bytes.fromhex(data.split(",")[-1].replace(":", "")):
            count[span or str(int(key or "0", 0)), source.split(",")[-1]] += 1
    vault_1, vault_2 = "52:54:00:00:63:0f", "52:54:00:00:63:10"
    equal("what the VM sends has the number, what goes to it the next one", dict(count),
          {("101", vault_1): 70, ("102", vault_2): 150, ("7", vault_1): 70, ("8", vault_2): 150})
    for to, (status, report) in reports.items():
        equal(f"{to}: exit status 0", status, 0)
        check(f"{to}: the switch has counted them", report["copied"]["packets"] >= 220, report)
    ovn_nothing_left("OVN, ended")

    tcp = ("--means", "ovn", "--ovn-nb", "tcp:127.0.0.1:6641")
    load = Traffic("vault-2", "vault-1", "--udp", "500pps", "--count", "6000")
    mirror = Mirror("vault-1", f"gre://{TOOL}?key=103", *tcp)
    judge = Tcpdump("mon", "eth0", "proto", "47")
    time.sleep(0.5)
    mirror.send(signal.SIGKILL)
    mirror.wait()
    check("OVN, killed: its guard removes it", until(lambda: not nb("mirror-list") and not [n for n in rows("Mirror") if "ovt" in n], 10), nb("mirror-list"))
    removed = time.time_ns()
    time.sleep(0.7)
    times = arrivals(judge.finish())
    check("it did mirror the load", len(times) > 100, len(times))
    equal("OVN, killed: nothing arrives 100 ms after it is gone", [at for at in times if at > removed + 100 * 10**6], [])
    until(lambda: not os.listdir(os.path.join(os.environ["OVERTAP_STATE_DIR"], "mirrors")), 5)
    ovn_nothing_left("OVN, killed")

    mirror = Mirror("vault-1", f"gre://{TOOL}?key=105", *words)
    for pid in (*mirror.children(), mirror.pid()):
        os.kill(pid, signal.SIGKILL)
    mirror.wait()
    time.sleep(0.3)
    check("killed together with its guard: OVN goes on", "ovt" in nb("mirror-list"))
    done = overtap("hv-1", "mirror", "list")
    check("the next command removes it and says so", f"removed mirror {mirror.id}" in done.stderr, done.stderr)
    ovn_nothing_left("OVN, killed together with its guard")

    mirror = Mirror("vault-1", f"gre://{TOOL}?key=107", *words)
    nb("mirror-del")
    equal("OVN, removed by somebody else: it ends", mirror.wait(), 1)
    ovn_nothing_left("OVN, removed by somebody else")
    load.stop()

    def refused(what, reason, *more):
        done = overtap("hv-1", "mirror", *more)
        check(f"{what} is refused", done.returncode == 1 and reason in done.stderr, f"{done.returncode}: {done.stderr}")

    refused("a VM that OVN does not know", "OVN has no logical port", "web", "--to", f"gre://{TOOL}?key=1", *words)
    nb("lsp-set-addresses", OVN_PORTS["vault-1"], "52:54:00:00:63:ff")
    refused("a port that is another VM's in OVN", "is another VM's port in OVN", "vault-1", "--to", f"gre://{TOOL}?key=1", *words)
    nb("lsp-set-addresses", OVN_PORTS["vault-1"], "52:54:00:00:63:0f")
    refused("a tunnel that OVN has not", "erspan:// of type II only", "vault-1", "--to", f"vxlan://{TOOL}?vni=1", *words)
    refused("a database that is not there", "cannot use OVN's northbound database", "vault-1", "--to", f"gre://{TOOL}?key=1", "--means", "ovn", "--ovn-nb", "unix:/nowhere")
    started("hv-1", "sh", "-c", f"kill $(cat {OVN}/controller.pid)")
    refused("OVN without its controller", "ovn-controller has not made it here", "vault-1", "--to", f"gre://{TOOL}?key=1", *words)
    ovn_nothing_left("OVN without its controller")
    equal("the switch still runs", vswitchd(), before)
    started("hv-1", "sh", "-c", f"cd {OVN} && kill $(cat northd.pid nb.pid sb.pid); ovs-vsctl del-br br-ovn")


def tools():
    """A tool of the registry gets what its grant allows, by the switch where that can serve it."""
    add = lambda *words: started("hv-1", OVERTAP, "tools", "add", *words)
    add("ids-1", "--vxlan", TOOL, "--vni", "42")
    add("ids-2", "--vxlan", TOOL, "--vni", "43", "--tenant", "bravo")
    add("ids-3", "--vxlan", TOOL, "--vni", "44", "--slice", "128")
    judge = Tcpdump("mon", "eth0", "udp", "port", "4789")
    mirror = Mirror("web", "ids-1")
    sent = traffic("cache", "web", "--udp", "200pps", "--count", "50")
    time.sleep(0.2)
    status, report = mirror.finish()
    equal("the tool's mirror ends well", (status, report["to"]), (0, f"ids-1 (vxlan://{TOOL}?vni=42)"))
    equal("the tool gets the VM's datagrams", len(arrivals(judge.finish())), sent["sent"])
    equal("in its own network number", {row[0] for row in tshark(judge.file, fields=("vxlan.vni",))}, {"42"})
    done = overtap("hv-1", "mirror", "web", "--to", "ids-2")
    check("a VM that its grant does not speak of is refused", done.returncode == 1 and "grant is for bravo" in done.stderr, done.stderr)
    done = overtap("hv-1", "mirror", "web", "--to", "ids-3")
    check("a policy that needs a look at each packet is refused", done.returncode == 2 and "capture VM --to ids-3" in done.stderr, done.stderr)
    done = overtap("hv-1", "mirror", "web", "--to", "ids-9")
    check("a tool that nobody has named is refused", done.returncode == 2 and "there is no tool ids-9" in done.stderr, done.stderr)
    nothing_left("tools")


def taps_left(host, *devices):
    """What traffic control and the kernel hold at these devices, and devices of ours."""
    left = []
    for device in devices:
        left += started(host, "tc", "qdisc", "show", "dev", device, "clsact").splitlines()
        for hook in ("ingress", "egress"):
            left += [line for line in run(host, "tc", "filter", "show", "dev", device, hook).stdout.splitlines() if "mirred" in line]
    left += [line for line in started(host, "ip", "-o", "link").splitlines() if re.search(r"\bovt[0-9a-f]{10}", line)]
    return left


def tc_tapped():
    """A virtual tap on a Linux bridge: counted to the packet, into an interface and into VXLAN."""
    started("hv-3", "sh", "-c", "ip link add ids0 type veth peer name ids1 && ip link set ids1 up && ip link set ids0 up mtu 1600 && sysctl -qw net.ipv6.conf.ids0.disable_ipv6=1 net.ipv6.conf.ids1.disable_ipv6=1")
    judges = {"port:ids0": Tcpdump("hv-3", "ids1"), f"vxlan://{TOOL}?vni=77": Tcpdump("mon", "eth0", "udp", "port", "4789", "and", "src", "10.0.0.3")}
    own = Tcpdump("hv-3", "tap-legacy")
    run_of = {to: Mirror("legacy", to, host="hv-3") for to in judges}
    for to, mirror in run_of.items():
        check(f"{to}: by TCX, as the switch is no Open vSwitch", "TCX" in mirror.err(), mirror.err())
    sent = [traffic("box", "legacy", "--udp", "200pps", "--count", "150"), traffic("legacy", "box", "--udp", "200pps", "--count", "50", "--port", "5002")]
    check("the lab's traffic itself lost nothing", all(s["sent"] == s["distinct"] for s in sent), sent)
    equal("mirror list has them", sorted(mirror["to"] for mirror in mirrors("hv-3")), sorted(run_of))
    ended = time.time_ns()
    frames = own.finish()
    for to, mirror in run_of.items():
        status, report = mirror.finish()
        seen = judges[to].finish()
        inside = [p.data[50:] if to.startswith("vxlan") else p.data for p in seen.packets]
        equal(f"{to}: exit status 0", status, 0)
        equal(f"{to}: as many at the tool as the kernel has copied, none failed", len(inside), report["copied"]["packets"])
        equal(f"{to}: none could not be sent", report["copied"]["failed"], 0)
        equal(f"{to}: bytes agree", sum(map(len, inside)), report["copied"]["bytes"])
        equal(f"{to}: the VM's datagrams, each once", sum(b"acme:" in f or b"charlie:" in f for f in inside), 200)
        wanted = collections.Counter(p.data for p in frames.packets if b"acme:" in p.data or b"charlie:" in p.data)
        same_frames(f"{to}: byte for byte what passes the VM's port", collections.Counter(f for f in inside if b"acme:" in f or b"charlie:" in f), wanted)
        if to.startswith("vxlan"):
            check(f"{to}: tshark decodes it", {row[0] for row in tshark(judges[to].file, fields=("vxlan.vni",))} == {"77"})
    equal("nothing is left at the port", taps_left("hv-3", "tap-legacy"), [])
    nothing_left("taps")


def tc_expression():
    """With an expression it is a filter of traffic control; others' filters are not disturbed."""
    started("hv-3", "sh", "-c", "tc qdisc add dev tap-legacy clsact && tc filter add dev tap-legacy ingress prio 7 protocol all u32 match u32 0 0 flowid 1:1")
    before = started("hv-3", "tc", "filter", "show", "dev", "tap-legacy", "ingress")
    judge = Tcpdump("hv-3", "ids1")
    mirror = Mirror("legacy", "port:ids0", "--means", "tc", "udp port 5002", host="hv-3", await_start=False)
    mirror.wait()
    check("an expression that the kernel cannot decide exactly is refused", "--allow-more" in mirror.err() or "more than the expression wants" in mirror.err(), mirror.err())
    mirror = Mirror("legacy", "port:ids0", "--means", "tc", "--allow-more", "udp port 5002", host="hv-3")
    check("by a filter", "mirred" in mirror.err(), mirror.err())
    sent = traffic("box", "legacy", "--udp", "200pps", "--count", "80", "--port", "5002")
    traffic("box", "legacy", "--udp", "200pps", "--count", "60", "--port", "5003")
    status, report = mirror.finish()
    seen = judge.finish()
    equal("the wanted datagrams, each once", sum(b"acme:" in p.data for p in seen.packets), sent["sent"])
    equal("as many as the kernel has copied", len(seen.packets), report["copied"]["packets"])
    equal("exit status 0", status, 0)
    equal("the other's filter is as it was", started("hv-3", "tc", "filter", "show", "dev", "tap-legacy", "ingress"), before)
    started("hv-3", "tc", "qdisc", "del", "dev", "tap-legacy", "clsact")
    nothing_left("expression")


def tc_killed():
    """Whatever kills the watcher: a TCX link is gone with it, a filter is removed by its handle."""
    load = Traffic("box", "legacy", "--udp", "500pps", "--count", "4000")
    for what, words in (("TCX", ()), ("filter", ("--allow-more", "udp"))):
        judge = Tcpdump("hv-3", "ids1")
        mirror = Mirror("legacy", "port:ids0", *words, host="hv-3")
        time.sleep(0.3)
        pids = (*mirror.children(), mirror.pid())
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        killed = time.time_ns()
        mirror.wait()
        time.sleep(0.3)
        if what == "filter":
            check("killed with its guard, a filter goes on", len(taps_left("hv-3", "tap-legacy")) == 3, taps_left("hv-3", "tap-legacy"))
        done = overtap("hv-3", "mirror", "list")
        reaped = time.time_ns()
        check(f"{what}: the next command removes it and says so", f"removed mirror {mirror.id}" in done.stderr, done.stderr)
        equal(f"{what}: nothing is left at the port", taps_left("hv-3", "tap-legacy"), [])
        time.sleep(0.4)
        times = arrivals(judge.finish())
        check(f"{what}: it did mirror the load", len(times) > 50, len(times))
        since = killed if what == "TCX" else reaped
        equal(f"{what}: nothing arrives 100 ms after that", [at for at in times if at > since + 100 * 10**6], [])
    mirror = Mirror("legacy", f"vxlan://{TOOL}?vni=78", host="hv-3")
    mirror.send(signal.SIGKILL)
    mirror.wait()
    check("killed: its guard removes the tunnel's device", until(lambda: not taps_left("hv-3", "tap-legacy"), 5), taps_left("hv-3", "tap-legacy"))
    until(lambda: not os.listdir(os.path.join(os.environ["OVERTAP_STATE_DIR"], "mirrors")), 2)
    load.stop()
    nothing_left("taps killed")


def tc_follows():
    """A virtual tap of several VMs follows them; what is removed under load stops at once."""
    load = Traffic("box", "legacy", "--udp", "500pps", "--count", "5000")
    judge = Tcpdump("hv-3", "ids1")
    mirror = Mirror("legacy,box", "port:ids0", host="hv-3")
    time.sleep(0.3)
    done = overtap("hv-3", "mirror", "remove", mirror.id)
    removed = time.time_ns()
    equal("remove says so", (done.returncode, mirror.wait()), (0, 0))
    time.sleep(0.4)
    times = arrivals(judge.finish())
    check("each of the two ports gave its copy", len(times) > 150 and len(times) % 2 < 2, len(times))
    equal("nothing arrives 100 ms after it was removed", [at for at in times if at > removed + 100 * 10**6], [])
    mirror = Mirror("legacy,box", "port:ids0", host="hv-3")
    started("hv-3", "ip", "link", "del", "tap-box")
    check("a port that is gone is not mirrored", until(lambda: "mirrors legacy" in mirror.err(), 5), mirror.err())
    status, report = mirror.finish()
    equal("it ends well", status, 0)
    equal("nothing is left at the port", taps_left("hv-3", "tap-legacy"), [])
    load.stop()
    nothing_left("taps follow")


if __name__ == "__main__":
    chapters(
        set_up, ovs_encapsulations, ovs_span_rspan, ovs_removed_under_load, ovs_killed, ovs_refused, ovs_follows, ovn, tools,
        tc_tapped, tc_expression, tc_killed, tc_follows,
    )
