#!/usr/bin/env bash
# Makes an ordinary user with subordinate ids and a runtime directory, as a login on a real machine does.
# Run as root; may be run again.
#
# usage: test-user.sh NAME
set -euo pipefail

name=${1:?"usage: test-user.sh NAME"}
id "$name" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$name"
for kind in uid gid; do
    grep -q "^$name:" "/etc/sub$kind" || usermod --add-sub${kind}s 300000-365535 "$name"
done
runtime=/run/user/$(id -u "$name")
mkdir -p "$runtime"
chown "$name:" "$runtime"
chmod 0700 "$runtime"
