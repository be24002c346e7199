"""Counts what tests/bench/call-chain prints: see scripts/call-chain."""

import collections
import subprocess
import sys


def places(program, addresses):
    """The function and the file of each address."""
    result = subprocess.run(
        ["addr2line", "-f", "-e", program, *addresses],
        check=True, capture_output=True, text=True)
    lines = result.stdout.splitlines()
    return {
        address: (lines[2 * i], lines[2 * i + 1].split(":")[0].split("/lib/")[-1])
        for i, address in enumerate(addresses)
    }


def main():
    program, functions, wanted = sys.argv[1], sys.argv[2] == "true", sys.argv[3]
    steps = collections.defaultdict(list)
    for line in sys.stdin:
        step, address = line.rstrip("\n").split("\t")
        if not wanted or step == wanted:
            steps[step].append(address)
    found = places(program, sorted({a for calls in steps.values() for a in calls}))
    for step, calls in steps.items():
        passed = collections.Counter(found[address] for address in calls)
        files = {file for _, file in passed}
        print(f"{step}: {len(calls)} calls of {len(passed)} functions in {len(files)} files")
        if functions:
            for (function, file), count in passed.items():
                print(f"  {file}: {function}" + (f" x {count}" if count > 1 else ""))


main()
