#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the manual page of a public header from its comments.

Usage: header-man.py HEADER VERSION PAGE
       header-man.py --functions HEADER     (lists the functions that the page describes)
"""
import os
import re
import sys

COMMENT = re.compile(r"/\*\*(.*?)\*/", re.S)
FUNCTION = re.compile(r"^VFB_API [^;(]*?(vfb_\w+)\(", re.M)


def clean(comment):
    """The text of a comment, paragraphs separated by empty lines."""
    lines = [re.sub(r"^\s*\* ?", "", line) for line in comment.strip().splitlines()]
    return "\n".join(lines).strip()


def declaration(text):
    """What stands behind a comment, up to its end."""
    text = text.lstrip()
    if text.startswith("#define"):
        return text.splitlines()[0].replace("\t", " ")
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "{") - (c == "}")
        if c == ";" and depth == 0:
            return text[: i + 1]
    return ""


def items(header):
    """The comments outside of structs, each with what it describes."""
    end = 0
    for match in COMMENT.finditer(header):
        if match.start() < end or "@file" in match.group(1):
            continue
        what = declaration(header[match.end():])
        end = match.end() + header[match.end():].find(what) + len(what)
        if what:
            yield clean(match.group(1)), what.replace("VFB_API ", "")


def escaped(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    if "\n" not in text:
        # A sentence per line, as mdoc has it.
        text = re.sub(r"([.!?]\)?) +", r"\1\n", text)
    return re.sub(r"(?m)^([.'])", r"\\&\1", text)


def paragraphs(text):
    """Text as mdoc: paragraphs, lists, parameters, results."""
    text = re.sub(r"@p (\w+)", r"\1", text)
    text = re.sub(r"@return ", "\n\n@return ", text)
    for part in re.split(r"\n\s*\n|\n(?=@|\s*- )", text):
        part = " ".join(part.split())
        parameter = re.match(r"@param (\w+) (.*)", part)
        if not part:
            continue
        if parameter:
            yield f".It Fa {parameter[1]}\n{escaped(parameter[2])}"
        elif part.startswith("@return"):
            yield ".Pp\nReturns " + escaped(part[len("@return "):])
        elif part.startswith("- "):
            yield ".Pp\n\\(bu " + escaped(part[2:])
        else:
            yield ".Pp\n" + escaped(part)


def body(text):
    """Paragraphs with the parameters among them as a list."""
    lines, listed = [], False
    for part in paragraphs(text):
        if part.startswith(".It") != listed:
            lines.append(".El" if listed else ".Pp\n.Bl -tag -width Ds -compact")
            listed = not listed
        lines.append(part)
    if listed:
        lines.append(".El")
    return "\n".join(lines)


def date():
    """That of the command's page: pages of one version have one date."""
    page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../man/vfioboost.1")
    with open(page, encoding="utf-8") as file:
        return next(line.rstrip() for line in file if line.startswith(".Dd"))


def name_of(what):
    patterns = (r"#define (\w+)", r"typedef .*?\(\*(\w+)\)", r"(?:struct|enum) (\w+)\s*[{;]",
                r"(\w+)\(")
    for pattern in patterns:
        match = re.search(pattern, what, re.S)
        if match:
            return match[1]
    return what.split()[0]


def library_of(name):
    return "libvfioboost-fake" if name == "fake.h" else "libvfioboost"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def main():
    if sys.argv[1] == "--functions":
        print("\n".join(FUNCTION.findall(read(sys.argv[2]))))
        return
    path, version, page = sys.argv[1:]
    header = read(path)
    name = os.path.basename(path)
    intro = next(clean(c) for c in COMMENT.findall(header) if "@file" in c)
    first, _, rest = intro.replace(f"@file {name}", "").strip().partition("\n\n")
    title = os.path.basename(page).rsplit(".", 1)[0]
    lines = [
        f".\\\" Written from {name} by header-man.py.", date(),
        f".Dt {title.upper()} 3", f".Os libvfioboost {version}", ".Sh NAME", f".Nm {title}",
        ".Nd " + escaped(" ".join(first.split()).rstrip(".")), ".Sh LIBRARY",
        f"libvfioboost (pkg\\-config \\-\\-cflags \\-\\-libs {escaped(library_of(name))})",
        ".Sh SYNOPSIS",
        f".In vfioboost/{name}", ".Sh DESCRIPTION", body(rest).removeprefix(".Pp\n"),
    ]
    for text, what in items(header):
        lines += [f".Ss {name_of(what)}", ".Bd -literal", escaped(what), ".Ed", body(text)]
    lines += [".Sh SEE ALSO", ".Xr vfioboost 1"]
    with open(page, "w", encoding="utf-8") as file:
        file.write("\n".join(line for line in lines if line) + "\n")


main()
