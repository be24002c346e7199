#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""An unmodified QEMU takes over slots with devices by `vfioboost slots run`, in a machine of
scripts/vm with three devices, as root. What is mapped for devices must be what QEMU has asked for:
QEMU's own trace is compared with what the preloaded object prints, and with what the kernel says
when one more page is mapped there.

Usage: test_vmm.py VFIOBOOST VFIOBOOSTD QEMU
"""
import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import pathlib
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import unittest

import test_slots
from test_slots import DEVICES, FOLDER, NOBODY, SOCKET, VFIOBOOST, wait_for, wait_gone, wait_ready

QEMU = sys.argv[3]
MEGABYTE = 1 << 20
MEMORY = 32 * MEGABYTE
# Of memory that a user may lock, as systemd sets it.
MEMLOCK = 8 * MEGABYTE
IOMMUFD = os.path.exists("/dev/iommu") and "iommufd" in subprocess.run(
    [QEMU, "-object", "help"], capture_output=True, text=True, check=True).stdout
test_slots.CLASSES = {
    "vmm": f"memory = {MEMORY}\npage-size = 2m\nlayout = q35\ndevices = {' '.join(DEVICES[:2])}\n"
           f"devices-per-slot = 2\nallow = user:{NOBODY}\nrate = 1G\n"
           f"backend = {'iommufd' if IOMMUFD else 'type1'}\n",
}
if IOMMUFD:
    test_slots.CLASSES["bare"] = (
        f"memory = {MEMORY}\npage-size = 2m\nlayout = q35\nlevel = 1\ndevices = {DEVICES[2]}\n"
        "allow = user:root\nrate = 1G\n")
TAKEN = "is attached already" if IOMMUFD else "is open already"


class Connection:
    """Lines of text over a socket of QEMU."""

    def __init__(self, path):
        wait_for(lambda: os.path.exists(path), path)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(path)
        self.file = self.socket.makefile("rw")

    def ask(self, line):
        self.file.write(line + "\n")
        self.file.flush()
        return self.file.readline()


class Ranges:
    """Addresses that are mapped, as a list of disjoint [begin, end)."""

    def __init__(self):
        self.all = []

    def remove(self, begin, end):
        self.all = [part for first, last in self.all
                    for part in ((first, min(last, begin)), (max(first, end), last))
                    if part[0] < part[1]]

    def add(self, begin, end):
        self.remove(begin, end)
        self.all.append((begin, end))

    def merged(self):
        result = []
        for begin, end in sorted(self.all):
            if result and result[-1][1] == begin:
                result[-1] = (result[-1][0], end)
            else:
                result.append((begin, end))
        return result


class Prober:
    """Finds out what of the guest's memory devices can reach, by the files of another process."""

    GETFD = 438
    # VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA, IOMMU_IOAS_MAP, IOMMU_IOAS_UNMAP.
    TYPE1_MAP, TYPE1_UNMAP, MAP, UNMAP = 0x3b71, 0x3b72, 0x3b85, 0x3b86

    def __init__(self, pid):
        name = re.compile("/dev/iommu|.*iommufd" if IOMMUFD else "/dev/vfio/vfio")
        fds = [int(entry.name) for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir()
               if name.match(os.readlink(entry))]
        pidfd = os.pidfd_open(pid)
        self.fd = ctypes.CDLL(None, use_errno=True).syscall(self.GETFD, pidfd, fds[0], 0)
        assert self.fd >= 0, os.strerror(ctypes.get_errno())
        os.close(pidfd)
        self.page = mmap.mmap(-1, mmap.PAGESIZE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.page))
        # None: nothing is mapped.
        self.ioas = next((number for number in range(1, 64) if self.reaches(MEMORY // 2, number)),
                         None)

    def map(self, iova, ioas):
        if IOMMUFD:
            fcntl.ioctl(self.fd, self.MAP, struct.pack("<4I3Q", 40, 7, ioas, 0, self.address,
                                                       mmap.PAGESIZE, iova))
            fcntl.ioctl(self.fd, self.UNMAP, struct.pack("<2I2Q", 24, ioas, iova, mmap.PAGESIZE))
            return
        fcntl.ioctl(self.fd, self.TYPE1_MAP,
                    struct.pack("<2I3Q", 32, 3, self.address, iova, mmap.PAGESIZE))
        fcntl.ioctl(self.fd, self.TYPE1_UNMAP, struct.pack("<2I2Q", 24, 0, iova, mmap.PAGESIZE))

    def reaches(self, iova, ioas):
        """Whether a page is mapped: another one cannot be mapped there then."""
        try:
            self.map(iova, ioas)
        except OSError as error:
            # ENOENT: there is no IOAS of that number.
            assert error.errno in (errno.EEXIST, errno.ENOENT), error
            return error.errno == errno.EEXIST
        return False

    def close(self):
        os.close(self.fd)


class Vmm:
    """QEMU without a guest that runs: its machine is used by qtest."""

    def __init__(self, name, machine, *arguments, iommu="", **options):
        (FOLDER / "vmm").mkdir(exist_ok=True)
        os.chown(FOLDER / "vmm", NOBODY, NOBODY)
        self.paths = {name: str(FOLDER / "vmm" / name) for name in ("qmp", "qtest", "log")}
        for path in self.paths.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with open(self.paths["log"], "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [VFIOBOOST, "slots", "run", "--verbose", "--socket", SOCKET, name, "--", QEMU,
                 "-nodefaults", "-display", "none", "-accel", "tcg", "-S", "-m", f"{MEMORY}B",
                 "-machine", f"{machine},memory-backend=m", "-object",
                 "memory-backend-file,id=m,mem-path={memory},size={size},share=on,prealloc=off",
                 "-trace", "vfio_listener_region_add_ram", "-trace", "vfio_listener_region_del",
                 "-qtest", f"unix:{self.paths['qtest']},server=on,wait=off",
                 "-qtest-log", "/dev/null",
                 "-qmp", f"unix:{self.paths['qmp']},server=on,wait=off",
                 *(["-object", f"iommufd,id=fd0{iommu}"] if IOMMUFD else []), *arguments],
                stderr=log, **options)
        try:
            self.qmp = Connection(self.paths["qmp"])
            self.qmp.file.readline()
            self.execute("qmp_capabilities")
            self.qtest = Connection(self.paths["qtest"])
        except (AssertionError, OSError):
            self.process.kill()
            self.process.wait()
            print(self.log())
            raise

    def execute(self, command, **arguments):
        answer = self.qmp.ask(json.dumps({"execute": command, "arguments": arguments}))
        while "return" not in json.loads(answer):
            assert "error" not in json.loads(answer), answer
            answer = self.qmp.file.readline()
        return json.loads(answer)["return"]

    def wait_event(self, name):
        while json.loads(self.qmp.file.readline()).get("event") != name:
            pass

    def out(self, size, port, value):
        assert self.qtest.ask(f"out{size} {port:#x} {value:#x}").startswith("OK")

    def log(self):
        with open(self.paths["log"], encoding="utf-8") as file:
            return file.read()

    def said(self, since=0):
        return re.findall("vfioboost slots: (.*)", self.log()[since:])

    def mapped_anew(self, since=0):
        """Parts of the slot's memory that the kernel had to map again."""
        return [line for line in self.said(since)
                if line.startswith("the kernel maps") and line.endswith("of the slot")]

    def wanted(self):
        """What QEMU wants to be mapped."""
        ranges = Ranges()
        for what, begin, last in re.findall(
                r"region_(add \[ram\]|del) 0x([0-9a-f]+) - 0x([0-9a-f]+)", self.log()):
            change = ranges.remove if what == "del" else ranges.add
            change(int(begin, 16), int(last, 16) + 1)
        return ranges.merged()

    def mapped(self):
        """What the kernel has mapped."""
        # QEMU answers with its big lock held. What was put off is done when it releases the lock,
        # before it reads the next command.
        self.qtest.ask("inb 0x80")
        ranges = Ranges()
        ranges.add(2 * MEGABYTE, MEMORY)
        for what, begin, end in re.findall(
                r"the kernel (maps|unmaps) (?:0x)?([0-9a-f]+)-0x([0-9a-f]+)", self.log()):
            change = ranges.remove if what == "unmaps" else ranges.add
            change(int(begin, 16), int(end, 16))
        return ranges.merged()


def vfio(number, **properties):
    words = {"host": DEVICES[number], "id": f"d{number}", **properties}
    if IOMMUFD:
        words["iommufd"] = "fd0"
    return words


def argument(number, **properties):
    return ["-device", ",".join(["vfio-pci", *(f"{key}={value}" for key, value in
                                               vfio(number, **properties).items())])]


class Vmms(unittest.TestCase):
    setUpClass = test_slots.Slots.setUpClass
    tearDownClass = test_slots.Slots.tearDownClass

    @contextlib.contextmanager
    def vmm(self, machine, *arguments, name="vmm", **options):
        slot = wait_ready(name)[0]["slot"]
        vmm = Vmm(name, machine, *arguments, **options)
        try:
            yield vmm
            vmm.execute("quit")
            self.assertEqual(vmm.process.wait(60), 0)
        except BaseException:
            print(vmm.log())
            vmm.process.kill()
            vmm.process.wait()
            raise
        finally:
            vmm.qmp.file.close()
            vmm.qmp.socket.close()
            vmm.qtest.file.close()
            vmm.qtest.socket.close()
        wait_gone(slot)

    def check(self, vmm):
        wanted = vmm.wanted()
        self.assertEqual(vmm.mapped(), wanted)
        with contextlib.closing(Prober(vmm.process.pid)) as prober:
            for end in range(MEGABYTE, MEMORY + 1, MEGABYTE):
                for page in end - MEGABYTE, end - mmap.PAGESIZE:
                    self.assertEqual(bool(prober.ioas) and prober.reaches(page, prober.ioas),
                                     any(begin <= page < last for begin, last in wanted),
                                     f"{page:#x} of {wanted}")

    def test_memory_that_firmware_hides(self):
        with self.vmm("q35", *argument(0), *argument(1)) as vmm:
            said = vmm.said()
            for device in DEVICES[:2]:
                self.assertIn(f"{device} {TAKEN}", said)
                self.assertIn(f"{device} was reset in advance", said)
            # Low memory is unmapped and mapped again by the reset of the machine.
            self.assertEqual(vmm.mapped_anew(), [])
            self.check(vmm)
            # TSEG of 1 and 8 MiB: G_SMRAME of SMRAM, T_EN and TSEG_SZ of ESMRAMC.
            for bits, size in (1, 1), (5, 8):
                since = len(vmm.log())
                vmm.out("l", 0xcf8, 0x8000009c)
                vmm.out("b", 0xcfd, 0x0a)
                vmm.out("b", 0xcfe, bits)
                self.assertIn(MEMORY - size * MEGABYTE, [end for _, end in vmm.mapped()])
                self.check(vmm)
                self.assertEqual(vmm.mapped_anew(since), [])
                vmm.out("b", 0xcfe, 0)
                self.check(vmm)

    def test_plugging(self):
        with self.vmm("pc", *argument(0, addr=5), *argument(1, addr=6)) as vmm:
            self.check(vmm)
            for numbers in [1], [0], [0, 1]:
                since = len(vmm.log())
                for number in numbers:
                    vmm.execute("device_del", id=f"d{number}")
                    # What the guest's ACPI does: the bus, and the slot to eject.
                    vmm.out("l", 0xae10, 0)
                    vmm.out("l", 0xae08, 1 << (5 + number))
                    vmm.wait_event("DEVICE_DELETED")
                self.check(vmm)
                for number in numbers:
                    vmm.execute("device_add", driver="vfio-pci", addr=str(5 + number),
                                **vfio(number))
                self.check(vmm)
                said = vmm.said(since)
                for number in numbers:
                    self.assertIn(f"{DEVICES[number]} is released", said)

    @unittest.skipUnless(IOMMUFD, "there is no iommufd")
    def test_without_devices(self):
        """A slot of level 1: the program opens a device itself."""
        with self.vmm("q35", *argument(2), name="bare") as vmm:
            said = vmm.said()
            self.assertIn("the domain is that of the slot", said)
            self.assertEqual(vmm.mapped_anew(), [])
            self.check(vmm)

    @unittest.skipUnless(IOMMUFD, "there is no iommufd")
    def test_file_descriptors(self):
        """As for a QEMU that may not open the files itself."""
        with self.vmm("q35", "-device", "vfio-pci,fd={device1},iommufd=fd0",
                      iommu=",fd={iommu}") as vmm:
            self.assertIn(f"{DEVICES[1]} {TAKEN}", vmm.said())
            self.assertEqual(vmm.mapped_anew(), [])
            self.check(vmm)

    def test_user(self):
        """A user who could neither open the devices nor lock that much memory."""
        for folder in pathlib.Path(shutil.which(QEMU)).parents:
            if not folder.stat().st_mode & 1:
                folder.chmod(folder.stat().st_mode | 1)

        def limit():
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (MEMLOCK, MEMLOCK))

        with self.vmm("q35", *argument(0), *argument(1), user=NOBODY, group=NOBODY,
                      extra_groups=[], preexec_fn=limit) as vmm:
            self.assertEqual(vmm.mapped_anew(), [])
            self.check(vmm)

    def test_iommu_of_the_guest(self):
        with self.vmm("q35", "-device", "intel-iommu,caching-mode=on,aw-bits=39",
                      *argument(0)) as vmm:
            self.assertIn(f"{DEVICES[0]} {TAKEN}", vmm.said())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
