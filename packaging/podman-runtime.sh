#!/usr/bin/env bash
# Prints the OCI runtime that works here: crun refuses a machine whose cgroups are version 1 and 2 at once.
set -euo pipefail

if command -v crun >/dev/null && [ "$(stat -f -c %T /sys/fs/cgroup 2>/dev/null)" = cgroup2fs ]; then
    echo crun
elif command -v runc >/dev/null; then
    echo runc
else
    echo "podman-runtime: neither crun nor runc can be used here" >&2
    exit 69
fi
