#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Compares how long map calls take according to the library with what the kernel's tracepoints
sys_enter_ioctl and sys_exit_ioctl say. To be run as root where devices are bound to vfio-pci:

    scripts/vm --devices 1 -- tests/vm/compare_ioctl.py VFIOBOOST [MAPS]
"""
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

TRACEFS = "/sys/kernel/tracing/instances/vfioboost-ioctl"
MAPS = {0x3B71: "VFIO_IOMMU_MAP_DMA", 0x3B85: "IOMMU_IOAS_MAP"}
ENTER = re.compile(r"-(\d+) .* (\d+\.\d+): sys_ioctl\(fd: \w+, cmd: (\w+)")
EXIT = re.compile(r"-(\d+) .* (\d+\.\d+): sys_ioctl -> ")


def write(name, text):
    with open(os.path.join(TRACEFS, name), "w", encoding="ascii") as file:
        file.write(text)


def trace_run(command, directory):
    """One run of the command: its map calls by the kernel and by the library, by thread."""
    trace = os.path.join(directory, "trace.json")
    write("trace", "")
    write("tracing_on", "1")
    subprocess.run([*command, "--trace", trace], check=True, stdout=subprocess.DEVNULL)
    write("tracing_on", "0")
    kernel, begun = {}, {}
    with open(os.path.join(TRACEFS, "trace"), encoding="utf-8") as file:
        for line in file:
            if match := ENTER.search(line):
                if int(match[3], 16) in MAPS:
                    begun[match[1]] = float(match[2])
            elif (match := EXIT.search(line)) and match[1] in begun:
                seconds = float(match[2]) - begun.pop(match[1])
                kernel.setdefault(int(match[1]), []).append(seconds * 1e6)
    with open(trace, encoding="utf-8") as file:
        events = [e for e in json.load(file) if e.get("cat") == "map"]
    library = {}
    for event in sorted(events, key=lambda e: e["ts"]):
        library.setdefault(event["args"]["thread"], []).append(event["dur"])
    return kernel, library


def main():
    vfioboost, maps = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200
    command = [vfioboost, "run", "--memory", "64M", "--page-size", "4k", "--repeat", "10",
               "--device", os.environ["VFIO_DEVICES"].split()[0]]
    pairs = []
    os.mkdir(TRACEFS)
    try:
        write("tracing_on", "0")
        write("trace_clock", "mono")
        write("buffer_size_kb", "8192")
        for event in ("sys_enter_ioctl", "sys_exit_ioctl"):
            write(f"events/syscalls/{event}/enable", "1")
        with tempfile.TemporaryDirectory() as directory:
            while len(pairs) < maps:
                kernel, library = trace_run(command, directory)
                for thread, durations in library.items():
                    assert len(kernel.get(thread, [])) == len(durations), (kernel, library)
                    pairs += zip(kernel[thread], durations)
    finally:
        os.rmdir(TRACEFS)
    pairs = pairs[:maps]
    differences = [abs(library - kernel) / kernel for kernel, library in pairs]
    print(json.dumps({
        "schema": 1, "kernel": os.uname().release, "maps": len(pairs),
        "kernel_median_us": round(statistics.median(k for k, _ in pairs), 1),
        "library_median_us": round(statistics.median(ours for _, ours in pairs), 1),
        "median_difference": round(statistics.median(differences), 5),
        "largest_difference": round(max(differences), 5),
    }))


main()
