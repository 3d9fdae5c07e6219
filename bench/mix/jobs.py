"""What overtap, the floors and the peers are asked to do with a mix: shared by `run` and `check`.

A tool that has not got a job yet is said to be so, never passed over in silence.
"""

import json
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MIX = os.path.join(HERE, "target", "release", "overtap-mix")
OVERTAP = os.path.join(ROOT, "target", "release", "overtap")
FLOORS = ["copy", "dedup", "extract", "stat", "strip"]
WINDOW_US = 5000


def build_judge(folder):
    """The generator and judge, and the floors in `folder`."""
    subprocess.run(["cargo", "build", "--quiet", "--release", "--manifest-path",
                    os.path.join(HERE, "Cargo.toml")], check=True)
    for name in FLOORS:
        subprocess.run(["gcc", "-O2", "-std=gnu17", "-Wall", "-Wno-unused-function", "-o",
                        os.path.join(folder, "floor-" + name),
                        os.path.join(HERE, "floor", name + ".c")], check=True)


def build_overtap():
    subprocess.run(["cargo", "build", "--quiet", "--release", "-p", "overtap"], check=True, cwd=ROOT)


def sha256(path):
    return subprocess.run(["sha256sum", path], stdout=subprocess.PIPE, text=True,
                          check=True).stdout.split()[0]


class Mix:
    """A capture with its truth, inventory and summary."""

    def __init__(self, folder, form="pcap", size=2_000_000_000, seed=1, name=None):
        self.name = name or form
        self.folder = folder
        extension = "pcapng" if form.startswith("pcapng") else "pcap"
        self.capture = self.path(extension)
        self.truth, self.inventory = self.path("truth"), self.path("inventory.toml")
        subprocess.run([MIX, "make", folder, "--size", str(size), "--form", form, "--seed",
                        str(seed), "--name", self.name], check=True)
        with open(self.path("json")) as file:
            self.summary = json.load(file)

    def path(self, extension):
        return os.path.join(self.folder, f"{self.name}.{extension}")

    def judge(self, job, *words):
        """Whether the last of `words`, an output, is right, and a sentence about it."""
        result = subprocess.run([MIX, "judge", job, self.capture, self.truth, *words],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        text = result.stdout.strip().removeprefix("overtap-mix: ")
        return result.returncode == 0, text.removeprefix(f"{job}: ").removeprefix("WRONG: ")

    def typical_vm(self):
        """The VXLAN VM over IPv4 with the median of packets: few of all, as VMs are."""
        vms = [vm for vm in self.summary["vms"]
               if vm["carrier"] == "vxlan" and vm["tenant"] != "tenant-7"]
        return sorted(vms, key=lambda vm: vm["packets"])[len(vms) // 2]

    def some_vms(self):
        """One VM of every network: five in each tenant, all with the MACs of others."""
        seen, some = set(), []
        for vm in self.summary["vms"]:
            network = (vm["tenant"], vm["carrier"])
            if network not in seen and vm["packets"]:
                seen.add(network)
                some.append(vm)
        return some


class Overtap:
    """The program under test, as its commands are written."""

    def __init__(self, path=OVERTAP):
        self.path = path
        words = subprocess.run([path, "--help"], stdout=subprocess.PIPE, text=True).stdout
        self.commands = {line.split()[0] for line in words.splitlines()
                         if line.startswith("  ") and line.split()}

    def lacks(self, command):
        """Why `command` cannot be asked, or None."""
        return None if command in self.commands else f"this overtap has no `{command}`"

    def extract(self, inputs, inventory, output, *words):
        """`words` begin with the expression, if there is one: it follows the files."""
        inputs = [inputs] if isinstance(inputs, str) else inputs
        return [self.path, "extract", *inputs, *words, "--inventory", inventory, "-w", output]

    def vm(self, mix, vm, output, *words, capture=None):
        return self.extract(capture or mix.capture, mix.inventory, output, "--vm", vm["name"],
                            *words)

    def strip(self, mix, output, *words):
        return [self.path, "extract", mix.capture, "--strip", "-w", output, *words]

    def dedup(self, mix, output, *words):
        return self.extract(mix.capture, mix.inventory, output, f"--dedup={WINDOW_US // 1000}ms",
                            *words)

    def copy(self, mix, output):
        return [self.path, "extract", mix.capture, "-w", output]

    def tenant(self, mix, number, output):
        return self.extract(mix.capture, mix.inventory, output, f"tenant tenant-{number}")

    def stat(self, mix):
        return [self.path, "stat", mix.capture, "--output", "json", "--top", "0"]


def floor(folder, job, mix, output=None, vm=None):
    """The command of a floor."""
    program = os.path.join(folder, "floor-" + job)
    if job == "stat":
        return [program, mix.capture]
    if job == "dedup":
        return [program, mix.capture, output, mix.path("networks"), str(WINDOW_US)]
    if job == "extract":
        return [program, mix.capture, output, vm["carrier"], str(vm["number"]), str(vm["vlan"]),
                vm["mac"]]
    return [program, mix.capture, output]


def raw_offsets(vm):
    """What is typed into tcpdump for a VXLAN VM: right for IPv4 without options or a VLAN tag."""
    octets = vm["mac"].replace(":", "")
    head, tail = f"0x{octets[:8]}", f"0x{octets[8:]}"
    return (f"udp dst port 4789 and ether[46:4] >> 8 = {vm['number']} and (ether[50] & 1 != 0 or "
            f"(ether[50:4] = {head} and ether[54:2] = {tail}) or "
            f"(ether[56:4] = {head} and ether[60:2] = {tail}))")


def has(program):
    return shutil.which(program) is not None


def judge_stat(mix, command, is_overtap):
    """Whether the counts a command prints are right, and a sentence about it.

    A floor prints lines that the judge reads. Of overtap's JSON (docs/reference/stat.md) the whole is
    compared and every network, with the keys of an NVGRE subnet taken together.
    """
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, 3):
        return False, f"exit code {done.returncode}: {done.stderr.strip()}"
    if not is_overtap:
        with open(mix.path("stat"), "w") as file:
            file.write(done.stdout)
        return mix.judge("stat", file.name)
    try:
        document = json.loads(done.stdout)
        found = {("all", 0): (document["packets"], document["bytes"])}
        for row in document["networks"]:
            what = network_of(row)
            packets, count = found.get(what, (0, 0))
            found[what] = (packets + row["packets"], count + row["bytes"])
    except (ValueError, KeyError, TypeError) as error:
        return False, f"its JSON is not as the judge reads it: {error!r}"
    expected = {("all", 0): (mix.summary["packets"], mix.summary["bytes"])}
    for row in mix.summary["networks"]:
        expected[row["carrier"], row["number"]] = row["packets"], row["bytes"]
    for what in sorted(expected | found):
        if expected.get(what) != found.get(what):
            return False, f"{what}: {found.get(what)} instead of {expected.get(what)}"
    return True, f"right, {len(expected) - 1} networks and the whole"


def network_of(row):
    """What a row of `networks` counts, in the words of the mix."""
    for carrier in ("vxlan", "geneve", "gre", "nvgre", "vlan"):
        if carrier in row:
            number = row[carrier]
            is_subnet = carrier == "gre" and number > 0xffff
            return ("nvgre", number >> 8) if is_subnet else (carrier, number)
    return ("none", 0)
