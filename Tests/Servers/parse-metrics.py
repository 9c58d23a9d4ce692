#!/usr/bin/env python3
"""Reads Prometheus' text format from standard input with Prometheus' own parser, and is stricter than it.

Prints a line per sample, `NAME{label="value",…} VALUE`, labels sorted; ends with 1 and the reason where a rule of the
format is broken.
"""

import math
import sys

from prometheus_client.parser import text_string_to_metric_families


def fail(reason: str):
    print(f"parse-metrics: {reason}", file=sys.stderr)
    sys.exit(1)


def check_histogram(family):
    """Buckets grow and end with +Inf, which is the count; a sum is there."""
    series = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        part = series.setdefault(tuple(sorted(labels.items())), {"buckets": []})
        if sample.name.endswith("_bucket"):
            part["buckets"].append((float(sample.labels["le"].replace("+Inf", "inf")), sample.value))
        else:
            part[sample.name.rsplit("_", 1)[1]] = sample.value
    for labels, part in series.items():
        bounds, counts = zip(*part["buckets"])
        if list(bounds) != sorted(set(bounds)) or bounds[-1] != math.inf or list(counts) != sorted(counts):
            fail(f"{family.name} {labels}: buckets out of order")
        if part.get("count") != counts[-1] or "sum" not in part:
            fail(f"{family.name} {labels}: count or sum does not fit")
        if part["count"] == 0 and part["sum"] != 0 or part["sum"] < 0:
            fail(f"{family.name} {labels}: sum does not fit")


text = sys.stdin.read()
if not text.endswith("\n"):
    fail("the last line has no end")
heads = [line.split(" ", 3)[1:3] for line in text.split("\n") if line.startswith("#")]
if len({tuple(head) for head in heads}) != len(heads) or {kind for kind, _ in heads} - {"HELP", "TYPE"}:
    fail("a family has two heads, or one that is none")
samples = set()
for family in text_string_to_metric_families(text):
    if family.type not in ("counter", "gauge", "histogram") or not family.documentation or not family.samples:
        fail(f"{family.name}: has no type, no help or no sample")
    if family.type == "counter" and not all(sample.name.endswith("_total") for sample in family.samples):
        fail(f"{family.name}: a counter ends with _total")
    if family.type == "histogram":
        check_histogram(family)
    for sample in family.samples:
        words = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
        key = f"{sample.name}{{{words}}}"
        if key in samples:
            fail(f"{key} comes twice")
        samples.add(key)
        value = sample.value
        print(f"{key} {int(value) if value == int(value) else value}")
