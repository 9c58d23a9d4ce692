"""What a run says: the table, the CSV."""

import csv
import statistics


def write_csv(path, samples):
    names = ["system", "round", "load", "clients", "value", "unit"]
    details = sorted({key for sample in samples for key in sample.detail})
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names + details)
        for sample in samples:
            writer.writerow([getattr(sample, name) for name in names]
                            + [sample.detail.get(key, "") for key in details])


def grouped(samples):
    """(load, clients) -> system -> values, in the order of the run."""
    rows = {}
    for sample in samples:
        rows.setdefault((sample.load, sample.clients), {}).setdefault(sample.system, []).append(sample)
    return rows


def median(samples):
    return statistics.median(sample.value for sample in samples)


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if value >= 10 else f"{value:,.2f}"


def cell(samples):
    """Median, and from least to most where there is more than one."""
    if not samples:
        return "-"
    values = [sample.value for sample in samples]
    text = number(median(samples))
    return text if len(values) == 1 else f"{text} ({number(min(values))}-{number(max(values))})"


def ratio(found, one, other):
    if not found.get(one) or not found.get(other):
        return "-"
    return f"{number(median(found[one]) / median(found[other]))} x"


COMPARED = [("juicefs-sqlite", "berth/sqlite"), ("juicefs-redis", "berth/redis"), ("memfs", "berth/memfs"),
            ("local", "berth/local")]


def table(samples, systems):
    """Medians with spread, and Berth's ratio to the others."""
    compared = [(name, title) for name, title in COMPARED if name in systems and "berth" in systems]
    lines = [["load", "clients", "unit", *systems, *(title for _, title in compared)]]
    for (load, clients), found in grouped(samples).items():
        unit = next(iter(found.values()))[0].unit
        lines.append([load, str(clients), unit, *(cell(found.get(name)) for name in systems),
                      *(ratio(found, "berth", name) for name, _ in compared)])
    return align(lines)


def align(lines):
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) if column == 0 else text.rjust(width)
                  for column, (text, width) in enumerate(zip(line, widths))).rstrip()
        for line in lines)
