#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""`vfioboost exec` as a user types it. What needs VFIO is run in scripts/vm, by scripts/test.

Usage: test_exec.py VFIOBOOST VFIO_USER HOSTILE CORNERS
"""
import glob
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest

COMMAND, VFIO_USER, HOSTILE, CORNERS = (os.path.abspath(sys.argv.pop(1)) for _ in range(4))
DEVICES = os.environ.get("VFIO_DEVICES", "").split()
CARDS = os.environ.get("VFIO_CARDS", "").split()
NOTHING = "vfioboost exec: the command used no VFIO and no iommufd\n"
MIB = 1 << 20
# Only in a throw-away machine, where the memory of a cgroup of version 2 can be limited.
CGROUP = "/sys/fs/cgroup/vfioboost-test"
try:
    with open("/sys/fs/cgroup/cgroup.controllers", encoding="ascii") as controllers:
        CGROUP = CGROUP if DEVICES and "memory" in controllers.read() else None
    if CGROUP:
        with open("/sys/fs/cgroup/cgroup.subtree_control", "w", encoding="ascii") as controllers:
            controllers.write("+memory")
except OSError:
    CGROUP = None
# VFIO_GET_API_VERSION
PROBE = 'import fcntl; fcntl.ioctl(open("/dev/vfio/vfio"), 0x3b64)'


def run(*arguments, **options):
    return subprocess.run([COMMAND, "exec", *arguments], capture_output=True, text=True,
                          check=False, **options)


def is_running(name):
    for path in glob.glob("/proc/[1-9]*/comm"):
        try:
            with open(path, encoding="utf-8") as file:
                if file.read() == f"{name}\n":
                    return True
        except OSError:  # it has ended
            pass
    return False


class Directory(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name):
        return os.path.join(self.directory, name)

    def read_json(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return json.load(file)


# The same on every kernel, and slow in a machine that is emulated.
on_the_host = unittest.skipIf(DEVICES, "the suite runs it on the host")


@on_the_host
class Usage(Directory):
    def refused(self, *arguments, words=()):
        result = run(*arguments)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stdout, "")
        for word in words:
            self.assertIn(word, result.stderr)

    def test_no_command(self):
        self.refused(words=["no command"])
        self.refused("--no-boost", "--", words=["no command"])

    def test_what_cannot_run(self):
        self.refused("--", "no-such-command", words=["no-such-command", "was not found"])
        self.refused("--", "/etc/passwd", words=["may not be executed"])
        self.refused("--", "/etc", words=["is not a file"])

    def test_static(self):
        self.refused("busybox", "true", words=["busybox", "statically linked"])

    def test_script_of_a_static_program(self):
        script = self.path("script")
        with open(script, "w", encoding="ascii") as file:
            file.write(f"#!{shutil.which('busybox')} sh\n")
        os.chmod(script, 0o755)
        self.refused(script, words=["script", "statically linked"])

    def test_script_of_itself(self):
        script = self.path("script")
        with open(script, "w", encoding="ascii") as file:
            file.write(f"#!{script}\n")
        os.chmod(script, 0o755)
        self.refused(script, words=["script", "Too many levels of symbolic links"])

    @unittest.skipUnless(os.getuid() == 0, "only root can give a file to another user")
    def test_set_uid(self):
        program = self.path("program")
        shutil.copy("/bin/true", program)
        os.chown(program, 12345, -1)
        os.chmod(program, stat.S_ISUID | 0o755)
        self.refused(program, words=["set-uid"])

    def test_unwritable_files(self):
        for option in ("--trace", "--output"):
            self.refused(option, self.path("no/file"), "true",
                         words=[self.path("no/file"), "No such file"])

    def test_bad_options(self):
        self.refused("--threads", "0", "true", words=["--threads wants a number from 1"])
        self.refused("--report", "x.txt", "true", words=["--report", ".html", "x.txt"])
        self.refused("--no-such-option", "true", words=["no-such-option"])


@on_the_host
class Command(Directory):
    """The command behaves as without; that no VFIO was used is said in one line."""

    def test_status_and_output(self):
        result = run("--", "sh", "-c", "echo out; echo err >&2; exit 7")
        self.assertEqual((result.returncode, result.stdout), (7, "out\n"))
        self.assertEqual(result.stderr, "err\n" + NOTHING)

    def test_options_are_the_commands(self):
        result = run("echo", "--no-boost", "--help", "-o", "x")
        self.assertEqual(result.stdout, "--no-boost --help -o x\n")

    def test_input(self):
        self.assertEqual(run("cat", input="text").stdout, "text")

    def test_signals(self):
        self.assertEqual(run("sh", "-c", "kill -USR1 $$").returncode, 128 + signal.SIGUSR1)
        with subprocess.Popen([COMMAND, "exec", "sh", "-c", "trap 'exit 9' TERM; echo; read x"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            process.stdout.readline()
            process.terminate()
            self.assertEqual(process.wait(), 9)

    def test_closed_streams(self):
        result = subprocess.run(["sh", "-c", '"$0" exec sh -c "exit 3" <&- >&- 2>&-', COMMAND],
                                check=False)
        self.assertEqual(result.returncode, 3)

    def test_other_preloaded_objects_stay(self):
        environment = dict(os.environ, LD_PRELOAD="libm.so.6")
        result = run("sh", "-c", "cat /proc/self/maps; echo $LD_PRELOAD", env=environment)
        self.assertIn("libm.so.6", result.stdout.splitlines()[-1])
        self.assertRegex(result.stdout, "/libm[.]so")

    def test_namespaces(self):
        # The kernel refuses these to a process that has threads.
        direct = subprocess.run(["unshare", "--user", "true"], check=False).returncode
        self.assertEqual(run("unshare", "--user", "true").returncode, direct)

    def test_json(self):
        result = run("--json", "true")
        self.assertEqual(result.stdout.count("\n"), 1)
        answer = json.loads(result.stdout)
        self.assertEqual((answer["schema"], answer["sums"], answer["calls"]), (1, [], []))

    def test_files(self):
        result = run("--output", self.path("o"), "--trace", self.path("t"), "--json", "true")
        self.assertEqual((result.stdout, result.stderr), ("", ""))
        self.assertEqual(self.read_json("o")["schema"], 1)
        self.assertEqual(self.read_json("t")[0]["name"], "vfioboost_trace")


class Corners(Directory):
    """What a program does and the object might not expect: it prints the same as without."""

    def same(self, part, *options):
        direct = subprocess.run([CORNERS, part], capture_output=True, text=True, check=False)
        self.assertEqual(direct.returncode, 0, direct.stdout)
        result = run("--json", "--output", self.path("o"), *options, CORNERS, part)
        self.assertEqual((result.returncode, result.stdout), (0, direct.stdout), result.stderr)
        return self.read_json("o")

    def calls(self, answer, name="IOMMU_IOAS_MAP"):
        return [call for call in answer["calls"] if call["call"] == name]

    def test_children(self):
        """Those that fork(3) did not make are only watched."""
        answer = self.same("children")
        self.assertEqual(len({call["process"] for call in self.calls(answer)}), 4)
        self.assertEqual(len({call["process"] for call in
                              self.calls(answer, "populate (vfioboost)")}), 2)
        self.assertIn("fork(3)", answer["not_boosted"])

    def test_pointers(self):
        self.same("pointers")

    def test_missing(self):
        answer = self.same("missing")
        if self.calls(answer):
            self.assertIn("userfaultfd", answer["not_boosted"])

    def test_heap(self):
        self.same("heap")
        self.same("heap", "--no-boost")
        self.same("heap-after-map")

    @on_the_host
    def test_often(self):
        """Calls that have no record of their own are in the sums."""
        answer = self.same("often")
        self.assertEqual((len(answer["calls"]), answer["lost"]), (65536, 70000 - 65536))
        total = answer["sums"][0]
        self.assertEqual((total["call"], total["count"], total["errors"]),
                         ("VFIO_CHECK_EXTENSION", 70000, 70000))
        recorded = sum(call["duration_ns"] for call in answer["calls"]) / 1e9
        self.assertGreater(total["total_s"], recorded)

    def test_namespace(self):
        self.same("namespace")

    def test_rights(self):
        self.same("rights")
        self.same("rights-meanwhile")

    def test_locked(self):
        """What the kernel refuses is not populated."""
        answer = self.same("locked")
        self.assertFalse(self.calls(answer, "populate (vfioboost)"))
        self.assertIn("RLIMIT_MEMLOCK", answer["not_boosted"])

    @unittest.skipUnless(CGROUP, "this is no machine to limit memory in")
    def test_much(self):
        """The OOM killer does not get the command that maps more than its cgroup may use."""
        for limit in "memory.max", "memory.high":
            with self.subTest(limit):
                self.map_much(limit)

    def map_much(self, limit):
        os.mkdir(CGROUP)
        self.addCleanup(lambda: os.path.exists(CGROUP) and os.rmdir(CGROUP))
        with open(f"{CGROUP}/{limit}", "w", encoding="ascii") as file:
            file.write("256M")
        result = subprocess.run(["sh", "-c", f'echo $$ >{CGROUP}/cgroup.procs; exec "$@"', "sh",
                                 COMMAND, "exec", "--json", CORNERS, "much"],
                                capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        answer = json.loads(result.stdout.splitlines()[-1])
        self.assertFalse(self.calls(answer, "populate (vfioboost)"))
        self.assertIn(f"{limit} allows 256 MiB", answer["not_boosted"])
        os.rmdir(CGROUP)

    def test_prealloc(self):
        """What the command populates by itself is shown, with what would be faster."""
        answer = self.same("prealloc")
        self.assertFalse(self.calls(answer, "populate (vfioboost)"))
        self.assertEqual(len(self.calls(answer, "madvise (MADV_POPULATE_WRITE)")), 1)
        self.assertEqual(len(self.calls(answer, "mmap (MAP_POPULATE)")), 1)
        self.assertIn("populated 16.0 MiB by itself before it mapped them, with 1 thread(s)",
                      " ".join(answer["remarks"]))

    def test_restored(self):
        """A page in the page cache is not one in the private mapping of the file."""
        self.assertTrue(self.calls(self.same("restored"), "populate (vfioboost)"))

    def test_reuse(self):
        """What a file descriptor is of is never stale, however it was closed."""
        calls = sorted(self.same("reuse")["calls"], key=lambda call: call["start_ns"])
        device, container = "VFIO_DEVICE_FEATURE", "VFIO_IOMMU_DIRTY_PAGES"
        if calls:
            self.assertEqual([call["call"] for call in calls],
                             [device, container, device, container, device])

    def test_ask(self):
        """A question that is answered "no" is no error."""
        answer = self.same("ask")
        self.assertEqual([total["errors"] for total in answer["sums"]], [0])
        self.assertNotIn("failed", " ".join(answer["remarks"]))

    def test_filter(self):
        answer = self.same("filter")
        self.assertEqual(answer["not_boosted"], "")
        self.assertTrue(self.calls(answer, "populate (vfioboost)"))


@on_the_host
class Hostile(Directory):
    """A process of the command, even one without privileges, can write anything to the records."""

    def test_fill(self):
        """The status is the command's, and what is shown can be read."""
        for seed in range(40):
            result = run("--json", "--trace", self.path("t"), HOSTILE, "fill", str(seed))
            self.assertEqual(result.returncode, 5, f"seed {seed}: {result.stderr}")
            answer = json.loads(result.stdout)
            self.assertLess(len(answer["calls"]), 1 << 16 | 1)
            self.assertTrue(answer["not_boosted"].isprintable())
            self.read_json("t")
            result = run(HOSTILE, "fill", str(seed))
            self.assertEqual(result.returncode, 5, f"seed {seed}: {result.stderr}")
            self.assertTrue(result.stderr.replace("\n", "").isprintable())

    def test_size_is_fixed(self):
        result = run(HOSTILE, "shrink")
        self.assertEqual(result.returncode, 5, result.stderr)
        self.assertEqual(result.stdout, "mode 600\nshrink: Operation not permitted\n"
                                        "grow: Operation not permitted\n")

    def test_environment(self):
        """Settings that are none, or name another file, are not acted on."""
        for text in ("", "x", "3", "3 1 0 0 1 1 1 /etc/passwd ", f"3 1 0 0 1 1 1 {'x' * 9000} ",
                     "3 1 0 0 1 1 1 /dev/zero /bin/sh"):
            result = run("sh", "-c", 'VFIOBOOST_EXEC="$0" "$1" shrink; exit 6', text, HOSTILE)
            self.assertEqual((result.returncode, result.stdout), (6, ""), text)


@unittest.skipUnless(DEVICES, "there is no VFIO device: see scripts/vm")
class Vfio(Directory):
    def setUp(self):
        super().setUp()
        group = os.readlink(f"/sys/bus/pci/devices/{DEVICES[0]}/iommu_group")
        self.user = [VFIO_USER, DEVICES[0], os.path.basename(group)]

    def results(self, *arguments, status=0):
        """What exec says of a command, calls by name."""
        result = run("--json", "--output", self.path("o"), *arguments)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        answer = self.read_json("o")
        answer["output"] = result.stdout
        return answer

    def calls(self, answer, name):
        return [call for call in answer["calls"] if call["call"] == name]

    def test_same_results(self):
        """Whatever a program does, the kernel's answers are the same."""
        direct = subprocess.run(self.user, capture_output=True, text=True, check=False)
        self.assertEqual(direct.returncode, 3, direct.stdout)
        for options in ([], ["--no-boost"], ["--thp", "--threads", "1"]):
            answer = self.results(*options, *self.user, status=3)
            self.assertEqual(answer["output"], direct.stdout)
            self.assertEqual(answer["not_boosted"], "")
            populated = self.calls(answer, "populate (vfioboost)")
            self.assertEqual(bool(populated), options != ["--no-boost"])

    def test_calls(self):
        """The names, results, devices and bytes of what the program did."""
        answer = self.results("--no-boost", *self.user, status=3)
        maps = self.calls(answer, "VFIO_IOMMU_MAP_DMA")
        self.assertEqual(sorted(call["bytes"] for call in maps if call["result"] == 0),
                         [16 * MIB] + 5 * [32 * MIB])
        opened = self.calls(answer, "VFIO_GROUP_GET_DEVICE_FD")
        self.assertEqual([call["device"] for call in opened if call["result"] >= 0],
                         [DEVICES[0]] * 2)
        self.assertEqual(len(self.calls(answer, "VFIO_DEVICE_GET_INFO")), 4)
        closed = self.calls(answer, "close device")
        self.assertEqual({call["device"] for call in closed}, {DEVICES[0]})
        # The reset at the last reference is seen in its time.
        self.assertGreater(max(call["duration_ns"] for call in closed), 50_000_000)
        children = {call["process"] for call in maps}
        self.assertEqual(len(children), 2)

    def qemu(self, *arguments, devices=DEVICES, options=()):
        command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-accel", "tcg",
                   "-machine", "q35,memory-backend=m", "-m", "64M", "-monitor", "stdio",
                   "-object", "memory-backend-memfd,id=m,size=64M", *arguments]
        for device in devices:
            command += ["-device", f"vfio-pci,host={device}"]
        result = run("--json", "--output", self.path("o"), *options, "--", *command,
                     input="quit\n")
        self.assertEqual(result.returncode, 0, result.stderr)
        return self.read_json("o")

    def test_qemu(self):
        """Memory is populated before its map, devices are released in parallel."""
        answer = self.qemu(options=["--trace", self.path("t"),
                                    "--report", self.path("r.html")])
        populated = self.calls(answer, "populate (vfioboost)")
        mapped = [call for call in self.calls(answer, "VFIO_IOMMU_MAP_DMA")
                  if call["address"] == populated[0]["address"]]
        self.assertEqual(mapped[0]["bytes"], 64 * MIB)
        self.assertTrue(0 < populated[0]["bytes"] <= 64 * MIB, populated[0])
        self.assertLess(populated[0]["start_ns"], mapped[0]["start_ns"])
        released = self.calls(answer, "release device (vfioboost)")
        self.assertEqual(sorted(call["device"] for call in released), sorted(DEVICES))
        self.assertLess(max(call["start_ns"] for call in released),
                        min(call["start_ns"] + call["duration_ns"] for call in released))
        spans = [event for event in self.read_json("t") if event["ph"] == "X"]
        self.assertEqual(len(spans), len(answer["calls"]))
        self.assertIn("map", {event["args"]["phase"] for event in spans})
        with open(self.path("r.html"), encoding="utf-8") as file:
            self.assertIn("VFIO_IOMMU_MAP_DMA", file.read())

    def test_remarks_of_the_doctor(self):
        """What is slow about this host, for the memory and the devices that were used."""
        def doctor(*devices):
            output = subprocess.check_output([COMMAND, "doctor", "--json", *(
                word for device in devices for word in ("--device", device))], text=True)
            return ["host: " + (finding["device"] + ": " if "device" in finding else "") +
                    finding["text"] + (": " + finding["remedy"] if finding["remedy"] else "")
                    for finding in json.loads(output)["findings"]
                    if finding["severity"] != "good"]

        def findings_of(answer):
            return [remark for remark in answer["remarks"] if remark.startswith("host: ")]

        def set_reset_methods(text):
            for device in DEVICES:
                with open(f"/sys/bus/pci/devices/{device}/reset_method", "w",
                          encoding="ascii") as file:
                    file.write(text)

        self.addCleanup(set_reset_methods, "default\n")
        set_reset_methods("\n")
        remarks = findings_of(self.results(*self.user, status=3))
        self.assertEqual(remarks, doctor(DEVICES[0]))
        self.assertIn(f"host: {DEVICES[0]}: the kernel has no method to reset it", "".join(remarks))
        self.assertNotIn(DEVICES[1], "".join(remarks))
        # A command that maps nothing hears nothing of memory.
        answer = self.results("sh", "-c", f"{sys.executable} -c '{PROBE}'")
        self.assertTrue(answer["calls"])
        self.assertEqual(findings_of(answer), [])

    @unittest.skipUnless(os.path.exists("/dev/iommu"), "the kernel has no iommufd")
    def test_iommufd(self):
        """By address and by file, over device nodes: a program linked with the library itself."""
        for options, name in ([], "IOMMU_IOAS_MAP"), (["--memfd"], "IOMMU_IOAS_MAP_FILE"):
            answer = self.results(COMMAND, "run", "--memory", "64M", "--page-size", "4k",
                                  "--mode", "lazy", "--device", DEVICES[0], *options)
            populated = sum(call["bytes"] for call in self.calls(answer, "populate (vfioboost)"))
            # Beside a map by address, the map populates as well.
            self.assertTrue(0 < populated <= 64 * MIB if not options else populated == 64 * MIB)
            self.assertEqual(sum(call["bytes"] for call in self.calls(answer, name)), 64 * MIB)
            bound = self.calls(answer, "VFIO_DEVICE_BIND_IOMMUFD")
            self.assertEqual([call["device"] for call in bound], DEVICES[:1])

    def test_reaper(self):
        """Devices are left to another process, which ends when they are free."""
        answer = self.qemu(options=["--reaper"])
        self.assertFalse(self.calls(answer, "release device (vfioboost)"))
        self.assertEqual(answer["not_boosted"], "")
        deadline = time.monotonic() + 60
        while is_running("vfioboost-reape"):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.results(*self.user, status=3)

    @unittest.skipUnless(re.search("spawn=", subprocess.run(
        ["qemu-system-x86_64", "-help"], capture_output=True, text=True, check=False).stdout),
                         "this QEMU has no sandbox")
    def test_filter_of_all_threads(self):
        """QEMU's sandbox kills for a process that is made, in whichever thread."""
        sandbox = ["-sandbox", "on,spawn=deny"]
        for options in ([], ["--reaper"]):
            answer = self.qemu(*sandbox, options=options)
            self.assertTrue(self.calls(answer, "populate (vfioboost)"))
            self.assertTrue(self.calls(answer, "release device (vfioboost)"))
        self.assertIn("filter", answer["not_boosted"])

    def test_no_boost_changes_nothing(self):
        answer = self.qemu(options=["--no-boost"])
        self.assertFalse(self.calls(answer, "populate (vfioboost)"))
        self.assertFalse(self.calls(answer, "release device (vfioboost)"))

    def test_no_program_of_others(self):
        """A helper without privileges cannot choose what the command runs at exit."""
        evil = self.path("evil")
        with open(evil, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\ntouch {self.path('was-here')}\n")
        os.chmod(evil, 0o755)
        for options in ([], ["--reaper"]):
            self.results(*options, HOSTILE, "program", evil, self.user[2], DEVICES[0], status=5)
            time.sleep(1)
            self.assertFalse(os.path.exists(self.path("was-here")))

    def test_killed(self):
        """What was done until then is shown all the same."""
        script = f'{" ".join(self.user)} >/dev/null; kill -KILL $$'
        answer = self.results("sh", "-c", script, status=128 + signal.SIGKILL)
        self.assertTrue(self.calls(answer, "VFIO_IOMMU_MAP_DMA"))

    @unittest.skipUnless(shutil.which("dpdk-testpmd") and CARDS,
                         "no dpdk-testpmd (scripts/install dpdk), or no card (scripts/vm --cards)")
    def test_driver_of_others(self):
        """DPDK starts, sees its card and ends, as it does without."""
        driver = ["dpdk-testpmd", "-l", "0-1", "-n", "1", "-m", "256", "-a", CARDS[0],
                  "-d", "librte_net_e1000.so", "-d", "librte_mempool_ring.so",
                  "--", "-i", "--total-num-mbufs", "2048"]
        direct = subprocess.run(driver, capture_output=True, text=True, input="quit\n",
                                check=False)
        self.assertEqual(direct.returncode, 0, direct.stdout + direct.stderr)
        result = run("--json", "--output", self.path("o"), "--", *driver, input="quit\n")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        probed = [line for line in result.stderr.splitlines() if "EAL" in line]
        self.assertEqual(probed, [line for line in direct.stderr.splitlines() if "EAL" in line])
        answer = self.read_json("o")
        self.assertTrue(self.calls(answer, "VFIO_IOMMU_MAP_DMA"))
        self.assertEqual([call["device"] for call in
                          self.calls(answer, "release device (vfioboost)")], CARDS[:1])

    @unittest.skipUnless(shutil.which("strace"), "strace is not installed")
    def test_every_call_is_named(self):
        """strace sees the same calls."""
        log = self.path("strace")
        answer = self.results("--no-boost", "strace", "-f", "-e", "trace=ioctl", "-o", log,
                              *self.user, status=3)
        with open(log, encoding="utf-8") as file:
            traced = re.findall(r"ioctl\(\d+, (?:VFIO|IOMMU)_\w+", file.read())
        calls = [call for call in answer["calls"] if re.match("VFIO|IOMMU", call["call"])]
        self.assertEqual(len(calls), len(traced))


if __name__ == "__main__":
    unittest.main(verbosity=1)
