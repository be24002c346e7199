#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What run --trace writes and what report makes of it: the formats, and what is refused.

Usage: test_trace.py VFIOBOOST
"""
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest
import xml.dom.minidom

import jsonschema

COMMAND = sys.argv.pop(1)
HERE = os.path.dirname(os.path.abspath(__file__))


def run(*arguments, status=0):
    result = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False)
    if result.returncode != status:
        raise AssertionError(f"{arguments}: {result.returncode}, not {status}\n{result.stderr}")
    return result


class Trace(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.trace = self.path("trace.json")

    def path(self, name):
        return os.path.join(self.directory, name)

    def record(self, *arguments):
        run("run", "--memory", "32M", "--page-size", "4k", "--trace", self.trace, *arguments)
        with open(self.trace, encoding="utf-8") as file:
            return json.load(file)

    def refused(self, content, *words):
        with open(self.trace, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
        output = self.path("refused.html")
        error = run("report", self.trace, "-o", output, status=1).stderr
        for word in (self.trace, *words):
            self.assertIn(word, error)
        self.assertEqual(os.listdir(self.directory), ["trace.json"])

    def test_schema(self):
        events = self.record("--mode", "serial,boost")
        with open(os.path.join(HERE, "trace.schema.json"), encoding="utf-8") as file:
            jsonschema.validate(events, json.load(file))

    def test_host_only(self):
        """The report knows what was left out of the IOMMU, which has steps of its own."""
        events = self.record("--host-only", "2M")
        self.assertEqual(sum(e["args"]["bytes"] for e in events if e["ph"] == "X"
                             and e["args"].get("phase") == "populate"), 34 << 20)
        page = self.path("page.html")
        summary = json.loads(run("report", self.trace, "-o", page, "--json").stdout)
        self.assertEqual(summary["runs"][0]["facts"]["host_only_bytes"], 2 << 20)
        with open(page, encoding="utf-8") as file:
            self.assertIn('"host only"', file.read())

    def test_nesting(self):
        """Steps of one track lie within each other or beside each other, as viewers need it."""
        tracks = {}
        for event in self.record("--mode", "vmm,boost", "--syscalls"):
            if event["ph"] == "X":
                tracks.setdefault((event["pid"], event["tid"]), []).append(event)
        self.assertGreater(len(tracks), 2)
        for events in tracks.values():
            ends = []
            for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
                while ends and ends[-1] <= event["ts"] + 0.0005:
                    ends.pop()
                end = event["ts"] + event["dur"]
                if ends:
                    self.assertLessEqual(end, ends[-1] + 0.002)
                ends.append(end)

    def test_parents(self):
        events = [e for e in self.record() if e["ph"] in "Xb" and "id" in e["args"]]
        known = {e["args"]["id"]: e for e in events}
        steps = [e for e in events if e["args"]["phase"] == "populate"]
        self.assertEqual(sum(e["args"]["bytes"] for e in steps), 32 << 20)
        for step in steps:
            self.assertEqual(known[step["args"]["parent"]]["name"], "job populate")

    def test_flows(self):
        """An arrow leads from a job, which begins first, to each of its steps, and to no other."""
        events = self.record("--mode", "vmm,boost", "--syscalls")
        jobs = {e["bind_id"]: e for e in events if e.get("flow_out")}
        self.assertEqual(len(jobs), len([e for e in events if e["ph"] == "b"]))
        arrows = [e for e in events if e.get("flow_in")]
        for step in arrows:
            job = jobs[step["bind_id"]]
            self.assertEqual(job["pid"] // 3, (step["pid"] - 1) // 3)
            self.assertEqual(job["args"]["id"], step["args"]["parent"])
            self.assertLessEqual(job["ts"], step["ts"])
        ids = {(e["pid"], e["args"]["id"]) for e in jobs.values()}
        children = [e for e in events if e["ph"] == "X" and e["args"].get("parent")
                    and (e["pid"] - (e["pid"] - 1) % 3, e["args"]["parent"]) in ids]
        self.assertEqual(len(arrows), len(children))
        self.assertGreater(len(arrows), 1)

    def test_counters(self):
        """The rates, over the times that they are for, are the bytes; and both are bytes."""
        counters = [e for e in self.record() if e["ph"] == "C"]
        total = max(e["args"]["bytes"] for e in counters if e["name"].startswith("populated"))
        self.assertEqual(total, 32 << 20)
        rates = [(e["ts"], e["args"]["bytes per second"]) for e in counters
                 if e["name"] == "populate rate"]
        self.assertEqual(rates[-1][1], 0)
        area = sum(rate * (after - begin) / 1e6
                   for (begin, rate), (after, _) in zip(rates, rates[1:]))
        self.assertAlmostEqual(area, total, delta=total / 1000)

    def test_filter(self):
        phases = {e["cat"] for e in self.record("--events", "wait,job") if e["ph"] in "Xb"}
        self.assertEqual(phases - {"user", "create"}, {"wait", "job"})
        error = run("run", "--memory", "2M", "--events", "mop", status=2).stderr
        self.assertIn('"mop"', error)
        self.assertIn("populate", error)

    def test_statistics(self):
        result = json.loads(run("run", "--memory", "8M", "--page-size", "4k", "--json", "--stats",
                                "--syscalls").stdout)
        entries = {(e["phase"], e["operation"]): e for e in result["boost"]["stats"]}
        populate = entries["populate", "MADV_POPULATE_WRITE"]
        self.assertEqual(populate["bytes"], 8 << 20)
        self.assertEqual(populate["size_log10"], 6)
        self.assertGreaterEqual(entries["syscall", "madvise"]["count"], 1)
        for entry in result["boost"]["stats"]:
            self.assertLessEqual(entry["min_ns"], entry["median_ns"])
            self.assertLessEqual(entry["median_ns"], entry["p99_ns"])
            self.assertLessEqual(entry["p99_ns"], entry["max_ns"])

    def test_crash(self):
        """What was flushed before the process died can be read."""
        with subprocess.Popen([COMMAND, "run", "--memory", "2M", "--page-size", "4k", "--repeat",
                               "1000", "--mode", "serial,boost", "--trace", self.trace],
                              stdout=subprocess.DEVNULL) as process:
            for _ in range(6000):
                if os.path.exists(self.trace) and os.path.getsize(self.trace) > 10000:
                    break
                time.sleep(0.01)
            # Not in the middle of a write(2): the kernel cuts those of a process that it kills.
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            process.send_signal(signal.SIGKILL)
        with open(self.trace, encoding="utf-8") as file:
            self.assertGreater(len(json.load(file)), 20)
        run("report", self.trace, "-o", self.path("page.html"))

    def test_unwritable(self):
        missing = self.path("no/trace.json")
        error = run("run", "--memory", "2M", "--trace", missing, status=1).stderr
        self.assertIn(missing, error)
        self.assertIn("No such file", error)
        error = run("run", "--memory", "2M", "--trace", "/dev/full", status=1).stderr
        self.assertIn("No space left", error)
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/full").st_mode))
        self.record()
        error = run("report", self.trace, "-o", self.path("no/page.html"), status=1).stderr
        self.assertIn("no/page.html", error)
        os.mkdir(self.path("folder.html"))
        run("report", self.trace, "-o", self.path("folder.html"), status=1)
        self.assertEqual(sorted(os.listdir(self.directory)), ["folder.html", "trace.json"])

    def test_report(self):
        self.record("--mode", "serial,boost")
        page, picture = self.path("page.html"), self.path("picture.svg")
        result = run("report", self.trace, "-o", page, "--json")
        summary = json.loads(result.stdout)
        self.assertEqual(summary["schema"], 1)
        self.assertEqual([r["name"] for r in summary["runs"]], ["serial", "boost"])
        for entry in summary["runs"]:
            self.assertGreater(entry["start"]["explained"], 0)
            self.assertLessEqual(entry["start"]["explained"], 1)
            phases = {step[2] for step in entry["start"]["steps"]}
            self.assertIn("populate", phases)
        self.assertTrue(any("4 KiB" in remark for remark in summary["remarks"]))
        # Its status depends on the host.
        doctor = json.loads(subprocess.run([COMMAND, "doctor", "--json"], stdout=subprocess.PIPE,
                                           check=False).stdout)
        slow = [f for f in doctor["findings"] if f["severity"] != "good"]
        self.assertEqual(sum(r.startswith("host: ") for r in summary["remarks"]), len(slow))
        with open(page, encoding="utf-8") as file:
            text = file.read()
        for word in ("http://", "https://", "src=", "@import"):
            self.assertNotIn(word, text)
        run("report", self.trace, "-o", picture)
        drawing = xml.dom.minidom.parse(picture)
        self.assertGreater(len(drawing.getElementsByTagName("rect")), 10)

    def test_usage(self):
        for arguments in (["report"], ["report", "a"], ["report", "a", "-o", "b.png"],
                          ["report", "a", "b", "-o", "c.svg"]):
            run(*arguments, status=2)

    def test_refused(self):
        marker = '{"name":"vfioboost_trace","ph":"M","pid":0,"tid":0,"args":{"schema":%d}}'
        step = '{"name":"map","ph":"X","pid":1,"tid":1,%s}'
        self.refused("", "empty")
        self.refused("hello", "not a trace of vfioboost")
        self.refused("[\n" + marker % 1, "cut off")
        self.refused("{}", "not a trace of vfioboost")
        self.refused("[]", "not a trace of vfioboost")
        self.refused('[{"name":"thread_name","ph":"M","pid":1,"tid":1}]', "vfioboost_trace")
        self.refused("[" + marker % 9 + "]", "schema", "9")
        self.refused("[" + marker % 1 + "]", "no step")
        self.refused("[" + marker % 1 + ",3]", "event 1", "object")
        self.refused("[" + marker % 1 + ',{"name":"map"}]', "event 1", '"ph"')
        self.refused("[" + marker % 1 + "," + step % '"ts":1' + "]", "event 1", '"dur"')
        self.refused("[" + marker % 1 + "," + step % '"ts":1,"dur":-1' + "]", "event 1")
        self.refused("[" + marker % 1 + "," + step % '"ts":1,"dur":1' + "]", "event 1", '"phase"')
        self.refused("[" + marker % 1 + ";3]", "byte %d" % (1 + len(marker % 1)))
        self.refused("[" + marker % 1 + ',{"a":' + 100 * "[" + 100 * "]" + "}]", "nesting")
        self.refused("[" + marker % 1 + ',{"a":"' + (2 << 20) * "a" + '"}]', "1048576")
        self.refused("[" + marker % 1 + ',{"a":"\udcff"}]', "utf-8")
        args = ',"args":{"phase":"map"}'
        for times in ('"ts":1e300,"dur":1', '"ts":1,"dur":1e16', '"ts":NaN,"dur":1',
                      '"ts":1,"dur":Infinity', '"ts":[1],"dur":1', '"ts":1e999,"dur":1'):
            self.refused("[" + marker % 1 + "," + step % (times + args) + "]", "event 1")
        end = '{"name":"job","ph":"e","pid":1,"tid":1,"ts":1,"id":1}'
        self.refused("[" + marker % 1 + "," + end + "]", "has not begun")
        os.unlink(self.trace)
        error = run("report", self.trace, "-o", self.path("page.svg"), status=1).stderr
        self.assertIn("No such file", error)

    def test_hostile(self):
        """Texts cannot leave their place in the page and the picture, nor numbers theirs."""
        text = '</script><!--<script></title><svg onload="x"/>&\u0000\u0001\uffff\\"\ud800'
        step = {"name": text, "ph": "X", "pid": 1, "tid": -(1 << 70), "ts": -5.5, "dur": 1,
                "args": {"phase": text, "operation": text, "device": text, "result": -(1 << 40),
                         "node": 1 << 40, "cpu": -1, "bytes": 1 << 63, "page_bytes": -1,
                         "thread": "x"}}
        events = [{"name": "vfioboost_trace", "ph": "M", "pid": 0, "tid": 0,
                   "args": {"schema": 1}},
                  {"name": "process_name", "ph": "M", "pid": 1, "tid": 0,
                   "args": {"name": 70 * "é" + text}},
                  {"name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": text}},
                  {"name": "vfioboost_session", "ph": "M", "pid": 1, "tid": 0,
                   "args": {"kernel": text, "cpus": [], "start_s": {}}},
                  {"name": "vfioboost_host", "ph": "M", "pid": 1, "tid": 0,
                   "args": {"findings": [{"text": text, "remedy": 600 * "é" + text}, 3]}},
                  step, {**step, "pid": 1 << 40}, {**step, "name": "start", "dur": 2,
                                                   "args": {"phase": "user"}}]
        with open(self.trace, "w", encoding="ascii") as file:
            json.dump(events, file)
        page, picture = self.path("page.html"), self.path("picture.svg")
        summary = json.loads(run("report", self.trace, "-o", page, "--json").stdout)
        self.assertEqual(len(summary["runs"]), 2)
        with open(page, encoding="utf-8") as file:
            content = file.read()
        self.assertEqual(content.count("<script"), 2)
        self.assertEqual(content.count("</script>"), 2)
        self.assertNotIn("<!--", content)
        begin = content.index('type="application/json">') + len('type="application/json">')
        data = json.loads(content[begin:content.index("</script>", begin)])
        span = data["runs"][0]["spans"][0]
        self.assertEqual(span[3], text.split("\0")[0])
        self.assertEqual(span[8:11], [(1 << 31) - 1, 0, -4095])
        run("report", self.trace, "-o", picture)
        drawing = xml.dom.minidom.parse(picture)
        self.assertEqual(drawing.getElementsByTagName("script"), [])
        self.assertEqual(len(drawing.getElementsByTagName("svg")), 1)

    def test_growth(self):
        """Time and memory grow no faster than the trace."""
        generator = os.path.join(HERE, "make_trace.py")
        for kind in ("threads", "jobs", "events"):
            seconds = []
            for count in (8000, 64000):
                with open(self.trace, "wb") as file:
                    subprocess.run([sys.executable, generator, kind, str(count)], stdout=file,
                                   check=True)
                process = subprocess.Popen([COMMAND, "report", self.trace, "-o",
                                            self.path("page.html")])
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                self.assertEqual(process.returncode, 0)
                seconds.append(usage.ru_utime)
            self.assertLess(seconds[1], 3 * 8 * seconds[0] + 0.1, kind)
            self.assertLess(usage.ru_maxrss << 10, 2 * os.path.getsize(self.trace) + (16 << 20))


unittest.main()
