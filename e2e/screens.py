#!/usr/bin/env python3
"""overtap on a full screen, in shape veth: three machines on a bridge, a real terminal, keys, and what a person reads."""
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

from harness import *

# Of Debian, also where another Python runs this.
sys.path.append("/usr/lib/python3/dist-packages")
import pyte  # noqa: E402

HOST = "left"
GUESTS = {"web": "10.7.7.1", "db": "10.7.7.2", "mon": "10.7.7.3"}
COLOURS = re.compile(rb"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|4[0-7]|9[0-7]|10[0-7]|38|48)(?:;[0-9;]*)?m")


class Screen:
    """overtap on a terminal of its own, read as a person reads it."""

    def __init__(self, *words, columns=80, rows=24, **variables):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.lock = threading.Lock()
        self.raw = b""
        self.master, self.slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.slave)
        self.sockets = packet_sockets(HOST)
        environment = {**os.environ, "TERM": "xterm-256color", **variables}
        self.popen = subprocess.Popen(
            [*enter(HOST), OVERTAP, *map(str, words)], stdin=self.slave, stdout=self.slave, stderr=self.slave, env=environment,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            with self.lock:
                self.raw += data
                self.stream.feed(data)

    def resize(self, columns, rows):
        with self.lock:
            self.screen.resize(rows, columns)
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def lines(self):
        with self.lock:
            return list(self.screen.display)

    def text(self):
        return "\n".join(line.rstrip() for line in self.lines())

    def press(self, keys):
        os.write(self.master, keys.encode())

    def shows(self, sentence, pattern, seconds=10):
        """One check: what is looked for appears in time. What matches, if it does."""
        match = until(lambda: re.search(pattern, self.text()), seconds, 0.1)
        check(sentence, match, self.text())
        return match

    def leaves(self, sentence, status=0, seconds=10):
        """One check: it has ended, the terminal is as it was, and nothing runs on."""
        try:
            got = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            got = "still running"
        after = termios.tcgetattr(self.slave)
        time.sleep(0.2)
        left, entered = self.raw.rfind(b"\x1b[?1049l"), self.raw.rfind(b"\x1b[?1049h")
        is_restored = after == self.before and left > entered and b"\x1b[?25h" in self.raw[entered:]
        is_quiet = until(lambda: packet_sockets(HOST) == self.sockets, 5)
        good = check(sentence, got == status and is_restored and is_quiet, f"status {got}, restored {is_restored}, sockets closed {is_quiet}\n{self.text()}")
        return good

    def after(self):
        """What is printed once the picture is gone."""
        return self.raw[self.raw.rfind(b"\x1b[?1049l"):].decode(errors="replace")


def inside(guest):
    return [*enter(HOST), "nsenter", f"--net=/run/netns/{guest}"]


def ping(source, target, count, size=56, interval=0.05):
    done = run(None, "ping", "-c", count, "-i", interval, "-s", size, "-W", 1, GUESTS[target], prefix=inside(source))
    if done.returncode != 0:
        raise RuntimeError(f"ping: {done.stdout}{done.stderr}")


def plug(guest, device, inner, ip, mac):
    started(HOST, "ip", "link", "add", device, "type", "veth", "peer", "name", inner, "address", mac, "netns", guest)
    started(HOST, "ip", "link", "set", device, "master", "br0", "up")
    started(HOST, "ip", "-n", guest, "addr", "add", f"{ip}/24", "dev", inner)
    started(HOST, "ip", "-n", guest, "link", "set", inner, "up")


def set_up():
    """Three machines on a bridge."""
    started(HOST, "ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
    started(HOST, "ip", "link", "set", "br0", "up")
    for number, (guest, ip) in enumerate(GUESTS.items(), 1):
        started(HOST, "ip", "netns", "add", guest)
        started(HOST, "ip", "netns", "exec", guest, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1", "net.ipv6.conf.all.disable_ipv6=1")
        plug(guest, f"tap-{guest}", "eth0", ip, f"02:00:00:00:0c:0{number}")
    for guest in GUESTS:
        for other, ip in GUESTS.items():
            if other != guest:
                run(None, "ping", "-c", 1, "-W", 2, ip, prefix=inside(guest))
    check("find sees the machines", sorted(names(HOST)) == sorted(GUESTS), find(HOST))


# --- watch ------------------------------------------------------------------------------------


def watch_screen():
    """A VM on a full screen: where it is, who talks to it, with the right counts."""
    view = Screen("watch", "web")
    view.shows("the screen says what is watched, and where", r"web +namespace, running +on left")
    view.shows("the screen says which vNIC is attached where", r"eth0 02:00:00:00:0c:01 10\.7\.7\.1")
    view.shows("the screen says what is looked at", r"\* own port tap-web")
    view.shows("the screen says what that misses", r"misses what became of a frame")
    ping("web", "db", 7)
    ping("mon", "web", 3, size=1000)
    # 7 requests and 7 answers of 84 bytes, 3 and 3 of 1028, as IP counts them.
    view.shows("the talk of seven pings is counted to the packet and byte", r"web +db +icmp .* 14 +1\.1 KiB")
    view.shows("the talk of three large ones too", r"web +mon +icmp .* 6 +6\.0 KiB")
    view.shows("frames are counted, and none was dropped", r"packets/s +0 dropped +\d+ packets")
    check("all of it fits 80 x 24", view.lines()[0].lstrip().startswith("web") and "q  quit" in view.lines()[-1], view.text())

    view.press("s")
    view.shows("s: by bytes", r"Talkers \(2, by bytes\)")
    rows = [line for line in view.lines() if " icmp " in line]
    check("by bytes the large pings are first", len(rows) == 2 and "mon" in rows[0], view.text())
    view.press("sss")
    view.shows("s: and around", r"by rate\)")
    view.press("?")
    view.shows("?: the keys", r"holds the picture")
    view.press("x")
    view.shows("any key closes them", r"Talkers \(2")
    view.press("\t")
    view.shows("Tab: the next pane has the mark", r"▸ What happens")
    view.press("\x1b[Z")
    view.shows("Shift-Tab: back", r"▸ Talkers")

    view.press("p")
    view.shows("p: it says that it holds", r"PAUSED")
    ping("web", "db", 2)
    time.sleep(1.5)
    check("held, the picture does not change", re.search(r"icmp .* 14 +1\.1 KiB", view.text()), view.text())
    view.press("p")
    view.shows("p again: what came meanwhile was counted", r"web +db +icmp .* 18 +1\.5 KiB")

    view.resize(120, 40)
    os.kill(view.popen.pid, 0)
    view.shows("a larger terminal is filled", r"PACKETS/S", 5)
    check("... to its last line", until(lambda: "q  quit" in view.lines()[-1], 5), view.text())
    view.resize(40, 10)
    view.shows("a small one is told so", r"40 x 10")
    view.resize(80, 24)
    view.shows("and back", r"▸ Talkers")

    check("before somebody goes there no row is chosen", "> web" not in view.text(), view.text())
    view.press("\x1b[B")
    rows = until(lambda: [line for line in view.lines() if "> web" in line], 5)
    check("down: a row is chosen, and has a mark", rows, view.text())
    view.press("c")
    view.leaves("c: it leaves, the terminal is as it was, nothing runs on")
    other = "10.7.7.2" if "db" in rows[0] else "10.7.7.3"
    wanted = f"overtap capture web 'host 10.7.7.1 and host {other} and icmp' -w web.pcapng"
    check("c: the command that captures the talk is printed", wanted in view.after(), view.after())


def watch_leaves():
    """However it ends, the terminal is as it was before."""
    for what, end in (
        ("q", lambda view: view.press("q")),
        ("Ctrl-C", lambda view: view.press("\x03")),
        ("SIGTERM", lambda view: signal_to(view, signal.SIGTERM)),
        ("SIGHUP", lambda view: signal_to(view, signal.SIGHUP)),
    ):
        view = Screen("watch", "web")
        view.shows(f"{what}: it watches", r"Talkers")
        end(view)
        view.leaves(f"{what}: it leaves, the terminal is as it was, nothing runs on")
    view = Screen("watch", "nobody")
    view.popen.wait(20)
    until(lambda: view.raw, 3)
    check("a VM that is not there: one sentence, no picture", b"\x1b[?1049h" not in view.raw and b"nobody" in view.raw, view.raw)
    view = Screen("watch", "web", "tcp prot 443")
    view.popen.wait(20)
    until(lambda: view.raw, 3)
    check("a wrong expression: the place is marked, no picture", b"^^^^" in view.raw and b"\x1b[?1049h" not in view.raw, view.raw)
    view = Screen("watch", "web", NO_COLOR="1")
    view.shows("NO_COLOR: it watches", r"Talkers")
    check("NO_COLOR: no colour is sent", not COLOURS.search(view.raw), COLOURS.findall(view.raw)[:3])
    view.press("q")
    view.leaves("NO_COLOR: it leaves")
    view = Screen("watch", "web", NO_COLOR="")
    view.shows("without it: it watches", r"Talkers")
    check("without it there are colours", COLOURS.search(view.raw), view.raw[:200])
    view.press("q")
    view.leaves("without it: it leaves")


def signal_to(view, number):
    """Sends a signal to overtap, which is behind nsenter."""
    pid = view.popen.pid
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        os.kill(int(children.read().split()[0]), number)


def watch_events():
    """What happens to a VM is shown as it happens."""
    view = Screen("watch", "web", columns=110, rows=36)
    view.shows("it watches", r"Talkers")
    plug("web", "tap-web2", "eth1", "10.8.8.1", "02:00:00:00:0c:11")
    view.shows("a new vNIC is told, with the time", r"\d\d:\d\d:\d\d\.\d+: web: eth1 added")
    view.shows("and captured as well", r"tap-web2 is captured as well from now on")
    view.shows("and is where the VM is shown", r"eth1 02:00:00:00:0c:11 10\.8\.8\.1")
    started(HOST, "ip", "link", "del", "tap-web2")
    view.shows("one that goes is told too", r"eth1 (removed|detached)|tap-web2 was removed")
    view.press("q")
    view.leaves("it leaves")


def watch_plain():
    """Without a terminal: a sentence, and one object a line."""
    done = overtap(HOST, "watch", "web")
    equal("without a terminal it is refused", done.returncode, 2)
    check("... and says what to do instead", "overtap watch web --output json" in done.stderr and not done.stdout, done.stderr)
    watch = Process(HOST, OVERTAP, "watch", "web", "icmp", "--output", "json", "--every", "500ms")
    until(lambda: watch.out().count("\n") > 1)
    ping("web", "db", 5)
    time.sleep(1.2)
    status = watch.stop()
    objects = [json.loads(line) for line in watch.out().splitlines()]
    last = objects[-1]
    equal("--output json: ends with 0 by Ctrl-C", status, 0)
    equal("--output json: frames and talk to the packet", (last["packets"], last["talkers"][0]["packets"], last["dropped"]), (10, 10, 0))
    ends = {end["vm"]: (end["ip"], end["sent_packets"], end["sent_bytes"]) for end in last["talkers"][0]["ends"]}
    equal("--output json: who sent what", ends, {"web": ("10.7.7.1", 5, 420), "db": ("10.7.7.2", 5, 420)})
    equal("--output json: where", (last["vm"], last["hosts"], [p["is_used"] for p in last["points"]][0]), ("web", ["left"], True))
    done = overtap(HOST, "watch", "web", "--output", "json", "--count", 2, "--every", "200ms")
    equal("--count ends it", (done.returncode, len(done.stdout.splitlines())), (0, 2))


# --- top --live -------------------------------------------------------------------------------


def top_screen():
    """All VMs of the host: each talk counted once, filters, and from a row into the VM."""
    view = Screen("top", "--live")
    view.shows("the screen says which host", r"left +0 bit/s")
    ping("web", "db", 10, size=1000)
    ping("mon", "db", 2)
    # Seen at both ports each, counted once: 20 packets of 1028 bytes, 4 of 84.
    view.shows("VMs: each with what it sent and received, to the packet", r"db .* 24 +20\.4 KiB")
    view.shows("... and the other end", r"web .* 20 +20\.1 KiB")
    view.shows("all of it stays within the host", r"intra-host 100 %")
    view.press("\t\t")
    view.shows("pairs: both directions in one row", r"db +web +intra-host icmp .* 20\.1 KiB")
    view.press("/")
    view.shows("/: a line to type in", r"Filter: Enter takes it")
    view.press("icmp and hots 10.7.7.3")
    view.shows("a wrong word is marked as one types", r"\^{4}.*host")
    view.press("\r")
    time.sleep(0.3)
    check("... and is not taken", "Filter: Enter takes it" in view.text(), view.text())
    view.press("\x7f" * 13 + "host 10.7.7.3")
    view.shows("corrected, nothing is marked", r"icmp and host 10\.7\.7\.3")
    check("... any more", until(lambda: "^" not in view.text(), 3), view.text())
    view.press("\r")
    view.shows("it is taken", r"filter: icmp and host 10\.7\.7\.3")
    view.shows("... and counts begin anew", r"Nothing yet")
    ping("web", "db", 3)
    ping("mon", "web", 4)
    view.shows("only what it takes is counted", r"mon +web +intra-host icmp .* 672 B")
    check("... and nothing else", "db " not in view.text(), view.text())
    view.press("\t")
    view.shows("Tab: the list of VMs", r"\[VMs\]")
    view.press("\x1b[H\r")
    name = view.shows("Enter: the VM of the row on its own screen", r"(web|mon) +namespace, running")
    view.shows("... with its talkers", r"Talkers \(")
    ping("mon", "web", 2)
    view.shows("... which are counted", r"icmp .* 4 +336 B")
    view.press("q")
    view.shows("q: back to the host", r"\[VMs\]")
    started(HOST, "ip", "netns", "add", "late")
    plug("late", "tap-late", "eth0", "10.7.7.4", "02:00:00:00:0c:04")
    view.shows("a machine that comes is looked at as well", r"late/eth0 @ left:tap-late is looked at as well")
    view.press("q")
    view.leaves("q: it leaves, the terminal is as it was, nothing runs on")
    started(HOST, "ip", "link", "del", "tap-late")
    started(HOST, "ip", "netns", "del", "late")
    view = Screen("top", "--live")
    view.shows("again", r"\[VMs\]")
    signal_to(view, signal.SIGTERM)
    view.leaves("SIGTERM: the same")


def top_plain():
    """The same without a terminal: one object a line."""
    done = overtap(HOST, "top", "--live")
    equal("without a terminal it is refused", done.returncode, 2)
    check("... and says what to do instead", "overtap top --live --output json" in done.stderr, done.stderr)
    top = Process(HOST, OVERTAP, "top", "--live", "--output", "json", "--every", "500ms")
    until(lambda: top.out().count("\n") > 1)
    ping("web", "db", 5)
    ping("mon", "web", 5)
    time.sleep(1.2)
    equal("--output json: ends with 0 by Ctrl-C", top.stop(), 0)
    last = json.loads(top.out().splitlines()[-1])
    vms = {vm["vm"]: (vm["sent_packets"], vm["received_packets"], vm["sent_bytes"]) for vm in last["vms"]}
    equal("each VM to the packet and byte", vms, {"web": (10, 10, 840), "db": (5, 5, 420), "mon": (5, 5, 420)})
    equal("all of it within the host, once", (last["splits"]["intra-host"]["packets"], last["packets"], last["dropped"]), (20, 20, 0))
    top = Process(HOST, OVERTAP, "top", "vms", "icmp and vm db", "--live", "--output", "json", "--every", "500ms")
    until(lambda: top.out().count("\n") > 1)
    ping("web", "db", 5)
    ping("mon", "web", 5)
    time.sleep(1.2)
    top.stop()
    equal("an expression with names: only what it takes", json.loads(top.out().splitlines()[-1])["packets"], 10)
    done = overtap(HOST, "top", "--live", "--store", f"{WORK}/nowhere", "--output", "json")
    check("what is for stores and files is refused", done.returncode == 2 and "--store" in done.stderr, done.stderr)
    done = overtap(HOST, "flows", "--live")
    check("flows --live without a VM says what it needs", done.returncode == 2 and "needs a VM" in done.stderr, done.stderr)


# --- serve --local ----------------------------------------------------------------------------


def curl(path, *words, cookies=True):
    """The page's API at this host, as its browser asks it: the status and the body."""
    jar = ["-b", f"{WORK}/cookies", "-c", f"{WORK}/cookies"] if cookies else []
    done = run(HOST, "curl", "-sS", *jar, "-H", "X-Overtap: 1", "-w", "\n%{http_code}", *words, f"http://127.0.0.1:7480/api/v1/{path}")
    body, _, status = done.stdout.rpartition("\n")
    return int(status or 0), json.loads(body) if body.startswith(("{", "[")) else body + done.stderr


def posted(path, **body):
    return curl(path, "--json", json.dumps(body))


def local_page():
    """serve --local: one command, a link, a capture; and nothing is left behind."""
    temporary = f"{WORK}/temporary"
    os.makedirs(temporary)
    before = packet_sockets(HOST)
    server = Process(HOST, "env", f"TMPDIR={temporary}", OVERTAP, "serve", "--local")
    check("a link is printed", until(lambda: server.out().startswith("http://127.0.0.1:7480/#/enter/"), 20), server.err())
    word = server.out().split("/")[-1].strip()
    listeners = started(HOST, "ss", "-Hltn").splitlines()
    ends = [line.split()[3] for line in listeners]
    check("it listens on loopback alone", ends and all(end.startswith("127.0.0.1:") for end in ends), ends)
    done = run("right", "curl", "-sS", "--max-time", "3", "http://10.9.0.1:7480/")
    check("another host cannot reach it", done.returncode == 7, done.stderr)
    status, text = curl("../../")
    check("the page is there", status == 200 and "<title>" in text, text)
    equal("nobody is let in without the word", curl("machines")[0], 401)
    equal("a wrong word is refused", posted("login", token="A" * 24)[0], 401)
    equal("the word of the link logs in", posted("login", token=word)[0], 204)
    equal("... as the one user, by a cookie", curl("me")[1], {"name": "local", "role": "admin", "is_admin": True, "via": "cookie"})
    equal("... and is good once", curl("login", "--json", json.dumps({"token": word}), cookies=False)[0], 401)
    check("another link is printed for the next browser", until(lambda: len(server.out().splitlines()) == 2), server.out())
    machines = until(lambda: sorted(item["machine"]["name"] for item in curl("machines")[1]["items"]) == sorted(GUESTS))
    check("the VMs of this host are there", machines, curl("machines"))
    check("a VM has its points", curl("plan?vm=web")[1]["points"][0]["rank"] == 1, curl("plan?vm=web"))
    status, session = posted("sessions", what=["web"], point="tap", reason="e2e", duration_s=60)
    if check("a capture begins", status == 201, session):
        path = f"sessions/{session['id']}"
        check("it runs", until(lambda: curl(path)[1]["parts"]), curl(path))
        time.sleep(0.5)
        ping("web", "db", 20)
        time.sleep(0.5)
        equal("it is stopped", posted(f"{path}/stop")[1]["state"], "ended")
        check("it is complete", until(lambda: curl(path)[1]["is_complete"]), curl(path))
        file = f"{WORK}/local.pcapng"
        equal("it is downloaded", curl(f"{path}/capture.pcapng", "-o", file)[0], 200)
        equal("each of 20 pings and answers is in it", len(tshark(file, "-Y", "icmp")), 40)
        equal("tshark has no complaint", complaints(file), [])
    second = overtap(HOST, "serve", "--local")
    check("a second one says why it cannot", second.returncode == 1 and "127.0.0.1:7480" in second.stderr, second.stderr)
    refused = overtap(HOST, "serve", "--local", "--web", "0.0.0.0:7480")
    check("an address that others reach is refused", refused.returncode == 2 and "this computer alone" in refused.stderr, refused.stderr)
    status, running = posted("sessions", what=["db"], point="tap", reason="e2e", duration_s=600)
    check("a capture runs when it ends", until(lambda: curl(f"sessions/{running['id']}")[1]["parts"]), running)
    equal("Ctrl-C ends it", server.stop(), 0)
    equal("no file is left", os.listdir(temporary), [])
    equal("no process is left", run(HOST, "pgrep", "-a", "-f", "packet-engine|serve --local").stdout, "")
    check("no packet socket is left", until(lambda: packet_sockets(HOST) == before, 5))


if __name__ == "__main__":
    chapters(set_up, watch_screen, watch_leaves, watch_events, watch_plain, top_screen, top_plain, local_page)
