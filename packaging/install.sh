#!/usr/bin/env bash
# Installs Berth from its unpacked tarball, for one user and without root. Over an older version it may be run while
# volumes are mounted: every file is replaced as a whole, and what runs goes on with the program it was started from.
#
# usage: install.sh [--prefix DIRECTORY] [--remove]        (default: ~/.local)
set -euo pipefail
umask 022

here=$(cd "$(dirname "$0")" && pwd)
prefix=$HOME/.local
remove=
while [ $# -gt 0 ]; do
    case $1 in
    --prefix)
        prefix=${2:?"install.sh: --prefix needs a directory"}
        shift
        ;;
    --prefix=*) prefix=${1#*=} ;;
    --remove) remove=yes ;;
    *)
        echo "usage: install.sh [--prefix DIRECTORY] [--remove]" >&2
        exit 64
        ;;
    esac
    shift
done
case $prefix in
/*) ;;
*) prefix=$PWD/$prefix ;;
esac
case $prefix in
*[!A-Za-z0-9/._+@,:=-]*)
    echo "install.sh: $prefix: has a character that a systemd unit cannot name safely; choose another directory" >&2
    exit 64
    ;;
esac

share=$prefix/share
# Source and target of every file. The programs come last: they are what is looked at.
files() {
    local program file
    for program in berth berthfs; do
        echo "share/man/man1/$program.1 $share/man/man1/$program.1"
        echo "share/completions/$program.bash $share/bash-completion/completions/$program"
        echo "share/completions/_$program $share/zsh/site-functions/_$program"
        echo "share/completions/$program.fish $share/fish/vendor_completions.d/$program.fish"
    done
    for file in berth.socket berth.service; do
        echo "share/systemd/user/$file $share/systemd/user/$file"
    done
    echo "share/grafana/berth.json $share/berth/grafana/berth.json"
    (cd "$here" && find README.md docs hooks -type f | sort) | while read -r file; do
        echo "$file $share/berth/$file"
    done
    # As deep below the prefix as in the tarball: a modulefile finds the programs from where it is.
    if [ -d "$here/share/modulefiles" ]; then
        (cd "$here/share" && find modulefiles -type f | sort) | while read -r file; do
            echo "share/$file $share/$file"
        done
    fi
    for program in berthfs berth-hook berth; do
        echo "bin/$program $prefix/bin/$program"
    done
}

# Every file is written beside its place under another name first, and renamed when all are there: a full disk leaves
# the old version whole, nobody finds half a file, and an old program's file lives on while it runs.
stage() {
    local new=$2.new.$$
    mkdir -p "$(dirname "$2")" || return
    if [ "${2##*/}" = berth.service ]; then
        sed "s|^ExecStart=.*|ExecStart=$prefix/bin/berth serve|" "$1" >"$new" || return
    else
        cp "$1" "$new" || return
    fi
    chmod "$([ -x "$1" ] && echo 0755 || echo 0644)" "$new"
}

unstage() {
    files | while read -r _ target; do rm -f "$target.new.$$"; done
}

if [ -n "$remove" ]; then
    files | while read -r _ target; do
        rm -f "$target"
        rmdir -p --ignore-fail-on-non-empty "$(dirname "$target")" 2>/dev/null || true
    done
    echo "removed from $prefix; volumes and settings stay"
    exit 0
fi

old=$("$prefix/bin/berth" --version 2>/dev/null || true)
trap unstage EXIT
files | while read -r source target; do
    stage "$here/$source" "$target" || {
        echo "install.sh: $target cannot be written (see above); nothing was replaced" >&2
        exit 73
    }
done
files | while read -r _ target; do mv -f "$target.new.$$" "$target"; done
new=$("$prefix/bin/berth" --version)
echo "installed Berth $new in $prefix${old:+ (was $old)}"

case :$PATH: in
*:"$prefix/bin":*) ;;
*) echo "put it in your PATH: export PATH=\"$prefix/bin:\$PATH\"" ;;
esac
if [ -z "$old" ]; then
    echo "next: berth setup && berth serve --detach, or with systemd:"
    echo "      berth setup && systemctl --user daemon-reload && systemctl --user enable --now berth.socket berth.service"
elif running=$("$prefix/bin/berth" status | grep -F ' runs '); then
    echo "these go on with the program they were started from:"
    echo "$running"
    echo "mounts stay until you end them; \`berth status\` tells what still runs an older version"
fi
