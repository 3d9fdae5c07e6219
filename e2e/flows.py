#!/usr/bin/env python3
"""overtap collect in shape overlay: Open vSwitch of two hosts exports everything it sees, in three ways."""
import collections
import json
import math
import os
import re
import shutil
import subprocess
import time

from harness import *
from overlay import taps

COLLECTOR = "10.0.0.9"
# Machines of two tenants whose addresses are their own; bravo's are acme's once more, and what an
# exporter of addresses says of them nobody can tell apart.
SITE = """
[[vms]]
name = "web"
tenant = "acme"
host = "hv-1"
vnics = [{ mac = "52:54:00:00:07:0a", ips = ["10.0.7.10"] }]
[[vms]]
name = "cache"
tenant = "acme"
host = "hv-1"
vnics = [{ mac = "52:54:00:00:07:1e", ips = ["10.0.7.30"] }]
[[vms]]
name = "probe"
tenant = "acme"
host = "hv-2"
vnics = [{ mac = "52:54:00:00:07:28", ips = ["10.0.7.40"] }]
[[vms]]
name = "mail"
tenant = "acme"
host = "hv-1"
vnics = [{ mac = "52:54:00:00:14:0e", ips = ["192.168.20.14"] }]
[[vms]]
name = "app"
tenant = "charlie"
host = "hv-1"
vnics = [{ mac = "52:54:00:00:65:11", ips = ["172.16.101.17"] }]
[[vms]]
name = "legacy"
tenant = "charlie"
host = "hv-3"
vnics = [{ mac = "52:54:00:00:65:1f", ips = ["172.16.101.31"] }]
"""
# From, to, where they are: which split their traffic is.
TALKS = (
    ("cache", "web", "intra-host"),
    ("probe", "cache", "inter-host"),
    ("app", "legacy", "inter-host"),
    ("mail", "printer", "vm-to-physical"),
)
PACKETS, SIZE = 1500, 1000
HOST_OF = {"cache": "hv-1", "probe": "hv-2", "app": "hv-1", "mail": "hv-1"}


def sent_bytes(machine):
    """Bytes of IP packets that a machine has sent, as its own kernel counts them."""
    text = run(None, "cat", "/proc/net/dev", prefix=enter_machine(HOST_OF[machine], machine)).stdout
    total = 0
    for line in text.splitlines()[2:]:
        name, numbers = line.split(":")
        if name.strip() != "lo":
            numbers = [int(number) for number in numbers.split()]
            # Sent bytes are frames without their check sum: 14 bytes are Ethernet's.
            total += numbers[8] - 14 * numbers[9]
    return total


def export(host, *, netflow=False, sflow=0, ipfix=False):
    """Makes both bridges of a host export; without a kind, none does any more."""
    for bridge in ("br-int", "br-phy"):
        started(host, "ovs-vsctl", "clear", "Bridge", bridge, "netflow", "--", "clear", "Bridge", bridge, "sflow", "--",
                "clear", "Bridge", bridge, "ipfix")
        number = {"hv-1": 10, "hv-2": 20}[host] + (bridge == "br-phy")
        if netflow:
            started(host, "ovs-vsctl", "set", "Bridge", bridge, "netflow=@n", "--", "--id=@n", "create", "NetFlow",
                    f'targets="{COLLECTOR}:2055"', "active-timeout=3", f"engine_id={number}")
        if sflow:
            started(host, "ovs-vsctl", "set", "Bridge", bridge, "sflow=@s", "--", "--id=@s", "create", "sFlow", "agent=lo",
                    f'target="{COLLECTOR}:6343"', "header=128", f"sampling={sflow}", "polling=2")
        if ipfix:
            started(host, "ovs-vsctl", "set", "Bridge", bridge, "ipfix=@i", "--", "--id=@i", "create", "IPFIX",
                    f'targets="{COLLECTOR}:4739"', f"obs_domain_id={number}", f"obs_point_id={number}", "sampling=1",
                    "cache_active_timeout=3", "cache_max_flows=1000")


class Collect(Process):
    """`overtap collect`, with flows in a file."""

    def __init__(self, name, *words):
        self.flows, self.state = f"{WORK}/{name}.jsonl", f"{WORK}/{name}-state"
        site = f"{WORK}/site.toml"
        with open(site, "w") as file:
            file.write(SITE)
        super().__init__("mon", OVERTAP, "collect", "--listen", "2055", "--listen", "6343", "--listen", "4739",
                         # Longer than the exporters' active time-outs of 3 s, as the reference asks.
                         "--inventory", site, "--state", self.state, "--settle", "5s", *(words or ("-w", self.flows)))
        if not until(lambda: self.err().count("listening at") == 3, 10):
            raise RuntimeError(f"collect does not start: {self.err()}")

    def rows(self):
        with open(self.flows) as file:
            return [json.loads(line) for line in file]

    def exporters(self):
        return json.loads(overtap("mon", "exporters", "--state", self.state, "--output", "json").stdout)["exporters"]


def counted(rows):
    """Bytes that count, by who sent them to whom, and by split."""
    pairs, splits = collections.Counter(), collections.Counter()
    for row in rows:
        ends = [row[f"{side}_vm"] or row[f"{side}_ip"] for side in ("client", "server")]
        for (one, other), side in ((ends, "client"), (ends[::-1], "server")):
            pairs[one, other] += row[f"{side}_counted_octets"]
        if not row["is_carrier"]:
            splits[row["split"]] += row["client_counted_octets"] + row["server_counted_octets"]
    return pairs, splits


def near(sentence, got, wanted, share):
    return check(f"{sentence} (within {share:.1%})", abs(got - wanted) <= share * wanted, f"got {got}, want {wanted}")


def talk(*, rate="300pps"):
    """Everybody talks; the bytes that each sender's kernel has counted."""
    before = {source: sent_bytes(source) for source in HOST_OF}
    streams = [Traffic(source, target, "--udp", rate, "--count", PACKETS, "--size", SIZE, "--port", 7000 + number)
               for number, (source, target, _) in enumerate(TALKS)]
    for stream in streams:
        sent = stream.wait()
        check(f"the traffic itself lost nothing ({stream.name})", sent["sent"] == sent["distinct"] == PACKETS, sent)
    return {source: sent_bytes(source) - before[source] for source in HOST_OF}


def label(machine):
    return {"printer": "192.168.20.100", "app": "charlie/app", "legacy": "charlie/legacy"}.get(machine, f"acme/{machine}")


def judge(rows, sent, share):
    """The bytes of each pair are those its sender counted, and so are the splits."""
    pairs, splits = counted(rows)
    wanted = collections.Counter()
    for source, target, split in TALKS:
        wanted[split] += sent[source]
        near(f"{source} to {target}: the bytes are those that {source} has sent", pairs[label(source), label(target)], sent[source], share)
    for split, octets in wanted.items():
        near(f"{split}: the bytes are those of its talks", splits[split], octets, share + 0.002)


def unsampled():
    """NetFlow and IPFIX of four bridges: eight points and more tell of every flow, and it counts once."""
    collect = Collect("unsampled")
    for host in ("hv-1", "hv-2"):
        export(host, netflow=True, ipfix=True)
    time.sleep(1)
    judge_at_the_tap = Tcpdump("hv-1", taps()["cache"])
    sent = talk()
    judge_at_the_tap.finish()
    # The caches of the exporters are empty once nothing comes any more.
    time.sleep(7)
    for host in ("hv-1", "hv-2"):
        export(host)
    # One more exporter tells of whole flows when all is over.
    if check("softflowd is there", shutil.which("softflowd")):
        started("hv-1", "softflowd", "-r", judge_at_the_tap.file, "-n", f"{COLLECTOR}:2055", "-v", "9", "-a", "-d", "-c", "none",
                "-p", f"{WORK}/softflowd.pid")
    time.sleep(1.5)
    status = collect.stop()
    rows = collect.rows()
    equal("collect ends as Ctrl-C asks", status, 0)
    protocols = collections.Counter(exporter["protocol"] for exporter in collect.exporters())
    check("exporters: NetFlow and IPFIX of both hosts, and softflowd",
          protocols["netflow5"] >= 2 and protocols["ipfix"] >= 4 and protocols["netflow9"] == 1, protocols)
    check("nothing was malformed, or lost on the way",
          all(exporter["malformed"] == 0 and exporter["lost"] == 0 for exporter in collect.exporters()), collect.exporters())
    raw = sum(row["client_octets"] + row["server_octets"] for row in rows if "acme/probe" in (row["client_vm"], row["server_vm"]))
    check("several points have told of the talk between the hosts", raw > 2.5 * sent["probe"], (raw, sent))
    judge(rows, sent, 0.01)


def sampled():
    """sFlow of four bridges, one packet in four: right within what sampling can be."""
    collect = Collect("sampled")
    for host in ("hv-1", "hv-2"):
        export(host, sflow=4)
    time.sleep(1)
    sent = talk()
    time.sleep(3)
    for host in ("hv-1", "hv-2"):
        export(host)
    time.sleep(1)
    collect.stop()
    # One in four of 1500: the standard deviation is 4.5 %.
    judge(collect.rows(), sent, 0.18)


def restart():
    """A collector that is killed and started again goes on decoding at once."""
    collect = Collect("restart")
    export("hv-1", ipfix=True)
    talk()
    check("its state is written", until(lambda: any(e["templates_known"] > 80 for e in collect.exporters()), 10))
    collect.kill()
    again = Collect("restart")
    sent = talk()
    time.sleep(6)
    export("hv-1")
    again.stop()
    missing = sum(exporter["sets_without_template"] for exporter in again.exporters())
    check("no template is missing, though none was sent again", missing == 0, again.err())
    pairs, _ = counted(again.rows())
    check("flows are decoded again", pairs["acme/cache", "acme/web"] >= 0.9 * sent["cache"], (pairs, sent))


def through():
    """The controller, its HTTP API and its page say of the collector's store what `overtap top` says of it, and what the guests have counted."""
    store = f"{WORK}/flows"
    collect = Collect("through", "--store", store)
    web, token = "127.0.0.1:7480", {}
    controller = Process("mon", OVERTAP, "serve", "--listen", f"{COLLECTOR}:7443", "--web", web, "--dir", f"{WORK}/controller",
                         "--flows", store, "--exporters", collect.state)
    if not until(lambda: "listening on" in controller.err() and "overtap login" in controller.err(), 10):
        raise RuntimeError(f"the controller does not start: {controller.err()}")

    def far(user, *words):
        os.environ["OVERTAP_LOGIN"] = f"{WORK}/login-{user}.json"
        done = overtap("mon", *words)
        if done.returncode != 0:
            raise RuntimeError(f"{words} as {user}: {done.stderr}")
        return done.stdout

    def log_in(user, text):
        far(user, *re.search(r"overtap (login \S+ --ca \S+ --token (\S+))", text)[1].split())
        token[user] = json.load(open(f"{WORK}/login-{user}.json"))["token"]

    def asked(user, path):
        answer = run("mon", "curl", "-sS", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {token[user]}", f"http://{web}/api/v1/{path}")
        body, _, status = answer.stdout.rpartition("\n")
        return int(status), json.loads(body)

    log_in("admin", controller.err())
    far("admin", "grants", "add", "admin", "--machine", "all")
    far("admin", "users", "add", "amy", "--role", "viewer")
    log_in("amy", far("admin", "tokens", "add", "amy"))
    check("through: who was granted nothing is refused", asked("amy", "traffic/top")[0] == 403, asked("amy", "traffic/top"))
    far("admin", "grants", "add", "amy", "--machine", "tenant:acme")
    for host in ("hv-1", "hv-2"):
        export(host, ipfix=True)
    time.sleep(1)
    sent = talk()
    time.sleep(7)
    for host in ("hv-1", "hv-2"):
        export(host)
    # What was settled waits for 10 s until it is a file.
    wanted = sum(sent.values())
    def totals():
        status, answer = asked("admin", "traffic/split")
        return answer["totals"]["octets"] if status == 200 else 0
    check("through: what was said is there", until(lambda: totals() >= 0.99 * wanted, 40), (totals(), wanted))
    time.sleep(12)
    here = json.loads(overtap("mon", "top", "vms", "--store", store, "--top", "0", "--output", "json").stdout)
    there = json.loads(far("admin", "top", "vms", "--top", "0", "--output", "json"))
    equal("through: overtap top says the same of the store and of the controller", there, here)
    _, top = asked("admin", "traffic/top?limit=1000")
    equal("through: the API's talkers are those of overtap top", [(row["name"], row["octets"]) for row in top["items"]],
          [(row["name"], row["octets"]) for row in here["rows"]])
    flows = far("admin", "flows", "--output", "json")
    equal("through: so are the flows", flows, overtap("mon", "flows", "--store", store, "--output", "json").stdout)
    judge([json.loads(line) for line in flows.splitlines()], sent, 0.01)
    _, split = asked("admin", "traffic/split")
    for kind in ("intra-host", "inter-host", "vm-to-physical"):
        octets = sum(sent[source] for source, _, where in TALKS if where == kind)
        near(f"through: {kind}: the API's bytes are those of its talks", split["by_split"][kind.replace("-", "_")], octets, 0.012)
    _, series = asked("admin", "traffic/series?step_s=60")
    equal("through: the times add up to the whole", sum(moment["octets"] for moment in series["items"]), split["totals"]["octets"])
    _, exporters = asked("admin", "exporters")
    check("through: the exporters are there, and nothing was lost",
          len(exporters["items"]) >= 4 and all(it["protocol"] == "ipfix" and not it["lost"] and it["malformed"] == 0 for it in exporters["items"]),
          exporters)
    status, own = asked("amy", "traffic/top?limit=1000")
    names = [row["name"] for row in own["items"]]
    check("through: a tenant sees its machines and no name of another", status == 200 and "acme/web" in names and
          not any("charlie" in name for name in names), names)
    _, secret = asked("amy", "traffic/flows?filter=vm%3Dcharlie/app")
    equal("through: not even by asking for it", secret["items"], [])
    in_browser(f"http://{web}", token["admin"], here["rows"], split)
    collect.stop()
    controller.stop()


def in_browser(url, token, vms, split):
    """Somebody at the page sees the same talkers, and the flows behind the first."""
    ui = f"{os.path.dirname(os.path.dirname(os.path.realpath(__file__)))}/ui"
    if not os.path.isdir(f"{ui}/node_modules/playwright-core"):
        subprocess.run(["npm", "ci", "--no-fund", "--no-audit"], cwd=ui, check=True, capture_output=True)
    person = Process("mon", "node", f"{ui}/test/traffic-lab.mjs", url, token)
    equal("through: the browser complained of nothing, and asked no other host", (person.wait(90), person.err()), (0, ""))
    said = json.loads(person.out() or "{}")
    equal("through: the page's talkers are those of overtap top", said.get("names"), [row["name"] for row in vms][:12])
    equal("through: with their bytes", said.get("octets"), [shown(row["octets"]) for row in vms][:12])
    kinds = ("intra_host", "inter_host", "vm_to_physical")
    equal("through: and so is the split", said.get("split", [])[:3], [shown(split["by_split"][kind]) for kind in kinds])
    check("through: the first number leads to its flows", said.get("behind", 0) > 0, said)


def shown(octets):
    """Bytes as the page writes them."""
    units, value = ["B", "KB", "MB", "GB"], octets
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    digits = f"{math.floor(value + 0.5)}" if units[0] == "B" or value >= 100 else f"{value:.1f}"
    return f"{digits} {units[0]}"


if __name__ == "__main__":
    chapters(unsampled, sampled, restart, through)
