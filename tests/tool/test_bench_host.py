#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The file that measures another host, where there is nothing but busybox.

Usage: test_bench_host.py BENCH_HOST BUILD
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = sys.argv.pop(2)
BENCH_HOST = sys.argv.pop(1)
# What the file needs of a host.
PROGRAMS = ("sh", "gzip", "mktemp", "rm", "tail", "tar", "uname")

busybox = shutil.which("busybox")
if not busybox or not subprocess.run(["ldd", busybox], capture_output=True, check=False).returncode:
    print("skipped: no static busybox")
    sys.exit(77)


class BenchHost(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.bundle = os.path.join(self.folder, "bench.run")
        programs = os.path.join(self.folder, "bin")
        os.mkdir(programs)
        for program in PROGRAMS:
            os.symlink(busybox, os.path.join(programs, program))
        self.environment = {"PATH": programs, "TMPDIR": os.path.join(self.folder, "tmp")}
        os.mkdir(self.environment["TMPDIR"])
        subprocess.run([BENCH_HOST, "--build", BUILD, "--output", self.bundle], check=True,
                       stdout=subprocess.DEVNULL)

    def run_bundle(self, *arguments, status=0):
        result = subprocess.run([os.path.join(self.environment["PATH"], "sh"), self.bundle,
                                 *arguments], env=self.environment, cwd=self.folder,
                                capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertEqual(os.listdir(self.environment["TMPDIR"]), [])
        return result

    def test_bundle(self):
        table = self.run_bundle("--memory", "4M", "--repeat", "1").stdout.splitlines()
        with open(os.path.join(self.folder, "bench-host.json"), encoding="utf-8") as file:
            result = json.load(file)
        self.assertEqual(result["schema"], 1)
        self.assertEqual(result["cpus"], len(os.sched_getaffinity(0)))
        for name in ("translate", "events"):
            self.assertEqual(result[name]["repeat"], 1)
        lines = []
        for kind, name in (("anonymous", "populate"), ("memfd", "populate_memfd")):
            quiet, beside = result[name]["results"], result[name + "_beside"]["results"]
            self.assertEqual(len(quiet), len(beside))
            self.assertIn("longest_wait_s", beside[0])
            lines += [[kind, line["page_size"], str(line["threads"]),
                       f"{line['bytes_per_s'] / 2**30:.2f}"] for line in quiet]
        heading = next(i for i, line in enumerate(table) if line.startswith("populate"))
        self.assertEqual([line.split()[:4] for line in table[heading + 1:][:len(lines)]], lines)

    def test_refused(self):
        self.assertIn("--memory SIZE", self.run_bundle("--help").stdout)
        self.assertIn("--memory SIZE", self.run_bundle("--nonsense", status=2).stderr)
        self.assertIn("scripts/bench-host --vm", self.run_bundle("--vm", status=1).stderr)
        self.assertIn("--memory", self.run_bundle("--memory", "none", status=1).stderr)
        unwritable = self.run_bundle("--memory", "4M", "--repeat", "1", "--json", "nowhere/file",
                                     status=1).stderr
        self.assertIn("nowhere/file", unwritable)
        self.assertNotIn("bench-host: populate", unwritable, "it has measured all the same")


unittest.main()
