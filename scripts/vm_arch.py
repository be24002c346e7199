"""What differs between the machines of scripts/vm: each architecture is a class with
the same members, in ARCHITECTURES."""

import os
import subprocess

HERE = os.path.dirname(os.path.realpath(__file__))


class Amd64:
    # Values of --pages; the first one is the default.
    pages = ("4k",)
    # The machine has devices on all nodes, not on node 0 alone.
    spreads_devices = True
    # The machine runs programs of this host, from its root.
    foreign = False
    # Virtual functions appear like devices that are plugged in, which ACPI handles here.
    vf_hotplug = "off"
    # All devices are on the bus of one host bridge, not below root ports.
    host_bridge = False
    # What scripts/vm --kernel takes; the first one is the default.
    kernels = ("latest", "stock")
    iommu_module = "vfio_iommu_type1"

    @staticmethod
    def qemu_options(args, run):
        return [
            # Kernels zero memory with "rep stosb" where a processor says that this is
            # fast; it is emulated byte by byte.
            "-cpu", "max,erms=off,fsrm=off",
            # Without hardware that the kernels would spend time on.
            "-machine", "q35,kernel-irqchip=split,i8042=off,sata=off,smbus=off",
            "-device", {
                "intel": "intel-iommu,intremap=on,caching-mode=on,device-iotlb=on,"
                         f"aw-bits={args.iova_bits or 39}",
                "amd": "amd-iommu,intremap=on,device-iotlb=on",
            }[args.iommu],
            # virtme-ng has the first serial port.
            "-serial", f"file:{os.path.join(run, 'console')}",
        ]

    @staticmethod
    def kernel_arguments():
        return [
            "earlycon=uart8250,io,0x2f8",
            "intel_iommu=on",
            # Emulated timers can be late on a busy host.
            "no_timer_check", "tsc=reliable",
            # scripts/vm-guest starts the other CPUs, which measure their speed unless
            # they are given.
            "lpj=8000000",
        ]


class Foreign:
    """Architectures whose programs this host cannot run: the machine's root is that of
    scripts/sysroot."""

    foreign = True
    spreads_devices = False
    vf_hotplug = "on"
    host_bridge = False
    kernels = ("latest", "stock")
    iommu_module = "vfio_iommu_type1"

    def __init__(self):
        self.root = None

    def find_root(self):
        """Fetches the root if it is missing. Returns false after a failure."""
        command = [os.path.join(HERE, "sysroot"), self.name]
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        self.root = result.stdout.strip()
        return result.returncode == 0

    def write_qemu(self, run):
        """virtme-ng gives the first serial port to /dev/null, and the machine has no
        other. Returns the path of a QEMU that writes it to the file of the console."""
        path = os.path.join(run, "qemu")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"""#!/bin/bash
arguments=()
for argument; do
    [[ $argument != file,id=console,path=/dev/null ]] ||
        argument=file,id=console,path={run}/console
    arguments+=("$argument")
done
exec {self.qemu} "${{arguments[@]}}"
""")
        os.chmod(path, 0o755)
        return path

    def virtme_options(self, kernel, run):
        options = ["--arch", self.virtme, "--root", self.root]
        options += ["--busybox", os.path.join(self.root, "bin/busybox")]
        options += ["--qemu-bin", self.write_qemu(run)]
        modules = os.path.join(os.path.dirname(kernel), "lib/modules")
        if os.path.isdir(modules):
            link = os.path.join(run, "modules")  # versions have signs that virtme-ng refuses
            if not os.path.lexists(link):
                os.symlink(modules, link)
            options += ["--rodir", f"/lib/modules={link}"]
        return options


class Arm64(Foreign):
    name = "arm64"
    virtme = "aarch64"
    qemu = "qemu-system-aarch64"
    pages = ("4k", "16k", "64k")

    @staticmethod
    def qemu_options(_args, _run):
        # Interrupts of devices by an ITS. QEMU's "max" computes pointer authentication.
        return ["-cpu", "neoverse-n1", "-machine", "virt,iommu=smmuv3,gic-version=3"]

    @staticmethod
    def kernel_arguments():
        # Isolation between root ports: with a device tree, the kernel asks for it when it
        # has configured them already.
        return ["pci=config_acs=xx111x1@pci:1b36:000c"]


class Ppc64el(Foreign):
    name = "ppc64el"
    virtme = "ppc64le"
    qemu = "qemu-system-ppc64"
    pages = ("4k", "64k")
    # A group is all that is below a host bridge, and only the devices of one can share a
    # container.
    host_bridge = True
    kernels = ("stock",)
    iommu_module = "vfio_iommu_spapr_tce"

    @staticmethod
    def qemu_options(_args, _run):
        # A small firmware, which takes no time; and no workarounds that are not emulated.
        return ["-cpu", "power10", "-machine", "pseries,x-vof=on,cap-cfpc=broken,"
                "cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"]

    @staticmethod
    def kernel_arguments():
        return []


ARCHITECTURES = {"amd64": Amd64, "arm64": Arm64, "ppc64el": Ppc64el}
