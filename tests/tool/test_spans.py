#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What examples/opentelemetry.c writes is OTLP in JSON, and its spans are one tree.

Usage: test_spans.py OPENTELEMETRY
"""
import json
import re
import subprocess
import sys
import time

output = subprocess.run([sys.argv[1], "16"], capture_output=True, text=True, check=True).stdout
spans = {}
for line in output.splitlines():
    for resource in json.loads(line)["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            spans.update({span["spanId"]: span for span in scope["spans"]})

assert len({span["traceId"] for span in spans.values()}) == 1
roots = [span for span in spans.values() if "parentSpanId" not in span]
assert [span["name"] for span in roots] == ["start of the guest"], roots
for span in spans.values():
    assert re.fullmatch("[0-9a-f]{32}", span["traceId"]), span
    assert re.fullmatch("[0-9a-f]{16}", span["spanId"]), span
    assert span["status"] == {"code": 1}, span
    begin, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    assert begin <= end and abs(begin / 1e9 - time.time()) < 3600, span
    if "parentSpanId" in span:
        assert int(spans[span["parentSpanId"]]["startTimeUnixNano"]) <= begin, span
populated = sum(int(attribute["value"]["intValue"]) for span in spans.values()
                if span["name"] == "populate" for attribute in span["attributes"]
                if attribute["key"] == "vfio.bytes")
assert populated == 16 << 20, populated
