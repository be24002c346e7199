#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What slots must withstand, in a machine of scripts/vm with three devices, as root.

Usage: soak_slots.py VFIOBOOST VFIOBOOSTD TENANT tenants|kills|takes [COUNT [SEED]]

tenants  So many times (1000) a tenant looks for bytes of others in its slot, leaves its own, tries
         to keep hold of the slot in one of several ways, and ends or is killed.
kills    So many times (200) the daemon, a process that fills a slot or a tenant is killed at a
         random moment.
takes    From 200 slots, so many (2000) are taken.

In the end all slots are ready again, and nothing else is left: no file, process, cgroup or page.
"""
import collections
import contextlib
import mmap
import os
import pathlib
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import time

import test_slots
from test_slots import DEVICES, SOCKET, Slots, answers, cgroups, children, listing, wait_for

TENANT, WHAT = sys.argv[3:5]
COUNT = int(sys.argv[5]) if len(sys.argv) > 5 else {"tenants": 1000, "kills": 200,
                                                     "takes": 2000}[WHAT]
SEED = int(sys.argv[6]) if len(sys.argv) > 6 else int(time.time())
MEMORY = 2 << 20
OTHERS, MANY = 4, 200
CLASSES = {
    "web": f"count = 2\nmemory = 2M\npage-size = 2m\ndevices = {' '.join(DEVICES[:2])}\n",
    "huge": f"count = {OTHERS}\nmemory = 2M\npage-size = 2m\n",
    "mem": f"count = {OTHERS}\nmemory = 2M\nrate = 64M\n",
    # Nobody may disturb who has it.
    "guard": f"count = 1\nmemory = 2M\npage-size = 2m\ndevices = {DEVICES[2]}\n",
}
if WHAT == "takes":
    CLASSES = {"many": f"count = {MANY}\nmemory = 64K\n"}
SLOTS = {"web": 2, "huge": OTHERS, "mem": OTHERS, "many": MANY}
HOLDS = ["nothing", "fork", "mapping", "duplicates", "friend"]
test_slots.CLASSES = {name: f"allow = user:root\n{text}" for name, text in CLASSES.items()}
SECRET = 0x2165747372757321


class Friend:
    """Keeps files of tenants, and sees that nobody else writes to their memory meanwhile."""

    def __init__(self):
        self.path = str(test_slots.FOLDER / "friend")
        self.socket = socket.socket(socket.AF_UNIX)
        self.kept = []

    def listen(self):
        self.socket.bind(self.path)
        self.socket.listen()
        self.socket.setblocking(False)

    def receive(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                connection = self.socket.accept()[0]
                with connection:
                    connection.settimeout(60)
                    self.kept.append(socket.recv_fds(connection, 1, 128)[1])

    @staticmethod
    def check(fd):
        page = mmap.PAGESIZE
        with mmap.mmap(fd, 0) as memory:
            for at in range(page, len(memory), page):
                word = int.from_bytes(memory[at:at + 8], "little")
                assert word == SECRET ^ at // 8, f"a friend's memory has changed at {at:#x}"

    def release(self, keep):
        while len(self.kept) > keep:
            for fd in self.kept.pop(0):
                if stat.S_ISREG(os.fstat(fd).st_mode) and os.fstat(fd).st_size == MEMORY:
                    self.check(fd)
                os.close(fd)

    def step(self, keep=1):
        self.receive()
        self.release(keep)


friends = Friend()


class Tenant:
    """A process that takes a slot of a class."""

    def __init__(self, name, hold, *words):
        self.name, self.hold = name, hold
        self.process = subprocess.Popen([TENANT, SOCKET, name, hold, *words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def wait_held(self):
        line = self.process.stdout.readline()
        assert line == b"held\n", f"{self.name}, {self.hold}: {line} {self.process.wait()}"

    def finish(self):
        """It ends by itself, having looked whether its bytes are still there."""
        self.process.stdin.close()
        self.wait(0)

    def kill(self):
        self.process.kill()
        self.wait(-signal.SIGKILL, 0)

    def wait(self, *statuses):
        status = self.process.wait()
        assert status in statuses, f"{self.name}, {self.hold}: it ended with {status}"
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


def choose_tenant(rng, alive):
    name = rng.choice(["web", "web", "huge", "mem"])
    # There is always a slot that nobody keeps.
    if any(tenant.name == "web" for tenant in alive):
        name = "huge"
    friends.step(keep=name != "web")
    return Tenant(name, rng.choice(HOLDS + ["dma"] * 2 * (name == "web")), friends.path)


# ---- What is there ----


def daemon():
    return next(iter(children(Slots.keeper.pid)), None)


def expected():
    return sum(int(re.search(r"count = (\d+)", text)[1]) for text in CLASSES.values())


def all_ready(taken=0):
    slots = answers() or []
    states = collections.Counter(slot["state"] for slot in slots)
    return states["taken"] == taken and states["ready"] == expected() - taken == len(slots) - taken


def number_in(path, key):
    return int(re.search(rf"^{key}\W+(\d+)", pathlib.Path(path).read_text(), re.M)[1])


def anonymous_kib(pid):
    return number_in(f"/proc/{pid}/status", "RssAnon")


def state():
    """What must be the same in the end."""
    pid = daemon()
    return {
        "files of the daemon": len(os.listdir(f"/proc/{pid}/fd")),
        "files of its keeper": len(os.listdir(f"/proc/{Slots.keeper.pid}/fd")),
        "threads of the daemon": len(os.listdir(f"/proc/{pid}/task")),
        "its children": len(children(pid)),
        "huge pages": number_in("/proc/meminfo", "HugePages_Free"),
        "shared memory": number_in("/proc/meminfo", "Shmem"),
        "cgroups": len(cgroups()),
    }


def check_state(before):
    friends.step(keep=0)
    wait_for(lambda: all_ready(before["taken"]), "all slots ready again", 300)
    wait_for(lambda: dict(state(), taken=before["taken"]) == before,
             f"as before: {before}, not {state()}", 60)
    assert cgroups() == sorted(slot["slot"] for slot in listing()), (cgroups(), listing())
    text = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    bad = re.findall(r".*(?:BUG|WARNING|Oops|blocked for more than|general protection).*", text)
    assert not bad, bad


# ---- What is done ----


def progress(done):
    count = sum(done.values())
    if count and not count % 25:
        print(f"{count} of {COUNT}: {dict(done)}", flush=True)


def run_tenants(rng):
    """Three at a time have a slot."""
    done, alive = collections.Counter(), []
    for _ in range(COUNT):
        tenant = choose_tenant(rng, alive)
        tenant.wait_held()
        alive.append(tenant)
        if len(alive) == 3:
            tenant = alive.pop(rng.randrange(3))
            tenant.finish() if rng.randrange(2) else tenant.kill()
            done[f"{tenant.name} {tenant.hold}"] += 1
            progress(done)
    while alive:
        tenant = alive.pop()
        tenant.finish()
        done[f"{tenant.name} {tenant.hold}"] += 1
    print(f"{sum(done.values())} tenants, none of which saw another's byte:", dict(done))


def kill_daemon(alive):
    """No slot is lost: neither one that was ready nor one that a living process has."""
    before, pid = listing(), daemon()
    if not pid:
        return False
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: daemon() not in (None, pid) and answers(), "the daemon starts again")
    after = {slot["slot"]: slot for slot in listing()}
    for slot in before:
        # This process is a friend, and may have closed its files.
        if slot["state"] == "taken" and slot["pid"] != os.getpid() and \
                os.path.exists(f"/proc/{slot['pid']}/exe"):
            assert after[slot["slot"]]["pid"] == slot["pid"], (slot, after)
    # One may have been handed out to a tenant that did not get it, and asks again.
    lost = [slot for slot in before if slot["state"] == "ready" and
            after.get(slot["slot"], {"state": "gone"})["state"] not in ("ready", "taken")]
    assert len(lost) <= sum(not tenant.held for tenant in alive), (lost, after)
    return True


def kill_filler():
    fillers = [slot["pid"] for slot in listing() if slot["state"] == "filling" and slot["pid"]]
    for pid in fillers[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def kill_tenant(rng, alive):
    if not alive:
        return False
    tenant = alive.pop(rng.randrange(len(alive)))
    tenant.kill()
    return True


def run_kills(rng):
    done, alive = collections.Counter(), []
    while sum(done.values()) < COUNT:
        while len(alive) < 3:
            alive.append(choose_tenant(rng, alive))
            alive[-1].held = False
        if rng.randrange(2):
            tenant = rng.choice(alive)
            tenant.held = tenant.held or tenant.process.stdout.readline() == b"held\n"
        time.sleep(rng.random() / 4)
        who = rng.choice(["daemon", "filler", "tenant"])
        killed = {"daemon": lambda: kill_daemon(alive), "filler": kill_filler,
                  "tenant": lambda: kill_tenant(rng, alive)}[who]()
        if killed:
            done[who] += 1
            progress(done)
    while alive:
        kill_tenant(rng, alive)
    print("killed at a random moment:", dict(done))


def run_takes(_rng):
    """The first ones show how much memory the daemon needs."""
    first = MANY
    for number in min(first, COUNT), max(COUNT - first, 0):
        subprocess.run([TENANT, SOCKET, "many", "take", str(number)], check=True)
        wait_for(all_ready, "all slots ready again", 600)
        print(f"{number} takes, {anonymous_kib(daemon())} KiB of the daemon's own", flush=True)
    assert sum("many" == slot["class"] for slot in listing()) == MANY


def main():
    rng = random.Random(SEED)
    print(f"{WHAT}: {COUNT}, seed {SEED}", flush=True)
    Slots.setUpClass()
    friends.listen()
    wait_for(all_ready, "ready", 900)
    guard = None
    if "guard" in CLASSES:
        guard = Tenant("guard", "guard")
        guard.wait_held()
    if WHAT == "kills":
        # The guard stays connected with the first daemon only.
        kill_daemon([])
    wait_for(lambda: all_ready(int(bool(guard))), "ready", 300)
    before = dict(state(), taken=int(bool(guard)))
    {"tenants": run_tenants, "kills": run_kills, "takes": run_takes}[WHAT](rng)
    check_state(before)
    if guard:
        guard.finish()
    Slots.tearDownClass()
    left = subprocess.run(["pgrep", "-f", "vfioboostd|vfioboost-fill|soak_tenant SOCKET"],
                          capture_output=True, text=True, check=False).stdout.split()
    assert not set(left) - {str(os.getpid()), str(os.getppid())}, left
    print("all slots were ready again, nothing is left over:", before)


if __name__ == "__main__":
    main()
