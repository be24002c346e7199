#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What doctor prints for programs: ids that the manual page lists, a verdict, an exit status.

Usage: test_findings.py VFIOBOOST FINDINGS.DEF VFIOBOOST-DOCTOR.1
"""
import json
import pathlib
import re
import subprocess
import sys

tool, definitions, page = sys.argv[1], *map(pathlib.Path, sys.argv[2:])


def doctor(*arguments):
    return subprocess.run([tool, "doctor", *arguments], stdout=subprocess.PIPE, text=True)


def check_page(ids):
    section = page.read_text().split(".Sh FINDINGS")[1].split(".Sh ")[0]
    listed = re.findall(r"^\.It (?:Cm )?(.+)$", section, re.M)
    listed = [name for line in listed for name in line.split(" , ")]
    assert sorted(listed) == sorted(ids), set(listed) ^ set(ids)


def check_json(ids, *arguments):
    result = doctor("--json", *arguments)
    report = json.loads(result.stdout)
    assert {finding["id"] for finding in report["findings"]} <= set(ids)
    assert report["verdict"] in ("good", "slow", "fails")
    assert (report["verdict"] == "fails") == (" cannot start" in report["summary"])
    assert result.returncode == (report["verdict"] == "fails"), result
    return report


def check_text(report, *arguments):
    result = doctor(*arguments)
    assert result.stdout.splitlines()[-1] == report["summary"], result.stdout
    assert result.returncode == (report["verdict"] == "fails")


def main():
    ids = re.findall(r'^FINDING\(\w+, "\w+", "([\w-]+)"\)$', definitions.read_text(), re.M)
    assert len(ids) > 20 and len(set(ids)) == len(ids)
    check_page(ids)
    check_text(check_json(ids))
    # More than any machine has.
    report = check_json(ids, "--memory", "1048576G", "--page-size", "4k")
    assert report["summary"].startswith("this guest cannot start: "), report["summary"]


main()
