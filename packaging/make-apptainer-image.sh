#!/usr/bin/env bash
# Makes the images that the tests of Apptainer and Charliecloud use, from busybox alone: no network is needed.
# DIRECTORY/sandbox is a directory tree, DIRECTORY/image.sif the same as one file.
#
# usage: make-apptainer-image.sh DIRECTORY
set -euo pipefail

directory=${1:?"usage: make-apptainer-image.sh DIRECTORY"}
root=$directory/sandbox
[ -e "$directory/image.sif" ] && exit 0

mkdir -p "$root"/{bin,etc,dev,proc,sys,tmp,root,home,usr,var/tmp}
chmod 1777 "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
touch "$root/etc/resolv.conf" "$root/etc/hosts" "$root/etc/localtime"

if command -v apptainer >/dev/null; then
    # Written under another name first: who finds the file finds it whole.
    if ! text=$(apptainer --quiet build --force "$directory/image.new" "$root" 2>&1); then
        echo "make-apptainer-image: $text" >&2
        exit 70
    fi
    mv "$directory/image.new" "$directory/image.sif"
fi
