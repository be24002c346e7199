#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The benches that need no VFIO: their JSON, their text, and what is refused.

Usage: test_bench.py VFIOBOOST
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
from xml.etree import ElementTree

COMMAND = sys.argv.pop(1)
POPULATE = ["populate", "--memory", "4M", "--page-size", "thp,base", "--threads", "2,1",
            "--repeat", "2"]
# What a base page is called here.
BASE = f"{os.sysconf('SC_PAGE_SIZE') >> 10}k"


def run(*arguments, status=0):
    result = subprocess.run([COMMAND, "bench", *arguments], capture_output=True, text=True,
                            check=False)
    if result.returncode != status:
        raise AssertionError(f"{arguments}: {result.returncode}, not {status}\n{result.stderr}")
    return result


class Bench(unittest.TestCase):
    def test_populate(self):
        result = json.loads(run(*POPULATE, "--json").stdout)
        self.assertEqual({name: result[name] for name in ("schema", "memory_bytes", "repeat")},
                         {"schema": 1, "memory_bytes": 4 << 20, "repeat": 2})
        lines = result["results"]
        self.assertEqual([(line["page_size"], line["threads"]) for line in lines],
                         [("thp", 2), ("thp", 1), (BASE, 2), (BASE, 1)])
        for line in lines:
            self.assertEqual(list(line), ["page_size", "threads", "populate_s", "bytes_per_s",
                                          "limit_bytes_per_s", "of_limit"])
            self.assertGreater(line["populate_s"], 0)
            self.assertAlmostEqual(line["of_limit"] * line["limit_bytes_per_s"],
                                   line["bytes_per_s"], delta=line["bytes_per_s"] / 1e6)

    def test_table(self):
        """Columns stand below their headings; those of options that were not given are absent."""
        lines = run(*POPULATE).stdout.splitlines()[2:]
        self.assertEqual(lines[0].split(), ["pages", "threads", "seconds", "GiB/s", "limit", "of",
                                            "limit"])
        self.assertEqual(len(lines), 5)
        self.assertEqual({len(line) for line in lines}, {len(lines[0])})
        lines = run(*POPULATE, "--stalls").stdout.splitlines()[2:]
        self.assertIn("longest wait", lines[0])
        self.assertTrue(lines[1].endswith(" ms"))
        line = json.loads(run(*POPULATE, "--stalls", "--json").stdout)["results"][0]
        self.assertEqual(list(line)[-2:], ["longest_wait_s", "longest_wait_of_memset_s"])

    def test_plan(self):
        arguments = ["plan", "--cpus", "8", "--nodes", "2", "--memory", "8G", "--devices", "3",
                     "--page-size", "1g", "--populate-rate", "8G", "--map-rate", "4G",
                     "--unmap-rate", "8G", "--reset", "500"]
        result = json.loads(run(*arguments, "--json").stdout)
        self.assertEqual({name: result[name] for name in ("cpus", "nodes", "devices",
                                                          "memory_bytes", "page_size", "backend")},
                         {"cpus": 8, "nodes": 2, "devices": 3, "memory_bytes": 8 << 30,
                          "page_size": "1g", "backend": "iommufd"})
        steps = result["steps"]
        self.assertEqual(steps["context"]["threads"], 8)
        self.assertEqual(steps["start"]["populate_calls"], 8)
        self.assertLess(result["own_bytes"], 1 << 20)
        self.assertEqual([result[name] for name in ("populate_s", "open_s", "map_s", "bound")],
                         [1, 0.5, 0.25, "populating"])
        # The pages of a worker are mapped by it when it has populated them.
        self.assertAlmostEqual(result["start_s"], 1.25, delta=0.01)
        self.assertAlmostEqual(result["devices_open_s"], 0.5, delta=0.01)
        lines = run(*arguments, "--backend", "type1", "--reset", "5000").stdout.splitlines()
        self.assertIn("start        5.00 s: populating 1.00 s, mapping 2.00 s, opening 5.00 s",
                      lines)
        self.assertEqual(lines[-1], "opening bounds the start")
        for wrong, text in ((["--nodes", "3"], "8 CPUs"), (["--memory", "3G"], "each of 2 nodes"),
                            (["--page-size", "mixed"], "one size"), (["--backend", "none"],
                                                                      "backend")):
            self.assertIn(text, run(*arguments, *wrong, status=2).stderr)

    def test_starts(self):
        """Without devices, which needs no VFIO."""
        result = json.loads(run("starts", "--guests", "3", "--memory", "4M", "--page-size", "4k",
                                "--backend", "none", "--repeat", "2", "--json").stdout)
        self.assertEqual([result[name] for name in ("guests", "devices", "memory_bytes", "repeat")],
                         [3, 0, 4 << 20, 2])
        for way in ("serial", "beside"):
            start = result["start"][way]
            self.assertGreater(start["median_s"], 0)
            self.assertLessEqual(start["median_s"], start["p99_s"])
            self.assertLessEqual(start["p99_s"], start["longest_s"])
            self.assertLessEqual(result["map"][way]["longest_s"], start["longest_s"])
            # All of them last at least as long as the longest.
            self.assertGreater(result["all_start"][way], 0)
            self.assertGreater(result["all_cpu"][way], 0)
        calls = {call["name"]: call["calls"] for call in result["calls"]}
        self.assertGreaterEqual(calls["madvise"], 3 * 2)
        lines = run("starts", "--guests", "2", "--memory", "4M", "--page-size", "4k", "--backend",
                    "none", "--repeat", "1").stdout.splitlines()
        self.assertEqual(lines[0], "2 guests, 0 of them with a device, medians of 1 runs")
        # A guest that fails says why, and so does the exit status.
        failed = run("starts", "--guests", "2", "--backend", "none", "--repeat", "1", "--device",
                     "0000:99:00.0", status=1)
        self.assertIn("0000:99:00.0", failed.stderr)

    def test_density(self):
        arguments = ["density", "--guests", "3", "--memory", "8M", "--working-set", "50",
                     "--window", "64k,2m", "--measure", "10"]
        text = run(*arguments, "--json").stdout
        result = json.loads(text)
        self.assertEqual([result[name] for name in ("bench", "memory_bytes", "working_set_bytes")],
                         ["density", 8 << 20, 4 << 20])
        lines = result["results"]
        self.assertEqual([(line["way"], line.get("window_bytes")) for line in lines],
                         [("static", None), ("touch", 65536), ("touch", 2 << 20)])
        # All of the memory; the requests; the windows that requests at random places touch.
        self.assertEqual([line["populated_bytes"] for line in lines[:2]], [8 << 20, 4 << 20])
        self.assertIn(lines[2]["populated_bytes"], (4 << 20, 6 << 20, 8 << 20))
        for line in lines:
            self.assertEqual((line["guests"], line["ratio"]), (3, 1))
            self.assertEqual(line["end"], "3 guests were asked for")
            self.assertEqual([point["guests"] for point in line["points"]], [1, 2, 3])
            self.assertEqual(len(line["starts_s"]), 3)
            self.assertIn(line["bend_guests"], (1, 2, 3))
        self.assertIn("No further guest (line 3): 3 guests", run(*arguments).stdout)
        self.draw_density(text)

    def draw_density(self, text):
        with tempfile.TemporaryDirectory() as folder:
            source, picture = f"{folder}/density.json", f"{folder}/density.svg"
            pathlib.Path(source).write_text(text, encoding="ascii")
            draw = [COMMAND, "report", source]
            subprocess.run([*draw, "--output", picture], check=True)
            labels = [node.text for node in ElementTree.parse(picture).iter()
                      if node.tag.endswith("}text")]
            self.assertIn("windows of 64 KiB", labels)
            self.assertEqual(labels.count("3 guests"), 3)
            refused = subprocess.run([*draw, "--json"], capture_output=True, text=True, check=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIn("no critical paths", refused.stderr)

    def test_density_refused(self):
        failed = run("density", "--memory", "64M", "--page-size", "1g", status=1)
        self.assertIn("no guest could start", failed.stderr)

    def test_density_of_others(self):
        """Whatever stands in a file, it is drawn or refused."""
        for text in ('{"bench":null}', '{"bench":"density"}', '{"bench":"density","results":7}',
                     '{"bench":"density","memory_bytes":1e400,"results":[null,1,{"guests":1e300,'
                     '"plateau_bytes_per_s":"x","points":[1,null,{"guests":-1e17,"bytes_per_s":'
                     '1e17}],"starts_s":["x",-1,1e400,{},1e17]}]}'):
            with tempfile.TemporaryDirectory() as folder:
                source, picture = f"{folder}/density.json", f"{folder}/density.svg"
                pathlib.Path(source).write_text(text, encoding="ascii")
                result = subprocess.run([COMMAND, "report", source, "--output", picture],
                                        capture_output=True, text=True, check=False)
                self.assertEqual(result.returncode, "density" not in text, result.stderr)
                if not result.returncode:
                    self.assertNotIn("nan", pathlib.Path(picture).read_text(encoding="ascii"))
                    ElementTree.parse(picture)

    def test_events(self):
        result = json.loads(run("events", "--memory", "4M", "--repeat", "1", "--json").stdout)
        for name in ("calls_ns", "point_ns", "counted_ns", "nobody_s", "counters_s", "trace_s"):
            self.assertGreater(result[name], 0, name)
        self.assertGreater(result["events"], 0)

    def test_translate(self):
        result = json.loads(run("translate", "--ranges", "100", "--repeat", "1", "--json").stdout)
        self.assertEqual(result["ranges"], 100)
        self.assertGreater(result["reader_ns"], 0)

    def test_beside(self):
        result = json.loads(run("beside", "--memory", "24M", "--page-size", "4k", "--memfd",
                                "--repeat", "1", "--json").stdout)
        ways = [line["way"] for line in result["results"]]
        self.assertEqual(ways, ["library", "madvise()", "touching", "memset()"])
        limit = result["results"][-1]
        self.assertEqual(limit["quiet_of_limit"], 1)
        for line in result["results"]:
            self.assertAlmostEqual(line["quiet_of_limit"], line["quiet_bytes_per_s"] /
                                   limit["quiet_bytes_per_s"], delta=1e-6)
            self.assertAlmostEqual(line["beside_of_quiet"], line["beside_bytes_per_s"] /
                                   line["quiet_bytes_per_s"], delta=1e-6)
            # None, if the thread that maps did not get a CPU.
            self.assertGreaterEqual(line["maps_per_s"], 0)

    def test_growth(self):
        result = json.loads(run("growth", "--ranges", "500", "--repeat", "1", "--json").stdout)
        self.assertEqual([line["iova"] for line in result["results"]], ["fixed", "anywhere"])
        for name in ("anywhere_by_fixed", "many_by_few", "anywhere_many_by_few"):
            self.assertGreater(result[name], 0, name)

    def test_usage(self):
        for arguments, word in (
                (["populate", "--threads", "1,0"], '"0"'),
                (["populate", "--page-size", "3k"], "mixed"),
                (["populate", "--repeat", "1001"], "1000"),
                (["beside", "--page-size", "1g"], "4k, thp, 2m"),
                (["populate", "--memory", "much"], "2G"),
                (["populate", "word"], '"word"'),
                (["give-back", "--device", "0000:01:00.0", "--memory", "3M"], "two whole blocks"),
                (["populate", "--threads", ",".join("1" * 65)], "64"),
                (["density", "--memory", "4M", "--working-set", "10"], "room for a request"),
                (["map"], "--device is missing"),
                (["map", "--device", "x", "--backend", "none"], "iommufd"),
                (["map", "--device", "x", "--page-size", "auto"], "thp"),
                (["open"], "--device is missing"),
                (["bar", "--device", "x", "--bar", "6"], "from 0 to 5"),
                (["translate", "--ranges", "1"], "from 2"),
                (["nothing"], "nothing")):
            self.assertIn(word, run(*arguments, status=2).stderr, arguments)

    def test_unwritable(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            result = subprocess.run([COMMAND, "bench", *POPULATE], stdout=full,
                                    stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("cannot write the results", result.stderr)


unittest.main()
