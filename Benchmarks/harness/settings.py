"""What a run was made of: machine, versions, commands."""

import json
import os
import platform
import subprocess


def _first_line(*command):
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return "not there"
    return ((done.stdout or done.stderr).strip().splitlines() or [""])[0]


def _processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _memory():
    with open("/proc/meminfo", encoding="ascii") as file:
        return file.readline().split(":")[1].strip()


def describe(site, options, commands):
    return {
        "machine": {
            "kernel": platform.release(), "processor": _processor(), "cores": os.cpu_count(), "memory": _memory(),
            "file system of all stores": _first_line("findmnt", "-n", "-o", "FSTYPE,OPTIONS", "-T", site.work),
        },
        "versions": {
            "berth": _first_line(site.programs / "berth", "--version"),
            "juicefs": _first_line(site.juicefs, "version"), "redis": _first_line("redis-server", "--version"),
            "git": _first_line("git", "--version"), "tar": _first_line("tar", "--version"),
            "python": _first_line("/usr/bin/python3", "--version"),
        },
        "run": {
            "rounds": options.rounds, "clients": options.clients, "systems": options.systems,
            "sizes": vars(options.sizes), "only": options.only,
        },
        "commands": {name: [line.replace(str(site.work), "WORK") for line in lines]
                     for name, lines in commands.items()},
    }


def write(path, description):
    path.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def text(description):
    lines = []
    for title, content in description.items():
        lines.append(f"{title}:")
        for name, value in content.items():
            if isinstance(value, list) and title == "commands":
                lines += [f"  {name}:"] + [f"    {line}" for line in value]
            else:
                lines.append(f"  {name}: {value}")
    return "\n".join(lines)
