#!/bin/bash
# Installs Berth from its unpacked tarball, for one user and without root. Over an older version it may be run while
# volumes are mounted: every file is replaced as a whole, and what runs goes on with the program it was started from.
#
# Nothing is taken from, or written to, a place that another user could change or lead elsewhere: every directory above the
# tarball and the prefix belongs to root or to you, and others cannot write to it.
#
# usage: install.sh [--prefix DIRECTORY] [--shared] [--remove]        (default: ~/.local)
#        --shared: who else may write there, such as the group of a site's software, is trusted
set -euo pipefail
umask 022
user_path=$PATH
# No program of a directory that the caller happens to search, or stands in.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
unset CDPATH

here=$(cd "$(dirname "$0")" && pwd -P)
prefix=$HOME/.local
remove=
shared=
while [ $# -gt 0 ]; do
    case $1 in
    --prefix)
        prefix=${2:?"install.sh: --prefix needs a directory"}
        shift
        ;;
    --prefix=*) prefix=${1#*=} ;;
    --shared) shared=yes ;;
    --remove) remove=yes ;;
    *)
        echo "usage: install.sh [--prefix DIRECTORY] [--shared] [--remove]" >&2
        exit 64
        ;;
    esac
    shift
done
prefix=$(realpath -ms -- "$prefix")
case $prefix in
*[!A-Za-z0-9/._+@,:=-]*)
    echo "install.sh: $prefix: has a character that a systemd unit cannot name safely; choose another directory" >&2
    exit 64
    ;;
esac

me=$(id -u)
# In a namespace without the host's root its files show this id.
nobody=65534
awk '$2 == 0 { found = 1 } END { exit found }' /proc/self/uid_map || nobody=

refuse() {
    echo "install.sh: $1: $2; $3" >&2
    exit 77
}

# A group that has the user's name and nobody else in it is nobody else.
is_own_group() {
    local members
    [ "$1" = "$(id -g)" ] && [ "$(id -gn)" = "$(id -un)" ] || return
    members=$(getent group "$1" | cut -d: -f4)
    [ -z "$members" ] || [ "$members" = "$(id -un)" ]
}

# Whether others can put something else at the place of what is in a directory with this mode and group.
others_write() { [ $((0$1 & 2)) -ne 0 ] || { [ $((0$1 & 020)) -ne 0 ] && ! is_own_group "$2"; }; }

declare -A judged
# Ends the installation where another user could lead the path elsewhere. What is not there yet is made by us.
judge() {
    local path=$1 rest=${1#/} part place= next kind owner mode group names target links=0 open=
    local fix="choose a directory that nobody else can write to"
    [ -z "${judged[$path]:-}" ] || return 0
    while :; do
        read -r kind owner mode group names < <(stat -c '%F %u %a %g %h' -- "${place:-/}" | sed 's/^symbolic link/link/; s/^regular.*file/file/')
        [ "$kind" = directory ] || refuse "$place" "is no directory" "$fix"
        if [ -z "$shared" ] && [ "$owner" != 0 ] && [ "$owner" != "$me" ]; then
            [ "$owner" = "$nobody" ] && [ -z "$open" ] || refuse "${place:-/}" "belongs to uid $owner, and $path lies below it" "$fix"
        fi
        open=
        if others_write "$mode" "$group"; then
            open=yes
            [ -n "$shared" ] || [ $((0$mode & 01000)) -ne 0 ] ||
                refuse "${place:-/}" "can be written to by others, and $path lies below it" "run: chmod go-w ${place:-/}, or $fix"
        fi
        while [ -n "$rest" ]; do
            part=${rest%%/*}
            rest=${rest#"$part"}
            rest=${rest#/}
            case $part in '' | .) ;; *) break ;; esac
            part=
        done
        [ -n "${part:-}" ] || break
        if [ "$part" = .. ]; then
            place=${place%/*}
            part=
            continue
        fi
        next=$place/$part
        part=
        if [ -L "$next" ]; then
            read -r owner names < <(stat -c '%u %h' -- "$next")
            [ "$owner" = 0 ] || [ "$owner" = "$me" ] || { [ "$owner" = "$nobody" ] && [ -z "$open" ]; } ||
                refuse "$next" "is a symbolic link made by uid $owner" "remove it, or $fix"
            [ -z "$open" ] || [ "$names" = 1 ] || refuse "$next" "is a symbolic link with $names names" "remove it, or $fix"
            links=$((links + 1))
            [ "$links" -le 40 ] || refuse "$path" "goes through more than 40 symbolic links" "$fix"
            target=$(readlink -- "$next")
            rest=$target/$rest
            case $target in /*) place= rest=${rest#/} ;; esac
            continue
        fi
        [ -e "$next" ] || break
        place=$next
    done
    judged[$path]=yes
}

# A file that nobody else can have made or can change.
is_ours() {
    local kind owner mode group
    [ ! -L "$1" ] && [ -f "$1" ] || return
    read -r owner mode group < <(stat -c '%u %a %g' -- "$1")
    [ -n "$shared" ] || { { [ "$owner" = 0 ] || [ "$owner" = "$me" ] || [ "$owner" = "$nobody" ]; } && ! others_write "$mode" "$group"; }
}

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
declare -A staged
stage() {
    local directory new
    directory=$(dirname "$2")
    mkdir -p "$directory" || return
    new=$(mktemp "$directory/.${2##*/}.XXXXXX") || return
    staged[$2]=$new
    if [ "${2##*/}" = berth.service ]; then
        sed "s|^ExecStart=.*|ExecStart=$prefix/bin/berth serve|" "$1" >"$new" || return
    else
        cat -- "$1" >"$new" || return
    fi
    chmod "$([ -x "$1" ] && echo 0755 || echo 0644)" "$new"
}

unstage() {
    local target
    for target in "${!staged[@]}"; do rm -f -- "${staged[$target]}"; done
}

judge "$prefix"
while read -r _ target; do judge "$(dirname "$target")"; done < <(files)

if [ -n "$remove" ]; then
    while read -r _ target; do
        rm -f -- "$target"
        rmdir -p --ignore-fail-on-non-empty "$(dirname "$target")" 2>/dev/null || true
    done < <(files)
    echo "removed from $prefix; volumes and settings stay"
    exit 0
fi

# Who can change what is unpacked would be installed with it.
while read -r source _; do
    judge "$(dirname "$here/$source")"
    is_ours "$here/$source" ||
        refuse "$here/$source" "is not a file of yours alone" "unpack the tarball in a directory that nobody else can write to"
done < <(files)

old=
if is_ours "$prefix/bin/berth"; then old=$("$prefix/bin/berth" --version 2>/dev/null || true); fi
trap unstage EXIT
while read -r source target; do
    stage "$here/$source" "$target" || {
        echo "install.sh: $target cannot be written (see above); nothing was replaced" >&2
        exit 73
    }
done < <(files)
# -T: a directory, or a link to one, in the place of a file is not moved into.
while read -r _ target; do mv -fT -- "${staged[$target]}" "$target"; done < <(files)
new=$("$prefix/bin/berth" --version)
echo "installed Berth $new in $prefix${old:+ (was $old)}"

case :$user_path: in
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
