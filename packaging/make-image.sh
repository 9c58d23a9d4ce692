#!/usr/bin/env bash
# Makes the container image that the demo and the tests use, from busybox alone: no network is needed.
#
# usage: make-image.sh [IMAGE]
set -euo pipefail

image=${1:-localhost/berth-bb}
podman image exists "$image" && exit 0

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"
mkdir -p "$root"/{bin,etc,dev,proc,sys,tmp,data}
chmod 1777 "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
printf 'root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nuser:x:1000:\n' >"$root/etc/group"
tar -C "$root" --owner=0 --group=0 -c . | podman import - "$image" >/dev/null 2>&1
podman image exists "$image"
