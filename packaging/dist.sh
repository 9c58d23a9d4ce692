#!/usr/bin/env bash
# Makes what is given to others, from programs that are built already: a tarball that works wherever it is unpacked,
# and a Debian package. The same sources and programs give the same bytes.
#
# usage: dist.sh DIRECTORY-OF-THE-PROGRAMS OUTPUT-DIRECTORY
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
checkout=$(dirname "$here")
programs=$(cd "${1:?"usage: dist.sh DIRECTORY-OF-THE-PROGRAMS OUTPUT-DIRECTORY"}" && pwd)
output=${2:?"usage: dist.sh DIRECTORY-OF-THE-PROGRAMS OUTPUT-DIRECTORY"}
export LC_ALL=C
umask 022

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$checkout" log -1 --format=%ct 2>/dev/null ||
    stat -c %Y "$checkout/Sources/FileModel/Release.swift")}
export SOURCE_DATE_EPOCH
version=$("$programs/berth" --version)
architecture=$(dpkg --print-architecture)
name=berth-$version-linux-$(uname -m)

mkdir -p "$output"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What both hold, laid out as in the tarball.
lay_out() {
    local tree=$1 program
    install -d "$tree"/{bin,docs,share/man/man1,share/completions,share/systemd/user,share/grafana}
    install -m 0755 "$programs"/{berth,berthfs,berth-hook} "$tree/bin/"
    install -m 0644 "$checkout/README.md" "$tree/"
    cp -R --no-preserve=all "$checkout/docs/." "$tree/docs/"
    # Modes count here: some of the hooks are programs.
    cp -R --preserve=mode "$checkout/hooks" "$tree/hooks"
    if [ -d "$checkout/hooks/modules" ]; then
        cp -R --preserve=mode "$checkout/hooks/modules" "$tree/share/modulefiles"
        # Environment Modules name a module as its file; Lmod takes the one with .lua of the two.
        mv "$tree/share/modulefiles/berth.tcl" "$tree/share/modulefiles/berth"
    fi
    install -m 0644 "$here"/systemd/* "$tree/share/systemd/user/"
    install -m 0644 "$here/grafana/berth.json" "$tree/share/grafana/"
    for program in berth berthfs; do
        "$programs/$program" --experimental-dump-help | "$here/manual.py" "$version" \
            "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%d)" "$here/manual/$program.roff" >"$tree/share/man/man1/$program.1"
        "$programs/$program" --generate-completion-script bash >"$tree/share/completions/$program.bash"
        "$programs/$program" --generate-completion-script zsh >"$tree/share/completions/_$program"
        "$programs/$program" --generate-completion-script fish >"$tree/share/completions/$program.fish"
    done
    chmod -R u=rwX,go=rX "$tree"
}

make_tarball() {
    local tree=$work/$name
    lay_out "$tree"
    install -m 0755 "$here/install.sh" "$tree/"
    # Where install.sh puts the programs unless it is told otherwise; it writes its own choice.
    sed -i 's|@BINDIR@|%h/.local/bin|' "$tree/share/systemd/user/berth.service"
    tar -C "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu \
        -c "$name" | gzip -n >"$work/$name.tar.gz"
    mv "$work/$name.tar.gz" "$output/"
}

# The libraries, in the versions that the programs were linked with, and what is started by name.
dependencies() {
    mkdir "$work/debian"
    : >"$work/debian/control"
    (cd "$work" && dpkg-shlibdeps -O root/usr/bin/{berth,berthfs,berth-hook}) |
        sed -n 's/^shlibs:Depends=//p'
}

make_package() {
    local source=$work/source root=$work/root program
    lay_out "$source"
    sed -i 's|@BINDIR@|/usr/bin|' "$source/share/systemd/user/berth.service"
    install -d "$root"/{DEBIAN,usr/share/{berth,doc/berth,man,bash-completion/completions,zsh/vendor-completions}} \
        "$root"/usr/{lib/systemd,share/fish/vendor_completions.d}
    mv "$source/bin" "$root/usr/bin"
    mv "$source/share/systemd/user" "$root/usr/lib/systemd/user"
    mv "$source/share/man/man1" "$root/usr/share/man/man1"
    gzip -n9 "$root"/usr/share/man/man1/*
    for program in berth berthfs; do
        mv "$source/share/completions/$program.bash" "$root/usr/share/bash-completion/completions/$program"
        mv "$source/share/completions/_$program" "$root/usr/share/zsh/vendor-completions/"
        mv "$source/share/completions/$program.fish" "$root/usr/share/fish/vendor_completions.d/"
    done
    mv "$source/hooks" "$root/usr/share/berth/hooks"
    mv "$source/share/grafana" "$root/usr/share/berth/grafana"
    [ ! -d "$source/share/modulefiles" ] || mv "$source/share/modulefiles" "$root/usr/share/modulefiles"
    mv "$source/README.md" "$source/docs" "$root/usr/share/doc/berth/"

    cat >"$root/DEBIAN/control" <<CONTROL
Package: berth
Version: $version
Architecture: $architecture
Maintainer: The Berth project <berth@localhost>
Installed-Size: $(du -sk --apparent-size "$root/usr" | cut -f1)
Depends: $(dependencies), fuse3
Recommends: podman, uidmap
Section: utils
Priority: optional
Description: volumes at the same path in every container, without root
 A volume driver for rootless podman and other container runtimes, and a
 FUSE file system for data sets of very many small files.
CONTROL
    (cd "$root" && find usr -type f | sort | xargs md5sum >DEBIAN/md5sums)
    dpkg-deb --root-owner-group -Zgzip --build "$root" "$work/berth_${version}_$architecture.deb" >/dev/null
    mv "$work/berth_${version}_$architecture.deb" "$output/"
}

# What an earlier version left is not given to anybody.
rm -f "$output"/berth-*-linux-*.tar.gz "$output"/berth_*.deb
make_tarball
make_package
(cd "$output" && sha256sum berth* >SHA256SUMS)
ls -1 "$output"
