#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A guest of QEMU works under `vfioboost exec`, and with a slot, as it does without: it boots Linux
and writes to and reads from the disk of a passed-through NVMe device. To be run in scripts/vm with
--disk.

Usage: test_guest.py VFIOBOOST KERNEL
KERNEL is what scripts/kernel stock prints: a kernel with its modules beside it.
"""
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

COMMAND, KERNEL = os.path.abspath(sys.argv.pop(1)), sys.argv.pop(1)
DEVICES = os.environ.get("VFIO_DEVICES", "").split()
BLOCK, BLOCKS = 4096, 256

INIT = f"""#!/busybox sh
/busybox mkdir /proc /dev
/busybox mount -t devtmpfs none /dev
/busybox mount -t proc none /proc
for module in $(/busybox cat /modules); do /busybox insmod /$module; done
until [ -b /dev/nvme0n1 ]; do /busybox sleep 0.1; done
word=$(/busybox sed 's/.*word=//' /proc/cmdline)
/busybox yes $word | /busybox dd of=/pattern bs={BLOCK} count={BLOCKS} iflag=fullblock 2>/dev/null
/busybox dd if=/pattern of=/dev/nvme0n1 bs={BLOCK} oflag=direct 2>/dev/null
/busybox dd if=/dev/nvme0n1 bs={BLOCK} count={BLOCKS} iflag=direct 2>/dev/null >/read
echo "read $(/busybox sha256sum </read)"
/busybox poweroff -f
"""


def modules_of(root):
    """The files of the NVMe driver in the order in which they are loaded."""
    with open(glob.glob(f"{root}/lib/modules/*/modules.dep")[0], encoding="ascii") as file:
        line = next(line for line in file if line.partition(":")[0].endswith("/nvme.ko"))
    base = glob.glob(f"{root}/lib/modules/*")[0]
    return [os.path.join(base, name) for name in reversed(line.replace(":", "").split())]


def make_initramfs(directory):
    root = os.path.join(directory, "root")
    os.mkdir(root)
    shutil.copy(shutil.which("busybox"), root)
    modules = modules_of(os.path.dirname(KERNEL))
    for module in modules:
        shutil.copy(module, root)
    with open(f"{root}/modules", "w", encoding="ascii") as file:
        file.write(" ".join(os.path.basename(module) for module in modules))
    with open(f"{root}/init", "w", encoding="ascii") as file:
        file.write(INIT)
    os.chmod(f"{root}/init", 0o755)
    image = os.path.join(directory, "initramfs")
    with open(image, "wb") as file:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, stdout=file, check=True,
                       input="\n".join(os.listdir(root)), encoding="ascii")
    return image


@unittest.skipUnless(DEVICES, "there is no VFIO device: see scripts/vm")
class Guest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.initramfs = make_initramfs(directory.name)
        if not os.path.exists("/dev/kvm"):
            subprocess.run(["modprobe", "kvm_amd"], check=False)
        cls.accelerator = "kvm" if os.path.exists("/dev/kvm") else "tcg"

    def boot(self, word, *wrapper, memory=()):
        # The deadline timer stalls under nested emulation.
        command = [*wrapper, "qemu-system-x86_64", "-nodefaults", "-nographic",
                   "-accel", self.accelerator, "-machine", "q35", *memory,
                   "-cpu", "qemu64,-tsc-deadline",
                   "-m", "256M", "-kernel", KERNEL, "-initrd", self.initramfs,
                   "-append", f"console=ttyS0 quiet no_timer_check word={word}",
                   "-serial", "stdio", "-device", f"vfio-pci,host={DEVICES[0]}"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        pattern = (f"{word}\n".encode() * (BLOCK * BLOCKS))[: BLOCK * BLOCKS]
        found = re.search(r"read ([0-9a-f]{64})\b", result.stdout)
        self.assertTrue(found, result.stdout[-2000:] + result.stderr)
        self.assertEqual(found[1], hashlib.sha256(pattern).hexdigest())
        return result.stderr

    def test_without(self):
        self.boot("without")

    def test_with(self):
        errors = self.boot("with", COMMAND, "exec", "--")
        self.assertIn("populate (vfioboost)", errors)
        self.assertIn(f"release device (vfioboost) {DEVICES[0]}", errors)

    def test_slot(self):
        """The device of a slot with its memory mapped, which firmware and the guest map anew."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        os.mkdir(f"{folder.name}/slots.d")
        with open(f"{folder.name}/slots.d/guest.conf", "w", encoding="ascii") as file:
            file.write(f"memory = 256M\nlayout = q35\ndevices = {DEVICES[0]}\nbackend = type1\n"
                       "allow = user:root\n")
        with subprocess.Popen([f"{os.path.dirname(COMMAND)}/../daemon/vfioboostd",
                               "--config", f"{folder.name}/slots.d",
                               "--socket", f"{folder.name}/socket"]) as daemon:
            try:
                while not os.path.exists(f"{folder.name}/socket"):
                    time.sleep(0.1)
                errors = self.boot(
                    "slot", COMMAND, "slots", "run", "--verbose", "--wait", "120", "--socket",
                    f"{folder.name}/socket", "guest", "--",
                    memory=["-machine", "memory-backend=m", "-object", "memory-backend-file,id=m,"
                            "mem-path={memory},size={size},share=on,prealloc=off"])
            finally:
                daemon.terminate()
        self.assertIn(f"{DEVICES[0]} is open already", errors)
        self.assertIn("the slot is mapped already", errors)


if __name__ == "__main__":
    unittest.main(verbosity=1)
