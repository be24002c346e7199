#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes files as C strings: embed.py HEADER FILE... The name of report.css is asset_report_css."""
import os
import re
import sys


def quoted(text):
    for line in text.splitlines():
        yield '\t"' + line.replace("\\", "\\\\").replace('"', '\\"') + '\\n"'


def main():
    header, *paths = sys.argv[1:]
    with open(header, "w", encoding="utf-8") as out:
        for path in paths:
            name = re.sub(r"\W", "_", os.path.basename(path))
            with open(path, encoding="utf-8") as file:
                lines = "\n".join(quoted(file.read()))
            out.write(f"static const char asset_{name}[] =\n{lines};\n")


main()
