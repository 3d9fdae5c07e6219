"""What every end-to-end test needs: checks, hosts of the lab, overtap in them, and captures read anew.

The reader of captures is this file's own, so that overtap's files are judged by somebody else's code;
tshark, capinfos and tcpdump judge them too. Runs inside a lab (`lab run -- e2e/overlay.py`).
"""
import collections
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

LAB_DIR = os.environ.get("LAB_DIR", "")
OVERTAP = os.environ.get("OVERTAP_PROGRAM", "overtap")
HERE = os.path.dirname(os.path.abspath(__file__))
WORK = os.path.join(LAB_DIR, "e2e")

# --- checks -----------------------------------------------------------------------------------


def check(sentence, condition, detail=""):
    """One line for one check; `detail` is printed when it fails."""
    if condition:
        print(f"ok   {sentence}", flush=True)
    else:
        detail = str(detail).replace("\n", "\n       ")[:1500]
        print(f"FAIL {sentence}" + (f"\n       {detail}" if detail else ""), flush=True)
    return bool(condition)


def equal(sentence, got, wanted):
    return check(sentence, got == wanted, f"got {got!r}, want {wanted!r}")


def until(condition, seconds=10.0, step=0.02):
    """Waits until `condition()` is true, and returns its value; the last one when time is up."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(step)


def chapters(*functions):
    """Runs tests one after the other; one that breaks is one failed check, the others still run.

    Words on the command line choose among them by name.
    """
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(WORK)
    os.environ["OVERTAP_STATE_DIR"] = os.path.join(LAB_DIR, "state")
    chosen = sys.argv[1:]
    for function in functions:
        if chosen and function.__name__ not in (*chosen, "set_up"):
            continue
        began = time.monotonic()
        print(f"-- {function.__doc__.splitlines()[0]}", flush=True)
        try:
            function()
        except Exception as error:  # noqa: BLE001: whatever it is, the other tests shall run
            import traceback

            check(f"{function.__name__} runs to its end", False, traceback.format_exc() or error)
        for process in Process.running[:]:
            process.kill()
        print(f"-- {time.monotonic() - began:.1f} s", flush=True)


# --- the lab ----------------------------------------------------------------------------------


def lab(*words, timeout=120):
    """A command of the lab; its standard output."""
    done = subprocess.run(["lab", *map(str, words)], capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise RuntimeError(f"lab {' '.join(map(str, words))}: {done.stderr}{done.stdout}")
    return done.stdout


def enter(host):
    """The words that lead into a host of the lab."""
    with open(f"{LAB_DIR}/pids/init-{host}") as record:
        pid = record.read().split()[0]
    return ["nsenter", "-t", pid, "--net", "--mount", "--pid", "--uts", "--ipc", f"--wdns={os.getcwd()}", "--"]


def enter_machine(host, machine):
    """The words that lead into a machine, a network namespace, on a host."""
    pid = run(host, "cat", f"/run/lab/{machine}.pid").stdout.strip()
    return [*enter(host), "nsenter", "-t", pid, "--net", "--uts", f"--wdns={os.getcwd()}", "--"]


def run(host, *words, prefix=None, timeout=60, stdin=None):
    """Runs a command in a host to its end."""
    words = [*(prefix or enter(host)), *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=timeout, input=stdin)


def started(host, *words):
    """Runs a command that must succeed; its output without the last newline."""
    done = run(host, *words)
    if done.returncode != 0:
        raise RuntimeError(f"{words} on {host}: {done.stderr}")
    return done.stdout.strip()


class Process:
    """A process in a host, running beside the test. Its output is in two files."""

    running = []

    def __init__(self, host, *words, prefix=None, stdout=None, stdin=subprocess.DEVNULL):
        Process.number = getattr(Process, "number", 0) + 1
        self.host = host
        self.path = f"{WORK}/process-{Process.number}"
        out = stdout or open(f"{self.path}.out", "wb")
        with open(f"{self.path}.err", "wb") as err:
            words = [*(prefix or enter(host)), *map(str, words)]
            self.popen = subprocess.Popen(words, stdout=out, stderr=err, stdin=stdin)
        if stdout is None:
            out.close()
        Process.running.append(self)

    def pid(self):
        """The process behind the chain of nsenter, as seen from here."""

        def innermost():
            pid = self.popen.pid
            while True:
                try:
                    with open(f"/proc/{pid}/comm") as comm:
                        if comm.read().strip() not in ("nsenter", "setpriv", "python3", "sh"):
                            return pid
                    with open(f"/proc/{pid}/task/{pid}/children") as children:
                        pid = int(children.read().split()[0])
                except (OSError, IndexError):
                    return None

        pid = until(innermost, 5)
        if pid is None:
            raise RuntimeError(f"{self.popen.args}: it has ended: {self.err()}")
        return pid

    def children(self):
        pid = self.pid()
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return [int(child) for child in children.read().split()]

    def out(self):
        with open(f"{self.path}.out", errors="replace") as file:
            return file.read()

    def err(self):
        with open(f"{self.path}.err", errors="replace") as file:
            return file.read()

    def send(self, number):
        os.kill(self.pid(), number)

    def wait(self, seconds=20):
        """Its exit status, negative for a signal."""
        try:
            status = self.popen.wait(seconds)
        finally:
            if self.popen.returncode is not None and self in Process.running:
                Process.running.remove(self)
        return status

    def stop(self, number=signal.SIGINT, seconds=20):
        if self.popen.poll() is None:
            self.send(number)
        return self.wait(seconds)

    def is_running(self):
        return self.popen.poll() is None

    def kill(self):
        if self.popen.poll() is None:
            try:
                os.kill(self.pid(), signal.SIGKILL)
            except (OSError, RuntimeError):
                pass
            self.popen.kill()
        self.popen.wait(5)
        if self in Process.running:
            Process.running.remove(self)


class Tcpdump(Process):
    """tcpdump writing a file: the judge at the same place."""

    def __init__(self, host, interface, *words, prefix=None):
        self.file = f"{WORK}/tcpdump-{getattr(Process, 'number', 0) + 1}.pcap"
        super().__init__(
            host, "tcpdump", "-Z", "root", "-i", interface, "-w", self.file, "-U", "-B", "65536", "-s", "0", "--immediate-mode", *words,
            prefix=prefix,
        )
        if not until(lambda: "listening on" in self.err()):
            raise RuntimeError(f"tcpdump does not start: {self.err()}")

    def finish(self):
        """Its packets, once it has written all."""
        self.stop()
        counts = dict((what, int(n)) for n, what in re.findall(r"(\d+) packets (captured|received by filter|dropped by kernel)", self.err()))
        capture = Capture(self.file)
        if counts.get("dropped by kernel"):
            raise RuntimeError(f"tcpdump lost packets: {self.err()}")
        return capture


# --- overtap ----------------------------------------------------------------------------------


def overtap(host, *words, prefix=None, timeout=60):
    return run(host, OVERTAP, *words, prefix=prefix, timeout=timeout)


def find(host, *words):
    """`overtap find --output json`, read."""
    done = overtap(host, "find", "--output", "json", *words)
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"find {words} on {host}: exit {done.returncode}: {done.stdout}{done.stderr}") from None


def names(host, *words):
    """Names of the machines that `find` finds, in order."""
    return sorted(machine["name"] for machine in find(host, *words)["machines"])


class Overtap(Process):
    """`overtap capture`, running beside the test."""

    def __init__(self, host, vm, *words, file=None, prefix=None, await_start=True, **more):
        self.file = file or f"{WORK}/overtap-{getattr(Process, 'number', 0) + 1}.pcapng"
        super().__init__(
            host, OVERTAP, "capture", vm, *words, "-w", self.file, "--output", "json", prefix=prefix, **more
        )
        if await_start and not until(lambda: "listening on" in self.err() or not self.is_running(), 15):
            raise RuntimeError(f"capture {vm} does not start: {self.err()}")

    def engine(self):
        return self.children()[0]

    def receipt(self):
        text = self.out() if self.file != "-" else self.err()
        try:
            return json.loads(text[text.index("{\n"):])
        except ValueError:
            raise RuntimeError(f"{self.popen.args}: no receipt: {text}{self.err()}") from None

    def finish(self, seconds=20):
        """Ends it as Ctrl-C would: exit status, receipt, file."""
        status = self.stop(seconds=seconds)
        return status, self.receipt(), Capture(self.file)


def adds_up(receipt):
    """Whether every account of a receipt, and their total, adds up to the packet."""
    drops = ("kernel_dropped", "not_mirrored", "other_tenant", "undecidable", "not_selected", "after_limit", "queue_full", "sink_failed", "written")
    accounts = [receipt["total"], *receipt["interfaces"]]
    each = all(account["received"] == sum(account[drop] for drop in drops) for account in accounts)
    total = all(
        receipt["total"][key] == sum(interface[key] for interface in receipt["interfaces"]) for key in ("received", *drops)
    )
    files = receipt["deleted_files"] > 0 or receipt["total"]["written"] == sum(file["packets"] for file in receipt["files"])
    return each and total and files and receipt["unaccounted"] == 0


def honest(what, status, receipt, capture):
    """What has to be so for every capture that lost nothing."""
    total = receipt["total"]
    check(f"{what}: exit status 0", status == 0, f"{status}: {receipt['end']}")
    check(f"{what}: the receipt adds up to the packet", adds_up(receipt), json.dumps(receipt["interfaces"]))
    check(
        f"{what}: the receipt says what the file holds", total["written"] == len(capture.packets) and receipt["lost"] == 0,
        f"receipt {total}, file {len(capture.packets)}, lost {receipt['lost']}",
    )


# --- traffic ----------------------------------------------------------------------------------


class Traffic:
    """`lab traffic`, several at a time."""

    def __init__(self, source, target, *words, name=None):
        Traffic.number = getattr(Traffic, "number", 0) + 1
        self.name = name or f"e2e-{Traffic.number}"
        lab("traffic", "start", source, target, *words, "--name", self.name)

    def wait(self):
        return json.loads(lab("traffic", "wait", self.name, timeout=200))

    def stop(self):
        return json.loads(lab("traffic", "stop", self.name, timeout=200))


def traffic(source, target, *words):
    return Traffic(source, target, *words).wait()


SEND_FRAMES = """
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
gap = float(sys.argv[2])
for line in sys.stdin:
    s.send(bytes.fromhex(line))
    if gap: time.sleep(gap)
"""


def send_frames(prefix, interface, frames, gap_s=0.0):
    """Sends frames as they are out of an interface of a machine."""
    lines = "".join(frame.hex() + "\n" for frame in frames)
    done = run(None, sys.executable, "-c", SEND_FRAMES, interface, gap_s, prefix=prefix, stdin=lines)
    if done.returncode != 0:
        raise RuntimeError(f"sending frames: {done.stderr}")


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def udp_frame(source, target, source_ip, target_ip, payload, port=5001, tags=b""):
    """A whole frame with right checksums (that of UDP left out, which IPv4 allows)."""
    import socket

    udp = struct.pack(">HHHH", port, port, 8 + len(payload), 0) + payload
    ips = socket.inet_aton(source_ip) + socket.inet_aton(target_ip)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 7, 0, 64, 17, 0) + ips
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + header[12:]
    frame = mac(target) + mac(source) + tags + b"\x08\x00" + header + udp
    return frame.ljust(60, b"\0")


# --- captures ---------------------------------------------------------------------------------

Packet = collections.namedtuple("Packet", "time interface data wire_len direction flags dropped comments")


class Damaged(Exception):
    """A capture file that is not as it should be."""


class Capture:
    """A pcapng or pcap file, read strictly: what is not as the format says raises `Damaged`."""

    def __init__(self, path):
        self.path = path
        self.packets, self.interfaces, self.statistics, self.names, self.comments = [], [], [], {}, []
        self.is_cut = False
        with open(path, "rb") as file:
            data = file.read()
        if data[:4] == b"\x0a\x0d\x0d\x0a":
            self._pcapng(data)
        else:
            self._pcap(data)

    def frames(self):
        """How often each frame is there, by its bytes."""
        return collections.Counter(packet.data for packet in self.packets)

    def holding(self, marker):
        return [packet for packet in self.packets if marker in packet.data]

    def _pcap(self, data):
        magic, _, _, _, _, _, link = struct.unpack_from("<IHHiIII", data)
        if magic not in (0xA1B2C3D4, 0xA1B23C4D) or link != 1:
            raise Damaged(f"{self.path}: magic {magic:x}, link type {link}")
        unit = 1 if magic == 0xA1B23C4D else 1000
        at = 24
        while at < len(data):
            seconds, fraction, kept, wire_len = struct.unpack_from("<IIII", data, at)
            frame = data[at + 16:at + 16 + kept]
            self.packets.append(Packet(seconds * 10**9 + fraction * unit, 0, frame, wire_len, None, 0, None, []))
            at += 16 + kept

    def _pcapng(self, data):
        at = 0
        while at < len(data):
            if len(data) - at < 12:
                self.is_cut = True
                return
            kind, length = struct.unpack_from("<II", data, at)
            if length % 4 or length < 12:
                raise Damaged(f"{self.path}: block of length {length} at {at}")
            if at + length > len(data):
                self.is_cut = True
                return
            if struct.unpack_from("<I", data, at + length - 4)[0] != length:
                raise Damaged(f"{self.path}: the lengths of the block at {at} differ")
            self._block(kind, data[at + 8:at + length - 4], at)
            at += length

    def _block(self, kind, body, at):
        if kind == 0x0A0D0D0A:
            magic, major, minor, _ = struct.unpack_from("<IHHq", body)
            if at or magic != 0x1A2B3C4D or (major, minor) != (1, 0):
                raise Damaged(f"{self.path}: section header at {at}: {magic:x} {major}.{minor}")
            self.section = options(body[16:])
            self.comments += texts(self.section, 1)
        elif kind == 1:
            link, _, snaplen = struct.unpack_from("<HHI", body)
            if link != 1:
                raise Damaged(f"{self.path}: link type {link}")
            said = options(body[8:])
            self.interfaces.append({
                "name": first_text(said, 2), "description": first_text(said, 3), "mac": said.get(6, [b""])[0],
                "tsresol": said.get(9, [b"\x06"])[0][0], "filter": said.get(11, [b"\0"])[0], "snaplen": snaplen, "options": said,
            })
        elif kind == 6:
            number, high, low, kept, wire_len = struct.unpack_from("<IIIII", body)
            if number >= len(self.interfaces) or kept > wire_len:
                raise Damaged(f"{self.path}: packet at {at}: interface {number}, {kept} of {wire_len} bytes")
            said = options(body[20 + (kept + 3 & ~3):])
            flags = struct.unpack("<I", said[2][0])[0] if 2 in said else 0
            dropped = struct.unpack("<Q", said[4][0])[0] if 4 in said else None
            unit = 10 ** (9 - self.interfaces[number]["tsresol"])
            comments = texts(said, 1)
            self.comments += comments
            self.packets.append(Packet(
                ((high << 32) | low) * unit, number, body[20:20 + kept], wire_len,
                {0: None, 1: "in", 2: "out"}[flags & 3], flags, dropped, comments,
            ))
        elif kind == 5:
            number = struct.unpack_from("<I", body)[0]
            said = options(body[12:])
            self.statistics.append({
                "interface": number, "options": said, "comments": texts(said, 1),
                **{key: struct.unpack("<Q", said[code][0])[0] if code in said else None
                   for key, code in (("received", 4), ("dropped", 5), ("accepted", 6), ("os_dropped", 7), ("delivered", 8))},
            })
            self.comments += texts(said, 1)
        elif kind == 4:
            self._names(body)
        else:
            raise Damaged(f"{self.path}: block of kind {kind:x} at {at}")

    def _names(self, body):
        at = 0
        while True:
            kind, length = struct.unpack_from("<HH", body, at)
            if kind == 0:
                return
            value = body[at + 4:at + 4 + length]
            size = {1: 4, 2: 16, 3: 6, 4: 8}[kind]
            self.names[value[:size]] = value[size:].split(b"\0")[0].decode()
            at += 4 + (length + 3 & ~3)


def options(data):
    """The options of a pcapng block: code to values."""
    found = collections.defaultdict(list)
    at = 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from("<HH", data, at)
        if code == 0:
            break
        found[code].append(data[at + 4:at + 4 + length])
        at += 4 + (length + 3 & ~3)
    return dict(found)


def texts(said, code):
    return [value.decode() for value in said.get(code, [])]


def first_text(said, code):
    return (texts(said, code) or [""])[0]


def tshark(path, *words, fields=()):
    """What tshark says about a file: lines, or rows of fields. Anything on standard error counts as a warning."""
    asked = ["-T", "fields"] + [word for field in fields for word in ("-e", field)] if fields else []
    done = subprocess.run(["tshark", "-n", "-r", path, *words, *asked], capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    noise = [line for line in done.stderr.splitlines() if line and "Running as user" not in line]
    if done.returncode or noise:
        raise Damaged(f"tshark -r {path}: exit {done.returncode}: {done.stderr}")
    return [line.split("\t") for line in lines] if fields else lines


def complaints(path):
    """What tshark, capinfos and tcpdump complain about in a file; empty when all of them read it whole."""
    found = []
    for words in (["tshark", "-n", "-r", path], ["capinfos", "-c", "-M", path], ["tcpdump", "-n", "-r", path]):
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=60)
        noise = [
            line for line in done.stderr.splitlines()
            if line and "Running as user" not in line and not line.startswith("reading from file")
        ]
        if done.returncode or noise:
            found.append(f"{words[0]}: exit {done.returncode}: {noise}")
    return found


def difference(left, right, limit=3):
    """Two multisets of frames, in a few words."""
    only_left, only_right = left - right, right - left
    show = lambda frames: [f"{count}x {len(frame)}B {frame[:64].hex()}" for frame, count in list(frames.items())[:limit]]
    return (
        f"{left.total()} and {right.total()} frames; {only_left.total()} only in the first {show(only_left)}, "
        f"{only_right.total()} only in the second {show(only_right)}"
    )


def same_frames(sentence, left, right):
    return check(sentence, left == right, difference(left, right))


def sentence_of(done):
    """The last line of what a program complained."""
    text = done.stderr if hasattr(done, "stderr") else done.err()
    return text.strip()


def packet_sockets(host):
    """How many packet sockets the network of a host holds."""
    return len(started(host, "cat", "/proc/net/packet").splitlines()) - 1
