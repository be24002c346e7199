#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the shells offer at the end of a command line, and `vfioboost help`.

Usage: test_completion.py VFIOBOOST FOLDER, the folder of the completion scripts
"""
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

COMMAND, FOLDER = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
del sys.argv[1:3]
COMPLETE = os.path.join(FOLDER, "vfioboost-complete")
BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"
ADDRESS = "0000:81:00.0"


def offered(*words, **variables):
    """{candidate: its description}, of the script that all shells ask."""
    output = subprocess.run([COMPLETE, COMMAND, *words], capture_output=True, text=True,
                            check=True, env={**os.environ, **variables})
    if output.stderr:
        raise AssertionError(output.stderr)
    return dict((line.split("\t") + [""])[:2] for line in output.stdout.splitlines())


class Candidates(unittest.TestCase):
    def test_commands(self):
        for words in ([""], ["do"], ["help", ""]):
            self.assertIn("what this host supports", offered(*words)["doctor"])
        self.assertIn("help", offered(""))
        self.assertNotIn("help", offered("help", ""))
        self.assertIn("populate", offered("bench", ""))
        self.assertEqual(offered("nonsense", ""), {})

    def test_options(self):
        options = offered("run", "-")
        self.assertIn("--kernel-trace", options)
        self.assertTrue(options["--kernel-trace"].endswith("pages)"), "the whole description")
        self.assertIn("--cold", offered("bench", "map", "--"))
        self.assertEqual(offered("run", "--json", ""), {}, "run takes no operand")

    def test_every_option(self):
        """Whatever --help lists can be completed, for every command."""
        for command in offered("help", ""):
            if command == "bench":
                continue
            text = subprocess.run([COMMAND, command, "--help"], capture_output=True, text=True,
                                  check=True).stdout
            listed = {word.split("=")[0].rstrip(",") for line in text.splitlines()
                      if line.startswith("  -") or line.startswith("      --")
                      for word in line.split() if word.startswith("--")}
            self.assertLessEqual(listed - {"--help", "--usage"}, set(offered(command, "--")))

    def test_values(self):
        sizes = {"auto", "4k", "thp", "2m", "1g", "mixed"}
        for words in (["--page-size", ""], ["-p", "1"], ["--json", "-p", ""]):
            self.assertEqual(set(offered("run", *words)), sizes)
        self.assertEqual(set(offered("run", "--page-size=")),
                         {"--page-size=" + size for size in sizes})
        self.assertIn("serial,boost", offered("run", "--mode", "serial,"))
        self.assertIn("--page-size=4k,2m", offered("bench", "map", "--page-size=4k,"))
        for words in (["run", "--trace", ""], ["run", "--trace=/t"], ["report", ""],
                      ["report", "-o", "x"]):
            self.assertEqual(offered(*words), {":files": ""})
        self.assertEqual(offered("run", "--memory", ""), {})

    def test_command_of_exec(self):
        for words, index in ((["exec", ""], 2), (["exec", "--", "l"], 3),
                             (["exec", "-t", "4", "ls", "-"], 4),
                             (["exec", "--thp", "--", "ls", ""], 4)):
            self.assertEqual(offered(*words), {f":command {index}": ""}, words)

    def test_devices(self):
        with tempfile.TemporaryDirectory() as sysfs:
            for device, driver in ((ADDRESS, "vfio-pci"), ("0000:00:1f.0", "ahci")):
                folder = os.path.join(sysfs, "bus/pci/devices", device)
                os.makedirs(folder)
                for name, content in (("vendor", "0x8086"), ("device", "0x5845")):
                    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                        file.write(content + "\n")
                os.makedirs(os.path.join(sysfs, "bus/pci/drivers", driver))
                os.symlink(folder, os.path.join(sysfs, "bus/pci/drivers", driver, device))
            where = {"VFIOBOOST_COMPLETE_SYSFS": sysfs}
            for words in (["run", "--device", ""], ["unbind", ""], ["doctor", "-d", "0"]):
                self.assertEqual(offered(*words, **where), {ADDRESS: "8086:5845"}, words)
            self.assertEqual(offered("run", f"--device={ADDRESS[:4]}", **where),
                             {f"--device={ADDRESS}": "8086:5845"})
            self.assertEqual(set(offered("bind", "", **where)), {ADDRESS, "0000:00:1f.0"})
        self.assertEqual(offered("run", "-d", "", VFIOBOOST_COMPLETE_SYSFS="/nowhere"), {})


class Shells(unittest.TestCase):
    ENVIRONMENT = {**os.environ, "VFIOBOOST_COMPLETE": COMPLETE, "TERM": "dumb",
                   "PATH": os.path.dirname(COMMAND) + ":" + os.environ["PATH"]}

    @unittest.skipUnless(os.path.exists(BASH_COMPLETION), "no bash-completion")
    def test_bash(self):
        script = f'''. {BASH_COMPLETION}; . {FOLDER}/vfioboost
            COMP_LINE=$1 COMP_POINT=${{#1}} COMP_TYPE=9 COMP_KEY=9
            COMP_WORDS=("${{@:2}}") COMP_CWORD=$(($# - 2))
            _vfioboost; printf '%s\\n' "${{COMPREPLY[@]}}"'''

        def completed(*words):
            # As readline splits it: "=" and ":" are words.
            return subprocess.run(["bash", "-c", script, "bash", "".join(words), *(
                word.strip() for word in words)], env=self.ENVIRONMENT, capture_output=True,
                text=True, check=True).stdout.split()

        self.assertEqual(completed("vfioboost ", "do"), ["doctor"])
        self.assertEqual(completed("vfioboost ", "run ", "--page-size", "=", "1"), ["1g"])
        self.assertEqual(completed("vfioboost ", "run ", "--page-size ", "m"), ["mixed"])

    @unittest.skipUnless(shutil.which("fish"), "no fish")
    def test_fish(self):
        def completed(line):
            return subprocess.run(["fish", "--private", "-c", f"source {FOLDER}/vfioboost.fish; "
                                   f"complete -C '{line}'"], env=self.ENVIRONMENT,
                                  capture_output=True, text=True, check=True).stdout
        self.assertTrue(completed("vfioboost do").startswith("doctor\t"))
        self.assertEqual(completed("vfioboost run --page-size=1"), "--page-size=1g\n")
        self.assertIn("/etc/", completed("vfioboost report /et"))

    @unittest.skipUnless(shutil.which("zsh"), "no zsh")
    def test_zsh(self):
        """Typed at a prompt, with tabulators: zsh cannot be asked."""
        with tempfile.TemporaryDirectory() as home:
            process, fd = pty.fork()
            if not process:
                os.chdir(home)
                os.execvpe("zsh", ["zsh", "-f", "-i"], {**self.ENVIRONMENT, "HOME": home})
            self.addCleanup(os.waitpid, process, 0)
            self.addCleanup(os.close, fd)
            os.write(fd, f"fpath=({FOLDER} $fpath); autoload -U compinit; compinit -D; "
                     "echo rea''dy\n".encode())
            self.expect(fd, "ready")
            os.write(fd, b"echo a vfioboost; true\n")
            for typed, wanted in ((b"vfioboost doct\t", "doctor"),
                                  (b"vfioboost run --page-size 1\t", "1g"),
                                  (b"vfioboost run --page-size=mi\t", "--page-size=mixed")):
                os.write(fd, typed)
                self.expect(fd, wanted)
                os.write(fd, b"\x15")
            os.write(fd, b"exit\n")

    def expect(self, fd, wanted):
        output, end = "", time.monotonic() + 60
        while wanted not in output:
            left = end - time.monotonic()
            self.assertTrue(left > 0 and select.select([fd], [], [], left)[0], output)
            output += os.read(fd, 4096).decode(errors="replace").replace("\b", "")


class Help(unittest.TestCase):
    def test_help(self):
        def run(*words):
            return subprocess.run([COMMAND, *words], capture_output=True, text=True, check=False)
        for words in (["run"], ["bench", "map"], ["bench"]):
            self.assertEqual(run("help", *words).stdout, run(*words, "--help").stdout)
            self.assertEqual(run("help", *words).returncode, 0)
        self.assertEqual(run("help").stdout, run("--help").stdout)
        result = run("help", "nonsense")
        self.assertEqual(result.returncode, 2)
        self.assertIn('"nonsense"', result.stderr)


unittest.main()
