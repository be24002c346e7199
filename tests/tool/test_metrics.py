#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What run --metrics writes, what the dashboard asks for, and progress on a terminal.

Usage: test_metrics.py VFIOBOOST DASHBOARD
"""
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import unittest

try:
    from prometheus_client.openmetrics import parser
except ImportError:
    print("skipped: python3-prometheus-client is not installed (scripts/install test)")
    sys.exit(77)

COMMAND, DASHBOARD = sys.argv.pop(1), sys.argv.pop(1)
RUN = [COMMAND, "run", "--memory", "8M", "--page-size", "4k"]
# What vfb_stats_openmetrics() writes; its unit test is tests/unit/test_stats.c.
LIBRARY = {"vfioboost_steps_total", "vfioboost_step_errors_total", "vfioboost_step_bytes_total",
           "vfioboost_step_seconds_bucket"}


class Metrics(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "guest.prom")

    def measure(self, *options, status=0):
        result = subprocess.run([*RUN, "--metrics", self.path, *options], capture_output=True,
                                text=True, check=False)
        self.assertEqual(result.returncode, status, result.stderr)
        return result

    def samples(self):
        with open(self.path, encoding="utf-8") as file:
            families = list(parser.text_string_to_metric_families(file.read()))
        return [sample for family in families for sample in family.samples]

    def test_times(self):
        output = json.loads(self.measure("--mode", "serial,boost", "--json").stdout)
        found = {(s.labels["mode"], s.labels["phase"]): s.value for s in self.samples()
                 if s.name == "vfioboost_run_seconds"}
        self.assertEqual(len(found), 2 * 7)
        for (mode, phase), seconds in found.items():
            self.assertAlmostEqual(seconds, output[mode][phase + "_s"], places=8)
        others = {s.name: s.value for s in self.samples() if not s.labels}
        self.assertEqual(others["vfioboost_run_memory_bytes"], 8 << 20)
        self.assertEqual(others["vfioboost_run_devices"], 0)
        self.assertGreater(others["vfioboost_run_timestamp_seconds"], 1.7e9)

    def test_too_much(self):
        """More than half of all addresses is refused."""
        result = subprocess.run([*RUN, "--memory", "9000000T"], capture_output=True, text=True,
                                check=False, timeout=60)
        self.assertEqual(result.returncode, 1)
        self.assertIn("beyond what can be addressed", result.stderr)

    def test_host_only(self):
        """Memory that no device needs is populated, and counted apart from the rest."""
        output = json.loads(self.measure("--host-only", "1M", "--stats", "--json").stdout)
        self.assertEqual((output["memory_bytes"], output["host_only_bytes"]), (8 << 20, 1 << 20))
        samples = self.samples()
        values = {s.name: s.value for s in samples if not s.labels}
        self.assertEqual(values["vfioboost_run_memory_bytes"], 8 << 20)
        self.assertEqual(values["vfioboost_run_host_only_bytes"], 1 << 20)
        populated = sum(s.value for s in samples if s.name == "vfioboost_run_step_bytes"
                        and s.labels["phase"] == "populate")
        self.assertEqual(populated, 9 << 20)
        self.assertIn("1.00 MiB more are left out", self.measure("--host-only", "1M").stdout)
        self.assertIn("whole pages", self.measure("--host-only", "1000", status=2).stderr)
        self.assertIn("512 MiB", self.measure("--host-only", "513M", status=2).stderr)

    def test_steps(self):
        self.measure("--mode", "serial,boost", "--stats")
        for mode in ("serial", "boost"):
            populated = sum(s.value for s in self.samples() if s.name == "vfioboost_run_step_bytes"
                            and s.labels["mode"] == mode and s.labels["phase"] == "populate")
            self.assertEqual(populated, 8 << 20)

    def test_file(self):
        """The collector never sees half a file, and a failure leaves the last one."""
        self.measure()
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["guest.prom"])
        before = self.samples()
        self.measure("--device", "0000:ff:1f.7", status=1)
        self.assertEqual(self.samples(), before)
        self.path = os.path.join(self.path, "below")
        self.assertIn(self.path, self.measure(status=1).stderr)

    def test_dashboard(self):
        """Each metric that the dashboard asks for exists, with the labels that it wants."""
        self.measure("--stats")
        known = {s.name: set(s.labels) | {"instance"} for s in self.samples()}
        known.update({name: {"phase", "operation", "instance", "le"} for name in LIBRARY})
        with open(DASHBOARD, encoding="utf-8") as file:
            dashboard = json.load(file)
        expressions = [target["expr"] for panel in dashboard["panels"]
                       for target in panel["targets"]]
        self.assertGreater(len(expressions), 5)
        for expression in expressions:
            names = re.findall(r"vfioboost_\w+", expression)
            self.assertEqual(len(names), 1, expression)
            labels = set(re.findall(r'(\w+)(?:=~|!~|=)"', expression))
            for listed in re.findall(r"by \(([^)]*)\)", expression):
                labels |= set(listed.split(", "))
            self.assertIn(names[0], known)
            self.assertLessEqual(labels, known[names[0]], expression)


class Progress(unittest.TestCase):
    # It takes 3 seconds, and is shown after one.
    SLOW = [*RUN[:2], "--memory", "12M", "--page-size", "4k", "--populate-rate", "4M"]

    def test_terminal(self):
        """On a terminal one line is overwritten, and removed at the end."""
        process, fd = pty.fork()
        if not process:
            os.execv(COMMAND, self.SLOW)
        output = b""
        while True:
            try:
                part = os.read(fd, 4096)
            except OSError:
                break
            if not part:
                break
            output += part
        os.close(fd)
        self.assertEqual(os.waitpid(process, 0)[1], 0)
        shown = output.split(b"\r\x1b[K")
        self.assertGreater(len(shown), 2)
        self.assertRegex(shown[1], rb"^\w+: 0\.0 of 0\.0 GiB, .* GiB/s")
        self.assertNotIn(b"\n", b"".join(shown[1:-1]))

    def test_pipe(self):
        """Elsewhere there is a line every ten seconds: none in this time, and no escapes."""
        result = subprocess.run(self.SLOW, capture_output=True, text=True, check=True)
        self.assertNotIn("\x1b", result.stdout + result.stderr)


unittest.main()
