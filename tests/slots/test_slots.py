#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""vfioboostd and `vfioboost slots` in a machine of scripts/vm, as root.

Usage: test_slots.py VFIOBOOST VFIOBOOSTD
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest

VFIOBOOST, VFIOBOOSTD = sys.argv[1:3]
DEVICES = os.environ.get("VFIO_DEVICES", "").split()
FOLDER = pathlib.Path("/tmp/slots.test")
SOCKET = str(FOLDER / "socket")
CGROUPS = pathlib.Path("/sys/fs/cgroup/vfioboost-test")
NOBODY = 65534
MEGABYTES = 32
CLASSES = {
    "web": f"count = {len(DEVICES)}\nmemory = {MEGABYTES}M\npage-size = 2m\n"
           f"devices = {' '.join(DEVICES)}\nallow = user:root\n",
    "mem": f"count = 1\nmemory = {MEGABYTES}M\nallow = user:{NOBODY} # and root\n"
           "max-per-user = 1\n",
    "slow": f"count = 0\nmemory = {MEGABYTES}M\nrate = 1M\nallow = user:root\n",
}


def slots(*words, check=True, **options):
    return subprocess.run([VFIOBOOST, "slots", words[0], "--socket", SOCKET, *words[1:]],
                          capture_output=True, text=True, check=check, timeout=60, **options)


STATES = ["empty", "filling", "ready", "taken", "returning", "quarantine"]


TAKE, LIST = 1, 3


def request(kind, name, wait=0):
    return struct.pack("<IHHII64sQq", 0x53424656, 1, kind, 96, 0, name.encode(),
                       wait * 10**9, 0)


def listing(name="", hesitate=0):
    """As `vfioboost slots list`, which takes long to start under emulation."""
    found = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(60)
        client.connect(SOCKET)
        client.send(request(LIST, name))
        time.sleep(hesitate)
        while True:
            packet = client.recv(4096)
            kind = struct.unpack_from("<IHH", packet)[2]
            if kind != 68:
                assert kind == 65, kind
                return found
            words = struct.unpack_from("<16x64s64s4I3QiI6Q512s", packet)
            text = [word.rstrip(b"\0").decode() for word in (words[0], words[1], words[-1])]
            found.append({"class": text[0], "slot": text[1], "state": STATES[words[2]],
                          "pid": words[9], "misses": words[13], "failures": words[15],
                          "why": text[2]})


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.1)
    raise AssertionError(f"{what}: {listing()}")


def in_state(name, state, count=1):
    found = [slot for slot in listing(name) if slot["state"] == state]
    return found if len(found) >= count else None


def wait_ready(name, count=1):
    return wait_for(lambda: in_state(name, "ready", count), f"{count} of {name} ready")


def run_slot(name, *command, **options):
    return subprocess.Popen([VFIOBOOST, "slots", "run", "--socket", SOCKET, "--wait", "60", name,
                             "--", *command], **options)


def wait_taken(name, pid):
    return wait_for(lambda: [slot for slot in listing(name) if slot["pid"] == pid and
                             slot["state"] == "taken"], f"{name} taken by {pid}")[0]


def children(pid):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            number, rest = path.read_text().split(" ", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(rest[rest.rindex(")") + 1:].split()[1]) == pid:
            found.append(int(number))
    return found


def answers():
    try:
        return listing()
    except OSError:
        return None


def cgroups():
    return sorted(path.name for path in CGROUPS.iterdir() if path.is_dir())


def wait_gone(slot):
    wait_for(lambda: slot not in cgroups(), f"{slot} gone")


class Slots(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(FOLDER, ignore_errors=True)
        (FOLDER / "slots.d").mkdir(parents=True)
        for name, text in CLASSES.items():
            (FOLDER / "slots.d" / f"{name}.conf").write_text(text)
        FOLDER.chmod(0o755)
        cls.keeper = subprocess.Popen([VFIOBOOSTD, "--keep", "--config", FOLDER / "slots.d",
                                       "--socket", SOCKET, "--group", "nogroup",
                                       "--cgroup", CGROUPS])
        end = time.monotonic() + 60
        while not answers() and time.monotonic() < end:
            time.sleep(0.1)

    @classmethod
    def tearDownClass(cls):
        cls.keeper.terminate()
        assert cls.keeper.wait(30) == 0

    def setUp(self):
        wait_ready("web", len(DEVICES))
        wait_ready("mem")

    def wait_restarted(self, daemon):
        wait_for(lambda: daemon not in children(self.keeper.pid) and answers(), "restart")

    def test_take(self):
        for name, devices in ("web", 1), ("mem", 0):
            taken = json.loads(slots("take", "--class", name, "--json").stdout)["taken"][0]
            self.assertEqual(taken["memory_bytes"], MEGABYTES << 20)
            self.assertEqual(taken["devices"], devices)
            self.assertEqual(taken["mapped_bytes"], devices * MEGABYTES << 20)
            # Once, and its pages are gone.
            wait_gone(taken["slot"])
            self.assertNotIn(taken["slot"], [slot["slot"] for slot in listing(name)])

    def test_policy(self):
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self.assertEqual([slot["class"] for slot in
                          json.loads(slots("list", "--json", **user).stdout)["slots"]], ["mem"])
        refused = slots("run", "web", "--", "true", check=False, **user)
        self.assertEqual(refused.returncode, 1)
        self.assertIn('no class "web" that user 65534', refused.stderr)
        refused = slots("drain", "mem", check=False, **user)
        self.assertIn("only root", refused.stderr)
        # It can open the memory by its path.
        self.assertEqual(json.loads(slots("list", "mem", "--json").stdout)["slots"][0]["state"],
                         "ready")
        taken = slots("run", "mem", "--", "sh", "-c",
                      "test -w {memory} && exec 9<>{memory} && echo {size} $LISTEN_FDNAMES", **user)
        self.assertEqual(taken.stdout.split(), [str(MEGABYTES << 20), "memory"])

    def test_max_per_user(self):
        with run_slot("mem", "sleep", "60") as process:
            wait_taken("mem", process.pid)
            refused = slots("run", "mem", "--", "true", check=False)
            self.assertIn("max-per-user", refused.stderr)
            process.kill()

    def test_nothing_is_left_of_the_one_before(self):
        write = ("import mmap, os\nm = mmap.mmap(3, 0)\n"
                 "for at in range(0, len(m), 1 << 20):\n"
                 " m[at:at + (1 << 20)] = b'secret!!' * (1 << 17)")
        read = ("import mmap\nm = mmap.mmap(3, 0)\nassert not any(\n"
                " m[at:at + (1 << 20)].strip(b'\\0') for at in range(0, len(m), 1 << 20))")
        for program in write, read, write, read:
            with run_slot("web", sys.executable, "-c", program) as process:
                self.assertEqual(process.wait(60), 0)

    def test_killed(self):
        for name in "web", "mem":
            with run_slot(name, "sleep", "60") as process:
                slot = wait_taken(name, process.pid)["slot"]
                process.kill()
                process.wait()
            wait_gone(slot)

    def test_a_daemon_keeps_its_slot(self):
        """The process that has taken it ends, its child goes on, as of QEMU's -daemonize."""
        with run_slot("mem", "sh", "-c", "sleep 60 & echo $!", stdout=subprocess.PIPE,
                      text=True) as process:
            child = int(process.stdout.readline())
            process.wait()
        slot = wait_taken("mem", child)["slot"]
        os.kill(child, signal.SIGKILL)
        wait_gone(slot)

    def test_a_daemon_drops_its_slot(self):
        """The slot returns although the process that has inherited it lives on."""
        with run_slot("mem", "sh", "-c", "(sleep 1; exec 3>&-; exec sleep 60) & echo $!",
                      stdout=subprocess.PIPE, text=True) as process:
            child = int(process.stdout.readline())
            slot = wait_for(lambda: in_state("mem", "taken"), "taken")[0]["slot"]
            process.wait()
        wait_gone(slot)
        os.kill(child, signal.SIGKILL)

    def test_held_by_a_friend(self):
        """Another cgroup's process has the files: the slot is not filled before it has ended."""
        cgroup = pathlib.Path("/sys/fs/cgroup/friend")
        cgroup.mkdir(exist_ok=True)
        with run_slot("web", "sh", "-c",
                      f"sh -c 'echo 0 >{cgroup}/cgroup.procs; echo $$; exec sleep 60' & wait",
                      stdout=subprocess.PIPE, text=True) as process:
            friend = int(process.stdout.readline())
            slot = wait_taken("web", process.pid)["slot"]
            process.kill()
            process.wait()
        held = wait_for(lambda: [s for s in listing("web") if s["slot"] == slot and
                                 f"process {friend} (sleep) still holds it" in s["why"]],
                        "friend named")[0]
        self.assertEqual(held["state"], "returning")
        os.kill(friend, signal.SIGKILL)
        wait_gone(slot)

    def test_the_daemon_is_killed(self):
        with run_slot("web", "sleep", "60") as process:
            taken = wait_taken("web", process.pid)["slot"]
            if len(DEVICES) > 1:
                wait_ready("web", len(DEVICES) - 1)
            before = {slot["slot"]: slot["state"] for slot in listing()}
            for _ in range(2):
                daemon = children(self.keeper.pid)[0]
                os.kill(daemon, signal.SIGKILL)
                # Who asks before the next one runs is answered by that.
                while os.path.exists(f"/proc/{daemon}"):
                    pass
                self.assertEqual(len(listing()), len(before))
                self.wait_restarted(daemon)
                self.assertEqual({slot["slot"]: slot["state"] for slot in listing()}, before)
            self.assertIsNone(process.poll())
            wait_taken("web", process.pid)
            process.kill()
            process.wait()
        wait_gone(taken)

    def test_the_daemon_is_killed_while_it_is_asked(self):
        """Who waits for a slot asks the next one, and gets one slot."""
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        for words in (["run", "--wait", "60", "mem", "--", "sleep", "60"],
                      ["take", "--wait", "60", "--class", "mem", "--hold", "60"]):
            with run_slot("mem", "sleep", "60") as tenant:
                before = wait_taken("mem", tenant.pid)["misses"]
                client = subprocess.Popen([VFIOBOOST, "slots", words[0], "--socket", SOCKET,
                                           *words[1:]], **user)
                self.addCleanup(client.wait)
                self.addCleanup(client.kill)
                wait_for(lambda before=before: listing("mem")[0]["misses"] > before,
                         "it has asked")
                daemon = children(self.keeper.pid)[0]
                os.kill(daemon, signal.SIGKILL)
                self.wait_restarted(daemon)
                tenant.kill()
            wait_taken("mem", client.pid)
            slot = wait_for(lambda: [s for s in in_state("mem", "taken") if not s["why"]],
                            "it has arrived")[0]["slot"]
            client.kill()
            wait_gone(slot)

    def test_an_answer_that_is_not_read(self):
        """Its slot returns, although the process that has asked for it lives on."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(SOCKET)
            client.send(request(TAKE, "mem"))
            slot = wait_taken("mem", os.getpid())
            self.assertEqual(slot["why"], "it is being handed out")
        wait_gone(slot["slot"])

    def test_the_daemon_is_killed_while_it_fills(self):
        slots("take", "--class", "web")
        os.kill(children(self.keeper.pid)[0], signal.SIGKILL)
        wait_for(answers, "restart")

    def test_the_filler_is_killed(self):
        slots("add", "slow", "1")
        filler = wait_for(lambda: [slot["pid"] for slot in in_state("slow", "filling") or []],
                          "filling")[0]
        os.kill(filler, signal.SIGKILL)
        wait_for(lambda: listing("slow")[0]["failures"] == 1, "noticed")
        wait_for(lambda: in_state("slow", "filling"), "tried again")
        self.assertIn("failed 1 times", slots("show", "slow").stdout)
        slots("drain", "slow")
        wait_for(lambda: not [name for name in cgroups() if name.startswith("slow")], "drained")

    def test_shrink(self):
        before = wait_ready("mem")[0]["slot"]
        slots("shrink", "mem")
        wait_for(lambda: before not in cgroups(), "released")
        slots("add", "mem", "0")  # does not wait for a minute

    @unittest.skipUnless(os.path.exists("/proc/pressure/memory"), "the kernel has no PSI")
    def test_lack_of_memory(self):
        """A slot is released when tasks wait for memory, and what fills slots is stopped."""
        before = wait_ready("mem")[0]["slot"]
        # Slots of other classes may be released, too. They do not wait for a minute.
        for name in "mem", "web":
            self.addCleanup(slots, "add", name, "0")
        slots("add", "slow", "1")
        self.addCleanup(slots, "drain", "slow")
        filler = wait_for(lambda: in_state("slow", "filling"), "filling")[0]["pid"]
        stat = pathlib.Path(f"/proc/{filler}/stat")

        def state():
            return stat.read_text().rsplit(")", 1)[1].split()[0]

        cgroup = pathlib.Path("/sys/fs/cgroup/lacking")
        cgroup.mkdir(exist_ok=True)
        (cgroup / "memory.high").write_text("4M")
        hog = subprocess.Popen(["sh", "-c", f"echo 0 >{cgroup}/cgroup.procs; exec {sys.executable} "
                                "-c 'x = []\nwhile 1: x.append(bytes(1 << 18))'"])
        self.addCleanup(hog.wait)
        self.addCleanup(hog.kill)
        wait_for(lambda: before not in cgroups(), "memory given back")
        wait_for(lambda: state() == "T", "the filler is stopped")
        hog.kill()
        wait_for(lambda: state() != "T", "the filler goes on")

    def test_privileges(self):
        daemon = children(self.keeper.pid)[0]
        status = dict(line.split(":", 1) for line in
                      pathlib.Path(f"/proc/{daemon}/status").read_text().splitlines())
        self.assertEqual(status["Seccomp"].strip(), "2")
        self.assertEqual(status["NoNewPrivs"].strip(), "1")
        for name in "CapEff", "CapPrm", "CapBnd":
            # IPC_LOCK, SYS_PTRACE, DAC_READ_SEARCH, DAC_OVERRIDE, CHOWN, KILL, SYS_RESOURCE
            self.assertEqual(int(status[name], 16) & ~0x1084027, 0)

    def test_hostile_packets(self):
        packets = [b"", b"x", b"\0" * 16, os.urandom(64), os.urandom(5000),
                   b"VFBS"[::-1] + b"\1\0\1\0" + b"\xff" * 200]
        for packet in packets:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
                client.connect(SOCKET)
                socket.send_fds(client, [packet], [0, 1, 2]) if packet else client.send(packet)
                client.settimeout(20)
                try:
                    while client.recv(4096):
                        pass
                except ConnectionResetError:
                    pass
        # Files that came along are not kept.
        daemon = children(self.keeper.pid)[0]
        count = len(os.listdir(f"/proc/{daemon}/fd"))
        wait_ready("mem")
        self.assertLess(abs(len(os.listdir(f"/proc/{daemon}/fd")) - count), 3)

    def test_a_long_list(self):
        """It is longer than what the socket has room for."""
        slots("add", "slow", "256")
        self.addCleanup(slots, "drain", "slow")
        self.assertEqual(len(listing("slow", hesitate=1)), 256)
        self.assertEqual(len(listing(hesitate=1)), 256 + len(DEVICES) + 1)

    def test_metrics(self):
        text = slots("metrics").stdout
        self.assertIn('vfioboost_slots{class="mem",state="ready"} 1\n', text)
        self.assertTrue(text.endswith("# EOF\n"))

    @unittest.skipUnless(shutil.which("qemu-system-x86_64"), "there is no QEMU")
    def test_qemu(self):
        done = subprocess.run(
            [VFIOBOOST, "slots", "run", "--socket", SOCKET, "mem", "--", "qemu-system-x86_64", "-S",
             "-nodefaults", "-display", "none", "-monitor", "stdio", "-accel", "tcg", "-m",
             f"{MEGABYTES}M", "-object",
             "memory-backend-file,id=m,mem-path={memory},size={size},share=on,prealloc=off",
             "-machine", "q35,memory-backend=m"],
            input="info memdev\nquit\n", capture_output=True, text=True, timeout=120, check=True)
        self.assertIn(f"size:  {MEGABYTES << 20}", done.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
