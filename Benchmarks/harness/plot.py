"""The plots, as SVG written by hand: nothing has to be installed to draw bars and lines."""

import math
from html import escape

from . import report

COLOURS = {"berth": "#1f77b4", "juicefs-sqlite": "#d62728", "juicefs-redis": "#ff9896", "memfs": "#9467bd",
           "local": "#7f7f7f"}
WIDTH, LEFT, BAR, GAP, TOP = 900, 190, 11, 12, 70


def text(x, y, content, anchor="start", size=12):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(content)}</text>'


def document(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n")


def legend(systems, y):
    parts, x = [], LEFT
    for name in systems:
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{COLOURS[name]}"/>')
        parts.append(text(x + 17, y, name))
        x += 40 + 8 * len(name)
    return parts


def bars(samples, systems, clients):
    """Speed of each load in multiples of JuiceFS on SQLite (or the first system there is), on a log axis."""
    base = "juicefs-sqlite" if "juicefs-sqlite" in systems else systems[0]
    shown = []
    for (load, count), found in report.grouped(samples).items():
        if count in (clients, 1) and found.get(base):
            values = {name: report.speed_ratio(found, name, base) for name in systems}
            if values[base] is not None and (count == clients or (load, clients) not in report.grouped(samples)):
                shown.append((load, {name: value for name, value in values.items() if value}))
    if not shown:
        return None
    every = [value for _, values in shown for value in values.values()]
    low = math.floor(math.log10(min(every + [1])))
    high = math.ceil(math.log10(max(every + [1.1])))
    scale = (WIDTH - LEFT - 70) / (high - low)
    height = TOP + sum(len(values) * BAR + GAP for _, values in shown) + 30
    parts = [text(LEFT, 24, f"Speed in multiples of {base}, {clients} clients", size=15), *legend(systems, 48)]
    for power in range(low, high + 1):
        x = LEFT + (power - low) * scale
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - 25}" stroke="#ddd"/>')
        parts.append(text(x, height - 10, f"{10.0 ** power:g} x", "middle"))
    y = TOP
    for load, values in shown:
        parts.append(text(LEFT - 8, y + len(values) * BAR / 2 + 4, load, "end"))
        for name in systems:
            if name not in values:
                continue
            length = max(1.0, (math.log10(values[name]) - low) * scale)
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 1}" fill="{COLOURS[name]}"/>')
            parts.append(text(LEFT + length + 4, y + BAR - 2, report.number(values[name]), size=9))
            y += BAR
        y += GAP
    return document(WIDTH, height, parts)


def growth(samples, systems):
    """Create rate while a volume grows, over the number of files it holds."""
    lines = {}
    for sample in samples:
        if sample.load.startswith("scale: growing to "):
            lines.setdefault(sample.system, []).append((sample.detail["files"], sample.value))
    if not lines:
        return None
    most = max(files for points in lines.values() for files, _ in points)
    top = max(rate for points in lines.values() for _, rate in points) * 1.1
    height, bottom = 420, 380
    parts = [text(60, 24, "Files made each second while the volume grows", size=15), *legend(list(lines), 48)]

    def place(files, rate):
        return 60 + files / most * (WIDTH - 100), bottom - rate / top * (bottom - TOP)

    for step in range(5):
        x, _ = place(most * step / 4, 0)
        _, y = place(0, top * step / 4)
        parts.append(f'<line x1="60" y1="{y:.1f}" x2="{WIDTH - 40}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(text(56, y + 4, f"{top * step / 4:,.0f}", "end", 10))
        parts.append(text(x, bottom + 18, f"{most * step / 4:,.0f} files", "middle", 10))
    for name, points in lines.items():
        path = " ".join("%.1f,%.1f" % place(*point) for point in sorted(points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        parts += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (*place(*point), COLOURS[name])
                  for point in points]
    return document(WIDTH, height, parts)
