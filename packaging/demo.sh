#!/usr/bin/env bash
# Shows Berth at work as an ordinary user: setup, a volume in podman, the same files on the host.
# Started by root it makes the user berth-demo and goes on as that user.
#
# usage: demo.sh DIRECTORY-OF-THE-PROGRAMS
#        BERTH_DEMO_FILES: how many small files, 3000 if unset
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
programs=${1:?"usage: demo.sh DIRECTORY-OF-THE-PROGRAMS"}
say() { printf '\n== %s\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }

if [ "$(id -u)" = 0 ]; then
    user=berth-demo
    "$here/test-user.sh" "$user"
    home=$(getent passwd "$user" | cut -d: -f6)
    # A fresh environment: what root exported is nothing to the user.
    as_user=(setpriv --reuid "$user" --regid "$user" --init-groups env -i HOME="$home" USER="$user" LANG=C.UTF-8
        PATH="$PATH" XDG_RUNTIME_DIR="/run/user/$(id -u "$user")")
    # The checkout may lie where the user cannot look. The user writes the copy: root follows no link in their home.
    cd /
    unpack='umask 022; mkdir -p "$1" && tar -C "$1" --no-same-owner -x'
    tar -C "$programs" -c berth berthfs berth-hook | "${as_user[@]}" sh -c "$unpack" sh "$home/berth/bin"
    tar -C "$here" -c . | "${as_user[@]}" sh -c "$unpack" sh "$home/berth/packaging"
    exec "${as_user[@]}" bash -c 'cd && exec bash "$1" "$2"' bash "$home/berth/packaging/demo.sh" "$home/berth/bin"
fi

export PATH="$programs:$PATH"
volume=berth-demo
files=${BERTH_DEMO_FILES:-3000}
image=localhost/berth-bb
runtime=$("$here/podman-runtime.sh")
work=$(mktemp -d "${TMPDIR:-/tmp}/berth-demo.XXXXXX")
run=(podman run --rm --runtime "$runtime" --network none)

finish() {
    status=$?
    berth umount "$work/host" >/dev/null 2>&1 || true
    rm -rf "$work"
    [ "$status" = 0 ] || echo "demo: stopped with exit status $status; see the message above and run: berth doctor" >&2
}
trap finish EXIT

say "1. Prepare this account (user $(id -un), no root)"
show berth setup
show berth serve --detach

say "2. Make a volume through podman's plugin, and an image without a network"
"$here/make-image.sh" "$image"
! podman volume exists "$volume" || berth volume rm "$volume" >/dev/null
show podman volume create --driver berth "$volume"

say "3. Make a data set: $files small files, as a docking campaign leaves them, and a large one"
mkdir "$work/set" "$work/host"
for ((i = 0; i < files; i++)); do
    printf 'REMARK ligand %06d\nATOM %06d C LIG A %d %d.%03d %d.%03d\n%s\n' "$i" "$i" "$i" "$((i % 97))" "$((i % 997))" \
        "$((i % 89))" "$((i % 991))" "$(printf 'HETATM %.0s' {1..60})"
done | split -l 3 -a 4 -d - "$work/set/ligand-"
head -c 20000000 /dev/urandom >"$work/set/receptor.bin"
(cd "$work/set" && find . -type f -exec md5sum {} + | sort -k2) >"$work/before.md5"
echo "$(find "$work/set" -type f | wc -l) files, $(du -sh --apparent-size "$work/set" | cut -f1)"

say "4. A container copies it into the volume at /data, and a second one reads it back"
show "${run[@]}" -v "$work/set:/set:ro" -v "$volume:/data" "$image" cp -r /set/. /data/
"${run[@]}" -v "$volume:/data" "$image" sh -c 'cd /data && find . -type f -exec md5sum {} + | sort -k2' >"$work/container.md5"
cmp "$work/before.md5" "$work/container.md5"
echo "every checksum is the same in the second container"
show "${run[@]}" -v "$volume:/data" "$image" ls -ln /data/ligand-0000
echo "and without -v, named by an annotation, read-only at another path:"
show "${run[@]}" --annotation "berth.volume=$volume:/in:ro" "$image" ls -ln /in/ligand-0000

say "5. The same volume on the host, without podman"
show berth mount "$volume" "$work/host"
show ls -ln "$work/host/ligand-0000"
show cat "$work/host/ligand-0000"
(cd "$work/host" && find . -type f -exec md5sum {} + | sort -k2) >"$work/host.md5"
cmp "$work/before.md5" "$work/host.md5"
echo "every checksum is the same on the host"
show berth umount "$work/host"

say "6. What it takes on disk"
show berth volume inspect "$volume"
store=$(berth volume inspect "$volume" --json | sed -n 's|.*"store" : "file://\(.*\)".*|\1|p')
metadata=$(berth volume inspect "$volume" --json | sed -n 's|.*"metadata" : "\(.*\)".*|\1|p')
directory=$(dirname "$metadata")
echo "$(find "$directory" -type f | wc -l) files on disk hold the $(wc -l <"$work/before.md5") files of the volume, in $(du -sh "$directory" | cut -f1)"

say "Done"
echo "The volume stays. Use it:    podman run --rm --runtime $runtime --network none -v $volume:/data $image ls /data"
echo "The store lies in            $store"
echo "The metadata lies in         $metadata"
echo "Stop the plugin with         berth stop --all"
echo "Remove the volume with       berth volume rm $volume"
