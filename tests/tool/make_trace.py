#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes trace files larger than a run makes, to measure what reading them costs.

Usage: make_trace.py threads|jobs|events COUNT >TRACE

threads: COUNT threads, each with one step; jobs: COUNT jobs that all end after the last has
begun; events: COUNT steps of two threads.
"""
import sys

STEP = ('{"name":"populate","cat":"populate","ph":"X","pid":1,"tid":%d,"ts":%d.125,"dur":%d.250,'
        '"args":{"phase":"populate","operation":"MADV_POPULATE_WRITE","id":%d,"parent":1,'
        '"bytes":2097152,"page_bytes":4096,"node":0,"cpu":%d,"thread":%d,"result":0}}')
THREAD = '{"name":"thread_name","ph":"M","pid":1,"tid":%d,"args":{"name":"worker %d"}}'
JOB = ('{"name":"job map","cat":"job","ph":"%s","pid":1,"tid":1,"ts":%d,"id":%d,'
       '"args":{"phase":"job","id":%d,"result":0}}')


def events(kind, count):
    yield '{"name":"vfioboost_trace","ph":"M","pid":0,"tid":0,"args":{"schema":1}}'
    yield '{"name":"process_name","ph":"M","pid":1,"tid":0,"args":{"name":"boost: threads"}}'
    if kind == "threads":
        for i in range(1, count + 1):
            yield THREAD % (i, i)
            yield STEP % (i, i, 3, i + 1, i % 64, i)
    elif kind == "jobs":
        for i in range(1, count + 1):
            yield JOB % ("b", i, i, i)
        for i in range(1, count + 1):
            yield JOB % ("e", count + i, i, i)
    else:
        for i in range(1, count + 1):
            yield STEP % (i % 2 + 1, i, 1, i + 1, i % 64, i % 2 + 1)


def main():
    kind, count = sys.argv[1:]
    if kind not in ("threads", "jobs", "events"):
        sys.exit(__doc__)
    sys.stdout.write("[\n" + ",\n".join(events(kind, int(count))) + "\n]\n")


main()
