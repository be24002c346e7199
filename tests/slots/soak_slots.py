#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Takes slots while the daemon, those who fill and those who take are killed at random moments, in
a machine of scripts/vm, as root. In the end all slots are there, and nothing else is left.

Usage: soak_slots.py VFIOBOOST VFIOBOOSTD [ROUNDS [SEED]]
"""
import contextlib
import mmap
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time

import test_slots
from test_slots import DEVICES, Slots, answers, cgroups, children, listing, run_slot, wait_for

ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 100
SEED = int(sys.argv[4]) if len(sys.argv) > 4 else int(time.time())
SMALL = 4
test_slots.CLASSES = {
    "web": f"count = {len(DEVICES)}\nmemory = {SMALL}M\npage-size = 2m\n"
           f"devices = {' '.join(DEVICES)}\nallow = user:root\n",
    "mem": f"count = {SMALL}\nmemory = {SMALL}M\nrate = 16M\nallow = user:root\n",
}
# Finds another one's bytes, and leaves its own. Then it tries to keep hold of the memory: by a
# child, by a mapping alone, by duplicates, or by a friend that gets the file and lives on.
TENANT = """
import mmap, os, socket, time
m = mmap.mmap(3, 0)
assert not bytes(m).strip(b'\\0'), 'not clean'
m[:] = b'secret!!' * (len(m) // 8)
if {hold!r} == 'child' and not os.fork():
    time.sleep(3)
    os._exit(0)
if {hold!r} == 'mapping':
    os.close(3)
if {hold!r} == 'duplicates':
    more = [os.dup(3) for _ in range(20)]
if {hold!r} == 'friend':
    with socket.socket(socket.AF_UNIX) as friend:
        friend.connect({friend!r})
        socket.send_fds(friend, [b'x'], [3])
time.sleep({seconds})
"""
HOLDS = ["", "child", "mapping", "duplicates", "friend"]


class Friend:
    """Keeps memory of tenants, and sees that nobody else writes there meanwhile."""

    def __init__(self):
        self.path = str(test_slots.FOLDER / "friend")
        self.socket = socket.socket(socket.AF_UNIX)
        self.fds = []

    def listen(self):
        self.socket.bind(self.path)
        self.socket.listen()
        self.socket.setblocking(False)

    def step(self, rng, keep=2):
        with contextlib.suppress(BlockingIOError):
            while True:
                connection = self.socket.accept()[0]
                with connection:
                    connection.settimeout(60)
                    self.fds += socket.recv_fds(connection, 1, 1)[1]
        while len(self.fds) > keep or (self.fds and not rng.randrange(4)):
            fd = self.fds.pop(0)
            with mmap.mmap(fd, 0) as memory:
                assert memory[:] == b"secret!!" * (len(memory) // 8)
            os.close(fd)


friends = Friend()


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def daemon():
    return next(iter(children(Slots.keeper.pid)), None)


def state_of_daemon():
    pid = daemon()
    return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{Slots.keeper.pid}/fd"))


def take(rng, tenants):
    name = rng.choice(["web", "mem"])
    tenant = TENANT.format(hold=rng.choice(HOLDS), friend=friends.path,
                           seconds=rng.choice([0, 0.1, 30]))
    tenants.append(run_slot(name, sys.executable, "-c", tenant, stderr=subprocess.PIPE, text=True))


def check(process):
    # A child may keep it open.
    text = os.read(process.stderr.fileno(), 65536).decode() if process.returncode == 1 else ""
    process.stderr.close()
    assert "not clean" not in text, text


def end(rng, tenants):
    if tenants:
        process = tenants.pop(rng.randrange(len(tenants)))
        kill(process.pid)
        process.wait()
        check(process)


def round_once(rng, tenants):
    what = rng.randrange(10)
    if what < 4:
        take(rng, tenants)
    elif what < 7 or len(tenants) > 4:
        end(rng, tenants)
    elif what == 7:
        kill(daemon() or 0) if daemon() else None
    else:
        for slot in answers() or []:
            if slot["state"] == "filling" and slot["pid"]:
                kill(slot["pid"])
                break
    friends.step(rng)
    time.sleep(rng.choice([0, 0.01, 0.05, 0.3]))


def all_ready():
    slots = answers() or []
    return slots and len(slots) == len(DEVICES) + SMALL and \
        all(slot["state"] == "ready" for slot in slots)


def kernel_complaints():
    text = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    return re.findall(r".*(?:BUG|WARNING|Oops|blocked for more than).*", text)


def main():
    rng = random.Random(SEED)
    tenants = []
    print(f"seed {SEED}, {ROUNDS} rounds")
    Slots.setUpClass()
    friends.listen()
    wait_for(all_ready, "ready", 120)
    before = state_of_daemon()
    for _ in range(ROUNDS):
        round_once(rng, tenants)
    while tenants:
        end(rng, tenants)
    friends.step(rng, keep=0)
    wait_for(all_ready, "all slots ready again", 300)
    time.sleep(1)
    assert cgroups() == sorted(slot["slot"] for slot in listing()), (cgroups(), listing())
    assert state_of_daemon() == before, (state_of_daemon(), before)
    takes = [slot["failures"] for slot in listing()]
    assert not kernel_complaints(), kernel_complaints()
    Slots.tearDownClass()
    left = subprocess.run(["pgrep", "-f", "vfioboost"], capture_output=True, text=True, check=False)
    assert str(os.getpid()) in left.stdout.split() or not left.stdout, left.stdout
    print(f"all {len(takes)} slots are ready again, nothing is left over")


if __name__ == "__main__":
    main()
