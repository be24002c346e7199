"""Run a command in a throw-away virtual machine with an IOMMU, NVMe devices
bound to vfio-pci, NUMA nodes and huge pages, on a real kernel."""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

from vm_arch import ARCHITECTURES

EPILOG = """\
The machine sees the host's files. The project's tree is writable; changes to
other files are lost with the machine. The command runs as root, in the caller's
directory, with the caller's environment, standard input, output and error.

Devices: NVMe controllers, each behind its own root port and in its own IOMMU
group, bound to vfio-pci. $VFIO_DEVICES has their addresses: 0000:01:00.0,
0000:02:00.0, ... on node 0, 0000:21:00.0, 0000:22:00.0, ... on node 1,
0000:41:00.0, ... on node 2 and so on. Devices, CPUs and memory are shared out
evenly among the nodes. --bridged, --functions, --bar, --cards, --vfs and --mixed
add other devices to node 0, which are bound to vfio-pci too.

Exit status: the command's, or 128+N if signal N ended it; 124 after the timeout;
125 if the machine failed (didn't start, too few huge pages, kernel panic); 2 for
bad usage.

Other architectures: the machine's files are those of scripts/sysroot, and the
project's tree; the command must be a program or script there. All devices are on
node 0.
  amd64  q35 with VT-d
  arm64  virt with SMMUv3 and GICv3 (its ITS delivers the interrupts of devices)
  ppc64el  pseries with sPAPR TCE. There are only the devices of --devices, which are on
         one bus, 0001:00:00.0, 0001:00:01.0, ..., and in one IOMMU group

The processor is emulated: a machine takes seconds to boot, and programs run 20
to 70 times slower than on the host.

Examples:
  scripts/vm --devices 2 -- sh -c 'echo $VFIO_DEVICES; ls /dev/vfio/devices'
  scripts/vm --kernel stock --nodes 2 --devices 4 --hugepages 2m:512 -- lspci -tv
  scripts/vm --arch arm64 --kernel stock --pages 16k --devices 1 -- lspci -tv
"""

HERE = os.path.dirname(os.path.realpath(__file__))
PROJECT = os.path.dirname(HERE)
CACHE = os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vfioboost"
)
VIRTME = os.path.join(CACHE, "virtme-ng-1.42", "bin")

# virtme-ng mounts the root by itself where 9p is a module. Without "cache=loose" each look at a
# file goes to the host.
VIRTME_RUN = """
import sys
from virtme import mkinitramfs
from virtme.commands import run
before = mkinitramfs._MOUNT_ROOT_HOST
mkinitramfs._MOUNT_ROOT_HOST = before.replace("access=any,", "access=any,cache=loose,")
assert before != mkinitramfs._MOUNT_ROOT_HOST
sys.exit(run.main())
"""

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
MAX_NODES = 8
MAX_DEVICES = 32
MAX_FUNCTIONS = 8
BUSES_PER_NODE = 0x20
# A kernel takes 2047 characters; virtme-ng and this script need about 1350.
MAX_APPEND = 400
# Directories of the host that the machine may change a copy of.
OVERLAYS = ("/etc", "/home", "/opt", "/root", "/srv", "/tmp", "/usr", "/var")
# Where a machine with files of its own sees the directory of its run.
FOREIGN_RUN = "/run/vfioboost"

# QEMU before 8.1 sometimes runs stale code after a kernel has patched itself on
# another CPU: it panics or hangs. Kernels do that mostly while they boot. So they
# boot on one CPU, and a machine that hasn't come to the command starts again.
BOOT_ATTEMPTS = 3
BOOT_TIMEOUT, BOOT_TIMEOUT_ICOUNT = 120, 480

EXIT_TIMEOUT = 124
EXIT_MACHINE = 125


def say(*lines):
    print("scripts/vm: " + "\n".join(lines), file=sys.stderr, flush=True)


def size(text):
    units = {"m": MIB, "g": GIB}
    count, unit = text[:-1], units.get(text[-1:].lower())
    if unit is None or not count.isdecimal() or int(count) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 512M or 8G")
    return int(count) * unit


def hugepages(text):
    page, _, count = text.lower().partition(":")
    units = {"k": KIB, "m": MIB, "g": GIB}
    if page[-1:] not in units or not page[:-1].isdecimal() or not count.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not like 2m:N or 1g:N")
    bytes_of_page = int(page[:-1]) * units[page[-1]]
    if not bytes_of_page or bytes_of_page & (bytes_of_page - 1) or not int(count):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 2m:N or 1g:N")
    return bytes_of_page, int(count)


def number(low, high):
    def parse(text):
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return int(text)

    return parse


def kernel_options(text):
    try:
        options = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
    if any('"' in option for option in options):
        raise argparse.ArgumentTypeError(f"{text!r}: a kernel takes no quotes")
    return options


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="scripts/vm",
        usage="scripts/vm [OPTION]... -- COMMAND [ARGUMENT]...",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--kernel", choices=("stock", "latest"),
        help="stock: Debian's 6.12, VFIO type1 only; latest (default): Debian's newest "
        "source, also with iommufd; see scripts/kernel. ppc64el has stock only")
    add("--arch", choices=ARCHITECTURES, default="amd64",
        help="architecture of the machine (default: amd64)")
    add("--pages", metavar="SIZE",
        help="base pages of the kernel: 4k (default); 16k, or 64k of latest, of arm64; 64k of "
        "ppc64el")
    add("--cpus", type=number(1, 64), metavar="N",
        help="number of CPUs (default: 2, or one for each node)")
    add("--memory", type=size, metavar="SIZE",
        help="memory including the huge pages, like 8G (default: 4G for each node, and "
        "the huge pages)")
    add("--nodes", type=number(1, MAX_NODES), default=1, metavar="N",
        help=f"number of NUMA nodes, up to {MAX_NODES} (default: 1)")
    add("--devices", type=number(0, MAX_DEVICES), default=0, metavar="N",
        help=f"number of NVMe devices, up to {MAX_DEVICES} (default: 0)")
    add("--disk", type=size, metavar="SIZE",
        help="give each of those NVMe devices an empty disk (default: they have none)")
    add("--bridged", type=number(1, 30), default=0, metavar="N",
        help="N NVMe devices below one PCI bridge, in one IOMMU group, in $VFIO_BRIDGED")
    add("--functions", type=number(2, MAX_FUNCTIONS), default=0, metavar="N",
        help="an NVMe device of N functions, in one IOMMU group, in $VFIO_FUNCTIONS")
    add("--bar", type=size, action="append", default=[], metavar="SIZE",
        help="a device whose BAR 2 is memory of SIZE (ivshmem), in $VFIO_BARS; may be repeated")
    add("--cards", type=number(1, 8), default=0, metavar="N",
        help="N network cards without a network (Intel 82574), in $VFIO_CARDS")
    add("--vfs", type=number(2, 7), default=0, metavar="N",
        help="an NVMe device with N virtual functions, which are in $VFIO_VFS; its physical "
        "function, in $VFIO_PF, has the kernel's nvme driver if there is one, else vfio-pci")
    add("--mixed", action="store_true",
        help="an NVMe device that shares its IOMMU group with one of the kernel's, in $VFIO_MIXED")
    add("--hugepages", type=hugepages, action="append", default=[], metavar="SIZE:N",
        help="reserve N huge pages of SIZE, such as 2m or 1g; may be given for each size that "
        "the kernel has")
    add("--iommu", choices=("intel", "amd"), default="intel",
        help="whose IOMMU a machine of amd64 has (default: intel). With amd, which the stock "
        "kernel knows, the DMA of devices arrives nowhere, up to QEMU 10.0")
    add("--iova-bits", type=int, choices=(39, 48),
        help="width of the IOVAs that VT-d translates (default: 39)")
    add("--icount", action="store_true",
        help="the machine's clock counts instructions, 1 ns each, while a processor works: what "
        "else the host does changes little of what is measured (but it takes longer, and "
        "processors work in turn)")
    add("--timeout", type=number(1, 10**6), default=900, metavar="SECONDS",
        help="end the machine after so long (default: 900)")
    add("--append", type=kernel_options, action="append", default=[], metavar="ARGS",
        help="more arguments for the kernel")

    split = argv.index("--") if "--" in argv else len(argv)
    args = parser.parse_args(argv[:split])
    args.command = argv[split + 1 :]
    if not args.command:
        parser.error("no command; give it after --")
    check_architecture(parser, args)
    args.cpus = args.cpus or max(2, args.nodes)
    if args.cpus < args.nodes:
        parser.error(f"{args.nodes} nodes need at least {args.nodes} CPUs")
    if len(dict(args.hugepages)) < len(args.hugepages):
        parser.error("--hugepages was given twice for the same size")
    reserved = sum(page * count for page, count in args.hugepages)
    args.memory = args.memory or args.nodes * 4 * GIB + reserved
    if args.memory < reserved + args.nodes * GIB // 2:
        parser.error("--memory must be 512M for each node more than the huge pages")
    if any(bytes & (bytes - 1) for bytes in args.bar):
        parser.error("the size of a --bar must be a power of two")
    ports = len(device_addresses(args)[0]) + extra_ports(args)
    if extra_ports(args) and ports >= BUSES_PER_NODE - 1:
        parser.error("too many devices for node 0")
    args.append = [option for options in args.append for option in options]
    if len(" ".join(args.append)) > MAX_APPEND:
        parser.error(f"--append takes {MAX_APPEND} characters at most")
    return args


def check_architecture(parser, args):
    """Replaces the name of the architecture by what is known about it."""
    name, args.arch = args.arch, ARCHITECTURES[args.arch]()
    args.pages = args.pages or args.arch.pages[0]
    if args.pages not in args.arch.pages:
        parser.error(f"kernels of {name} have pages of {' or '.join(args.arch.pages)}")
    if (args.kernel or args.arch.kernels[0]) not in args.arch.kernels:
        parser.error(f"there is no {args.kernel} kernel of {name}")
    if args.arch.host_bridge and extra_ports(args):
        parser.error(f"machines of {name} have no devices but those of --devices")
    if (args.iova_bits or args.iommu == "amd") and name != "amd64":
        parser.error("--iova-bits and --iommu are for machines of amd64")
    if args.iova_bits and args.iommu == "amd":
        parser.error("--iova-bits is for --iommu intel")
    args.kernel = [args.kernel or args.arch.kernels[0], "--arch", name, "--pages", args.pages]


def share(total, parts, index):
    """The items that part `index` of `parts` gets of `total`."""
    return range(total * index // parts, total * (index + 1) // parts)


def extra_ports(args):
    """Root ports that the devices of extra_addresses take."""
    return (bool(args.bridged) + bool(args.functions) + len(args.bar) + args.cards +
            bool(args.vfs) + args.mixed)


def device_addresses(args):
    """A list of PCI addresses for each node; the first nodes get the odd ones."""
    if args.arch.host_bridge:
        return [[f"0001:00:{i:02x}.0" for i in range(args.devices)]]
    nodes = args.nodes if args.arch.spreads_devices else 1
    counts = [len(share(args.devices, nodes, node)) for node in range(nodes)]
    return [
        [f"0000:{BUSES_PER_NODE * node + 1 + i:02x}:00.0" for i in range(count)]
        for node, count in enumerate(sorted(counts, reverse=True))
    ]


def extra_addresses(args, devices):
    """The PCI addresses of the other devices, by the name of their variable. The
    firmware numbers buses in the order of their ports."""
    bus = len(devices[0]) + 1
    bridged = [f"0000:{bus + 1:02x}:{i + 1:02x}.0" for i in range(args.bridged)]
    bus += 2 if args.bridged else 0
    functions = [f"0000:{bus:02x}:00.{i}" for i in range(args.functions)]
    bus += 1 if args.functions else 0
    bars = [f"0000:{bus + i:02x}:00.0" for i in range(len(args.bar))]
    bus += len(bars)
    cards = [f"0000:{bus + i:02x}:00.0" for i in range(args.cards)]
    bus += len(cards)
    pf = [f"0000:{bus:02x}:00.0"] if args.vfs else []
    vfs = [f"0000:{bus:02x}:00.{i + 1}" for i in range(args.vfs)]
    bus += len(pf)
    mixed = [f"0000:{bus:02x}:00.0"] if args.mixed else []
    return {"VFIO_BRIDGED": bridged, "VFIO_FUNCTIONS": functions, "VFIO_BARS": bars,
            "VFIO_CARDS": cards, "VFIO_PF": pf, "VFIO_VFS": vfs, "VFIO_MIXED": mixed}


class Ports:
    """Root ports, numbered through the whole machine."""

    def __init__(self):
        self.count = 0

    def options(self, bus, slot, i, hotplug="off"):
        """The i-th port of a bus, from the slot on. At more than 5 GT/s a reset of
        the bus waits for a link to come up, which those of QEMU don't."""
        self.count += 1
        return ["-device", f"pcie-root-port,id=port{self.count},chassis={self.count},bus={bus},"
                f"addr={slot + i // 8:#x}.{i % 8},multifunction=on,io-reserve=0,"
                f"hotplug={hotplug},x-speed=5"]


def nvme_options(args, name, run):
    """An NVMe device, its disk, and what else to say of it."""
    bus = f"host.0,addr={name - 1:#x}" if args.arch.host_bridge else f"port{name}"
    if not args.disk:
        return ["-device", f"nvme,serial=nvme{name},bus={bus}"]
    image = os.path.join(run, f"disk{name}")
    with open(image, "wb") as file:
        file.truncate(args.disk)
    return ["-drive", f"if=none,id=disk{name},format=raw,file={image}",
            "-device", f"nvme,serial=nvme{name},bus={bus},drive=disk{name}"]


def extra_options(args, ports, first):
    """The devices of extra_addresses, from the first free port of node 0 on."""
    options = []
    if args.bridged:
        options += ports.options("pcie.0", 0x10, first)
        options += ["-device", f"pcie-pci-bridge,id=bridge,bus=port{ports.count}"]
        for i in range(args.bridged):
            options += ["-device", f"nvme,serial=bridged{i},bus=bridge,addr={i + 1:#x}.0"]
        first += 1
    if args.functions:
        options += ports.options("pcie.0", 0x10, first)
        for i in range(args.functions):
            options += ["-device", f"nvme,serial=function{i},bus=port{ports.count},"
                        f"addr=0.{i},multifunction=on"]
        first += 1
    for i, size_of_bar in enumerate(args.bar):
        options += ports.options("pcie.0", 0x10, first + i)
        options += ["-object", f"memory-backend-ram,id=bar{i},size={size_of_bar},share=on"]
        options += ["-device", f"ivshmem-plain,memdev=bar{i},bus=port{ports.count}"]
    for i in range(args.cards):
        options += ports.options("pcie.0", 0x10, first + len(args.bar) + i)
        options += ["-device", f"e1000e,bus=port{ports.count}"]
    first += len(args.bar) + args.cards
    if args.vfs:
        options += ports.options("pcie.0", 0x10, first, args.arch.vf_hotplug)
        options += ["-device", "nvme-subsys,id=subsystem"]
        # Two queues and an interrupt of its own for each virtual function.
        options += ["-device", f"nvme,serial=pf,bus=port{ports.count},subsys=subsystem,"
                    f"sriov_max_vfs={args.vfs},sriov_vq_flexible={2 * args.vfs},"
                    f"sriov_vi_flexible={args.vfs},max_ioqpairs={2 * args.vfs + 2},"
                    f"msix_qsize={args.vfs + 4}"]
        first += 1
    if args.mixed:
        options += ports.options("pcie.0", 0x10, first)
        options += ["-device", f"nvme,serial=mixed,bus=port{ports.count},addr=0.0,"
                    "multifunction=on",
                    "-device", f"virtio-rng-pci,bus=port{ports.count},addr=0.1"]
    return options


def qemu_options(args, devices, run):
    threads = ["tcg,thread=single", "-icount", "shift=0"] if args.icount else ["tcg,thread=multi"]
    options = ["-nodefaults", "-accel", *threads, *args.arch.qemu_options(args, run)]
    for node in range(args.nodes):
        cpus = share(args.cpus, args.nodes, node)
        pages = share(args.memory // (2 * MIB), args.nodes, node)
        options += ["-object", f"memory-backend-ram,id=memory{node},size={2 * len(pages)}M"]
        options += ["-numa", f"node,nodeid={node},memdev=memory{node},cpus={cpus[0]}-{cpus[-1]}"]
    if args.arch.host_bridge:
        options += ["-device", "spapr-pci-host-bridge,index=1,id=host"]
        for i in range(args.devices):
            options += nvme_options(args, i + 1, run)
        return options
    ports = Ports()
    for node, addresses in enumerate(devices):
        bus, slot = "pcie.0", 0x10
        if node > 0 and addresses:
            bus, slot = f"node{node}", 0
            options += ["-device", f"pxb-pcie,id={bus},bus=pcie.0,addr={0x14 + node:#x},"
                        f"bus_nr={BUSES_PER_NODE * node},numa_node={node}"]
        for i in range(len(addresses)):
            options += ports.options(bus, slot, i)
            options += nvme_options(args, ports.count, run)
    return options + extra_options(args, ports, len(devices[0]))


def kernel_arguments(args, run):
    arguments = args.arch.kernel_arguments() + [
        f"PATH={run}:/usr/sbin:/usr/bin:/sbin:/bin",  # see write_stubs
        # Errors and panics to the serial port, from the very beginning.
        "keep_bootcon", "loglevel=4", "oops=panic",
        "vfio-pci.ids=1b36:0010,1af4:1110,8086:10d3",
        "modprobe.blacklist=nvme,e1000e",
        "maxcpus=1",  # see BOOT_ATTEMPTS; scripts/vm-guest starts the others
        # Debian's kernel zeroes whatever it allocates, pages of its pools too.
        "init_on_alloc=0",
        # Self-tests of cryptography that nobody needs here.
        "cryptomgr.notests=1", "initcall_blacklist=jent_mod_init,crypto_kdf108_init",
        # Nobody changes the host's programs meanwhile.
        "root=/dev/root",
        "rootflags=version=9p2000.L,trans=virtio,access=any,msize=512000,cache=loose",
    ]
    if args.vfs:
        arguments += ["vfio_pci.enable_sriov=1"]
    for page, count in args.hugepages:
        arguments += [f"hugepagesz={page // KIB}K", f"hugepages={count}"]
    return arguments + args.append


def virtme_command(args, kernel, run, devices):
    # A backstop in case that this script gets killed.
    command = ["timeout", "--signal=KILL", str(args.timeout + 30)]
    command += [os.path.join(VIRTME, "python3"), "-c", VIRTME_RUN]
    command += ["--kimg", kernel, "--mods", "auto"]
    command += ["--disable-kvm", "--disable-microvm", "--force-9p"]
    command += ["--memory", f"{args.memory // (2 * MIB) * 2}M"]
    # A socket for each CPU fits any number of nodes.
    command += ["--cpus", f"{args.cpus},sockets={args.cpus},cores=1,threads=1"]
    run_there = run
    if args.arch.foreign:
        run_there = FOREIGN_RUN
        command += args.arch.virtme_options(kernel, run)
        os.makedirs(args.arch.root + PROJECT, exist_ok=True)
    for there, directory in ((PROJECT, PROJECT), (run_there, run)):
        command += ["--rwdir", f"{there}={directory}"]
    for directory in filter(os.path.isdir, OVERLAYS):
        command += ["--overlay-rwdir", directory]
    for argument in kernel_arguments(args, run_there):
        command += ["--kopt", argument]
    command += ["--script-sh", "exec " + shlex.join([os.path.join(HERE, "vm-guest"), run_there])]
    # The last option, it takes all the rest.
    return command + ["--qemu-opts"] + qemu_options(args, devices, run)


def write_job(args, run, devices):
    """The instructions for scripts/vm-guest, as a part of a shell script."""
    hidden = ("TMPDIR", "XDG_RUNTIME_DIR")  # directories that the machine doesn't have
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    addresses = [address for node in devices for address in node]
    environment["VFIO_DEVICES"] = " ".join(addresses)
    extra = extra_addresses(args, devices)
    for name, group in extra.items():
        environment[name] = " ".join(group)
        addresses += group if name != "VFIO_PF" else []
    command = args.command
    if "=" in command[0]:  # it would be a variable to env
        command = ["sh", "-c", 'exec "$@"', "sh"] + command
    variables = {
        "cpus": str(args.cpus),
        "iommu_module": args.arch.iommu_module,
        "devices": " ".join(addresses),
        "pf": " ".join(extra["VFIO_PF"]),
        "vfs": str(args.vfs),
        "local_devices": " ".join(devices[0] + sum(extra.values(), [])) if args.nodes > 1 else "",
        "hugepages": " ".join(f"{page // 1024}:{count}" for page, count in args.hugepages),
        "directory": os.getcwd(),
    }
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    line = ["env", "-i", *(f"{k}={v}" for k, v in environment.items()), *command]
    text += f"run() {{ exec {shlex.join(line)}; }}\n"
    with open(os.path.join(run, "job"), "wb") as file:
        file.write(os.fsencode(text))


def write_stubs(run):
    """Replaces what takes longer than the rest of virtme-ng's init: temporary
    files of systemd, and udev looking at every device. Of what udev does, only
    the names of the virtio ports are needed."""
    stubs = {
        "systemd-tmpfiles": "",
        "udevadm": """
mkdir -p /dev/virtio-ports
for port in /sys/class/virtio-ports/*; do
    read -r name <"$port/name"
    ln -sf "../${port##*/}" "/dev/virtio-ports/$name"
done
""",
    }
    for name, text in stubs.items():
        path = os.path.join(run, name)
        with open(path, "w", encoding="ascii") as file:
            file.write("#!/bin/busybox sh\n" + text)
        os.chmod(path, 0o755)


class Machine:
    """The running machine. It gets pipes of ours as standard input, output and
    error: QEMU truncates files and makes what it gets non-blocking."""

    def __init__(self, command, run):
        path = f"{VIRTME}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        self.process = subprocess.Popen(
            command, env=dict(os.environ, PATH=path, TMPDIR=run), start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        self.unread = False
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self.interrupted)
        self.outputs = [
            threading.Thread(target=self.drain, args=(pipe, fd), daemon=True)
            for pipe, fd in ((self.process.stdout, 1), (self.process.stderr, 2))
        ]
        for thread in self.outputs:
            thread.start()

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def interrupted(self, signum, _frame):
        self.kill()
        sys.exit(128 + signum)

    def feed(self):
        with self.process.stdin as pipe:
            try:
                while data := os.read(0, 1 << 16):
                    pipe.write(data)
                    pipe.flush()
            except OSError:
                pass

    def drain(self, pipe, fd):
        try:
            while data := os.read(pipe.fileno(), 1 << 16):
                while data:
                    data = data[os.write(fd, data) :]
        except OSError:  # nobody reads it any more
            self.unread = True
            self.kill()

    def wait(self, deadline, started=None):
        """Waits for the end of the machine, or for the file `started`. Returns
        false if neither came in time."""
        while self.process.poll() is None:
            if started and os.path.exists(started):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def finish(self, deadline):
        """Runs the command to its end. Returns false if that didn't come in time."""
        threading.Thread(target=self.feed, daemon=True).start()
        return self.wait(deadline)

    def close(self):
        ended = self.process.poll() is not None
        self.kill()
        self.process.wait()
        for thread in self.outputs:
            thread.join(None if ended else 1)


def console_tail(console):
    try:
        with open(console, errors="replace", encoding="utf-8") as file:
            return file.read().splitlines()[-60:]
    except OSError:
        return []


def run_job(args, kernel, run):
    devices = device_addresses(args)
    console, started, status = (os.path.join(run, x) for x in ("console", "started", "status"))
    write_job(args, run, devices)
    write_stubs(run)
    command = virtme_command(args, kernel, run, devices)
    deadline = time.monotonic() + args.timeout
    for attempt in range(BOOT_ATTEMPTS):
        machine = Machine(command, run)
        timeout = BOOT_TIMEOUT_ICOUNT if args.icount else BOOT_TIMEOUT
        booted = machine.wait(min(deadline, time.monotonic() + timeout), started)
        in_time = booted and machine.finish(deadline)
        machine.close()
        tail = console_tail(console)
        if os.path.exists(started) or time.monotonic() > deadline or booted and not tail:
            break
        say(f"the machine did not boot (attempt {attempt + 1} of {BOOT_ATTEMPTS})")
    if machine.unread:
        return 128 + signal.SIGPIPE
    if not in_time and time.monotonic() > deadline:
        say(f"ended the machine after {args.timeout} s", *tail)
        return EXIT_TIMEOUT
    try:
        with open(status, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        if os.path.exists(started):
            say("the machine ended before the command did; its last console lines:", *tail)
        else:
            say("the machine did not start", *tail)
        return EXIT_MACHINE


def main():
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # 0, 1 or 2 was closed
        os.set_inheritable(fd, True)
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    args = parse_arguments(sys.argv[1:])
    try:
        kernel = subprocess.check_output([os.path.join(HERE, "kernel"), *args.kernel], text=True)
    except subprocess.CalledProcessError:
        say(f"there is no {' '.join(args.kernel)} kernel to boot")
        return EXIT_MACHINE
    if args.arch.foreign and not args.arch.find_root():
        say("there are no files for the machine")
        return EXIT_MACHINE
    runs = os.path.join(CACHE, "run")
    os.makedirs(runs, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runs, ignore_cleanup_errors=True) as run:
        return run_job(args, kernel.strip(), run)


if __name__ == "__main__":
    sys.exit(main())
