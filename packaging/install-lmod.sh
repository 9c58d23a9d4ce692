#!/usr/bin/env bash
# Installs a real Lmod for the tests, beside Environment Modules: the two packages conflict only in the shell's start-up
# files, so Lmod's package is unpacked and these are left out.
# Run as root; may be run again, and does nothing where Lmod is there already.
#
# usage: install-lmod.sh
set -euo pipefail

[ -e /usr/share/lmod/lmod/init/bash ] && exit 0
[ "$(id -u)" = 0 ] || { echo "install-lmod: this needs root" >&2; exit 77; }

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cd "$tree"
apt-get -qq -o APT::Sandbox::User=root download lmod 2>/dev/null || {
    apt-get -qq update
    apt-get -qq -o APT::Sandbox::User=root download lmod
}
dpkg-deb -x lmod_*.deb .
for directory in usr/share/lmod usr/lib/lmod etc/lmod; do
    [ -d "$directory" ] || continue
    install -d -m 0755 "/$(dirname "$directory")"
    cp -a "$directory" "/$(dirname "$directory")/"
done
