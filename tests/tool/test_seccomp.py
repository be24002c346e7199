#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""vfioboost seccomp: test_seccomp.py COMMAND."""
import json
import subprocess
import sys
import unittest

COMMAND = sys.argv.pop(1)


def run(*arguments):
    return subprocess.run([COMMAND, "seccomp", *arguments], check=True, stdout=subprocess.PIPE,
                          text=True).stdout


class Seccomp(unittest.TestCase):
    def test_lists(self):
        result = json.loads(run("--json"))
        names = {role: {call.get("request_name", call["name"]) for call in result[role]}
                 for role in ("thread", "caller", "create")}
        self.assertLessEqual(names["thread"] | names["caller"], names["create"])
        self.assertIn("clone3", names["create"] - names["caller"] - names["thread"])
        self.assertIn("VFIO_IOMMU_MAP_DMA", names["thread"])
        for call in result["create"]:
            self.assertEqual("request" in call, call["name"] == "ioctl")

    def test_text(self):
        text = run()
        self.assertEqual([line.split(":")[0] for line in text.splitlines()
                          if line and not line.startswith(" ")], ["thread", "caller", "create"])
        self.assertIn("VFIO_DEVICE_RESET", text)
        self.assertEqual(text.count("  futex\n"), 3)


if __name__ == "__main__":
    unittest.main()
