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


def speed_ratio(found, one, other):
    """How many times faster one system is than the other; None where that means nothing."""
    if not found.get(one) or not found.get(other):
        return None
    unit = found[one][0].unit
    if unit in ("/s", "MB/s"):
        return median(found[one]) / median(found[other])
    return median(found[other]) / median(found[one]) if unit == "s" else None


def ratio(found, one, other):
    value = speed_ratio(found, one, other)
    return "-" if value is None else f"{number(value)} x"


COMPARED = [("juicefs-sqlite", "berth/sqlite"), ("juicefs-redis", "berth/redis"), ("memfs", "berth/memfs"),
            ("local", "berth/local")]


def table(samples, systems):
    """Medians with least and most, and how many times faster Berth is than the others."""
    compared = [(name, title) for name, title in COMPARED if name in systems and "berth" in systems]
    lines = [["load", "clients", "unit", *systems, *(title for _, title in compared)]]
    for (load, clients), found in grouped(samples).items():
        unit = next(iter(found.values()))[0].unit
        lines.append([load, str(clients), unit, *(cell(found.get(name)) for name in systems),
                      *(ratio(found, "berth", name) for name, _ in compared)])
    return align(lines)


def align(lines, right=None):
    """Columns of text; all but the first to the right, where `right` does not name them."""
    columns = range(len(lines[0]))
    right = columns[1:] if right is None else right
    widths = [max(len(line[column]) for line in lines) for column in columns]
    return "\n".join(
        "  ".join(line[column].rjust(widths[column]) if column in right else line[column].ljust(widths[column])
                  for column in columns).rstrip()
        for line in lines)


def requests(samples):
    """The opcodes of each operation, for every system."""
    lines = [["operation", "system", "awaited", "requests of one operation, as the kernel counts them"]]
    for sample in samples:
        if sample.unit == "requests":
            lines.append([sample.load.removeprefix("requests "), sample.system, f"{sample.value:.2f}",
                          sample.detail["requests"]])
    return align(lines, right=(2,)) if len(lines) > 1 else ""
