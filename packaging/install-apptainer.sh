#!/usr/bin/env bash
# Installs a real Apptainer for the tests. Debian has it in sid only, where it wants a newer C library than Debian 12
# has: two packages of sid are fetched, nothing of the system is upgraded, and the programs are told to use the newer
# library, which lies in a directory of its own. What was fetched is kept in /var/cache/berth.
# Run as root; may be run again, and does nothing where Apptainer runs already.
#
# usage: install-apptainer.sh
set -euo pipefail

if command -v apptainer >/dev/null && apptainer --version >/dev/null 2>&1; then exit 0; fi
[ "$(id -u)" = 0 ] || { echo "install-apptainer: this needs root" >&2; exit 77; }
for program in patchelf dpkg-deb; do
    command -v "$program" >/dev/null || { echo "install-apptainer: $program is missing" >&2; exit 69; }
done

cache=/var/cache/berth/apptainer
libraries=/usr/local/lib/berth-apptainer
architecture=$(dpkg --print-architecture)
install -d -m 0755 "$cache"

# The mirror that this machine uses, whatever it is.
mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } |
    sed -nE 's#^(URIs:|deb( \[[^]]*\])?) *(https?://[^ ]*/debian)/?( .*)?$#\3#p' | sed -n 1p)
mirror=${mirror:-http://deb.debian.org/debian}

fetch() {
    local state
    state=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$state'" RETURN
    mkdir -p "$state"/{lists/partial,archives/partial,sources.d,preferences.d}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$state/sources.list"
    # The system's own lists and its choice of versions stay as they are.
    local options=(-qq -o Dir::State::lists="$state/lists" -o Dir::Cache="$state" -o Dir::Cache::archives="$state/archives"
        -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts="$state/sources.d"
        -o Dir::Etc::preferences="$state/none" -o Dir::Etc::preferencesparts="$state/preferences.d"
        -o Acquire::Languages=none -o APT::Sandbox::User=root -o Dir::State::status="$state/status")
    : >"$state/status"
    apt-get "${options[@]}" update
    (cd "$cache" && rm -f ./*.deb && apt-get "${options[@]}" download apptainer libc6)
}

[ "$(find "$cache" -name '*.deb' | wc -l)" = 2 ] || fetch

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
for package in "$cache"/*.deb; do dpkg-deb -x "$package" "$tree"; done

multiarch=$(basename "$(dirname "$(find "$tree/usr/lib" -path '*/apptainer/bin' | sed -n 1p)" | xargs dirname)")
first() { find "$tree" -name "$1" | sort | sed -n 1p; }
loader=$(first 'ld-linux*.so*')
[ -n "$loader" ] || { echo "install-apptainer: no loader for $architecture in the C library's package" >&2; exit 69; }
install -d -m 0755 "$libraries"
install -m 0755 "$loader" "$libraries/loader"
for library in libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2 libresolv.so.2 libnss_files.so.2 libnss_dns.so.2; do
    found=$(first "$library")
    [ -z "$found" ] || install -m 0755 "$found" "$libraries/$library"
done

cp -a "$tree/usr/bin/apptainer" /usr/bin/apptainer
cp -a "$tree/usr/lib/$multiarch/apptainer" "/usr/lib/$multiarch/"
cp -an "$tree/etc/apptainer" /etc/
install -d -m 0755 /var/lib/apptainer/mnt/session
for program in /usr/bin/apptainer "/usr/lib/$multiarch/apptainer/bin/starter"; do
    # RPATH, not RUNPATH: libraries of libraries must be found there, too.
    patchelf --set-interpreter "$libraries/loader" "$program"
    patchelf --force-rpath --set-rpath "$libraries" "$program"
done
ln -sf apptainer /usr/bin/singularity
apptainer --version
