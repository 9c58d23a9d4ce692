import Archives
import FileModel
import Glibc
import LinuxSystem
import ObjectStorage
import TestSupport
import Testing
import VFS

/// Archives whose members replace one another, against GNU tar: the tree that it extracts is the tree that an import makes.
@Suite("archives as GNU tar takes them")
struct ArchiveOracleTests {
    private let directory = TemporaryDirectory(in: "/dev/shm")

    /// Makes archives out of a seed, extracts each with tar, and writes down what is there then. A line of a list: path, kind,
    /// mode, time, what it holds or leads to, and the first name of the same inode.
    private static let generator = """
        import io, os, random, stat, subprocess, sys, tarfile
        place, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
        NAMES = ["a", "b", "h", "k", "d", "d/x", "d/y", "d/e", "d/e/z", "l" * 120, "d/" + "m" * 130]

        def digest(bytes):
            h = 0xCBF29CE484222325
            for b in bytes: h = (h ^ b) * 0x100000001B3 % 2 ** 64
            return "%d-%x" % (len(bytes), h)

        def parents(name):
            while "/" in name:
                name = name.rsplit("/", 1)[0]
                yield name

        class Tree:
            # What tar would have by now: only so that no archive depends on what tar does with its own leftovers.
            def __init__(self): self.kinds, self.mixed = {}, set()
            def full(self, name): return any(n.startswith(name + "/") for n in self.kinds)
            def usable(self, name): return all(self.kinds.get(p, "dir") == "dir" for p in parents(name))
            def put(self, name, kind):
                for p in parents(name): self.kinds.setdefault(p, "dir")
                old = self.kinds.get(name)
                if old == "dir" and kind != "dir" and self.full(name): return
                if old and "dir" in (old, kind) and old != kind: self.mixed.add(name)
                self.kinds[name] = kind

        def archive(r, path):
            tree, made = Tree(), []
            form = r.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
            with tarfile.open(path, "w", format=form) as tar:
                for _ in range(r.randint(3, 25)):
                    name = r.choice(NAMES)
                    kind = r.choice(["file"] * 4 + ["link"] * 4 + ["dir", "symlink", "fifo"])
                    # Through a link, or below a file, is what the importer never goes.
                    if not tree.usable(name): continue
                    info = tarfile.TarInfo(name if r.random() < 0.7 else "./" + name)
                    info.mtime = r.choice([0, 1, 5000, 1700000000, 2 ** 31 + 5]) + (0.25 if form == tarfile.PAX_FORMAT and r.random() < 0.3 else 0)
                    info.mode = r.choice([0o644, 0o600, 0o755, 0o444, 0o777])
                    data = b""
                    if kind == "file":
                        data = r.randbytes(r.choice([0, 1, 10, 600, 5000]))
                        info.size = len(data)
                    elif kind == "dir": info.type, info.mode = tarfile.DIRTYPE, r.choice([0o755, 0o700, 0o1777])
                    elif kind == "symlink": info.type, info.linkname = tarfile.SYMTYPE, r.choice(["a", "nowhere", "d", "s" * 150])
                    elif kind == "fifo": info.type = tarfile.FIFOTYPE
                    else:
                        there = [n for n, k in tree.kinds.items() if k != "dir"] + ["missing"]
                        info.type, info.linkname = tarfile.LNKTYPE, r.choice(there)
                        # What tar takes away before it finds that there is nothing to link to is no business of ours.
                        kind = tree.kinds.get(info.linkname)
                        if kind is None and name in tree.kinds: continue
                        if tree.kinds.get(name) == "dir": continue
                    tar.addfile(info, io.BytesIO(data))
                    if kind: tree.put(name, kind)
            return tree.mixed

        def listing(top, mixed):
            found, inodes = [], {}
            for where, dirs, files in os.walk(top):
                for name in dirs + files:
                    path = os.path.join(where, name)
                    found.append((os.path.relpath(path, top), path))
            lines = []
            for name, path in sorted(found, key=lambda f: os.fsencode(f[0])):
                s = os.lstat(path)
                kind = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo"}[stat.S_IFMT(s.st_mode)]
                what = {"file": lambda: digest(open(path, "rb").read()), "link": lambda: os.readlink(path)}.get(kind, lambda: "-")()
                mode = "-" if kind == "link" or name in mixed else "%o" % stat.S_IMODE(s.st_mode)
                time = "-" if kind == "dir" else "%d" % (s.st_mtime_ns // 10 ** 6)
                first = "-" if kind == "dir" else inodes.setdefault(s.st_ino, name)
                lines.append(" ".join([name, kind, mode, time, what, first]))
            return "\\n".join(lines)

        for number in range(count):
            path, out = f"{place}/{number}.tar", f"{place}/{number}.out"
            mixed = archive(random.Random(f"{seed} {number}"), path)
            os.mkdir(out)
            subprocess.run(["tar", "-xpf", path, "-C", out], stderr=subprocess.DEVNULL)
            open(f"{place}/{number}.list", "w").write(listing(out, mixed))
            open(f"{place}/{number}.mixed", "w").write("\\n".join(mixed))
        """

    /// The members of an archive as an import takes them.
    private func entries(_ path: String, _ source: ForeignSource) throws -> [ImportedEntry] {
        let bytes = try AtomicFile.read(path, limit: 1 << 20) ?? []
        var status = stat()
        guard stat(path, &status) == 0 else { throw Errno.current }
        let object = ForeignObject(
            source: source.id, key: Array((path.split(separator: "/").last.map(String.init) ?? "").utf8),
            size: UInt64(bytes.count), tag: "", modified: Timestamp(nanoseconds: 0))
        var reader = TarReader(size: UInt64(bytes.count)) { offset, buffer in
            buffer.copyBytes(from: bytes[Int(offset)..<Int(offset) + buffer.count])
        }
        func names(_ name: [UInt8]) throws -> [FileName] {
            try name.split(separator: 0x2F).filter { !$0.elementsEqual([0x2E]) }.map { try FileName(Array($0)) }
        }
        var entries: [ImportedEntry] = []
        while let member = try reader.next() {
            let content: ImportedEntry.Content
            switch member.kind {
            case .file(let offset, let size): content = .data(of: object, at: offset, count: size)
            case .directory: content = .directory
            case .symbolicLink(let target): content = .symbolicLink(target: target)
            case .hardLink(let target): content = .hardLink(to: try names(target))
            case .fifo: content = .fifo
            case .unsupported(let reason): throw TestFailure(reason)
            }
            entries.append(
                ImportedEntry(
                    path: try names(member.name), content: content, permissions: member.permissions,
                    modified: member.modified))
        }
        return entries
    }

    /// As the generator writes it down; what a file holds as its bytes in the archive.
    private func listing(
        _ volume: OpenedVolume, _ top: String, _ archive: [UInt8], _ mixed: Set<String>
    ) throws -> [String: String] {
        var lines: [String: String] = [:]
        var inodes: [InodeID: String] = [:]
        var paths: [(String, Inode)] = []
        var directories = [""]
        while let directory = directories.popLast() {
            for (name, inode) in try volume.list(directory.isEmpty ? top : "\(top)/\(directory)") {
                let path = directory.isEmpty ? name : "\(directory)/\(name)"
                if inode.isDirectory { directories.append(path) }
                paths.append((path, inode))
            }
        }
        for (path, inode) in paths.sorted(by: { Array($0.0.utf8).lexicographicallyPrecedes(Array($1.0.utf8)) }) {
            let kind: String
            var what = "-"
            switch inode.kind {
            case .directory: kind = "dir"
            case .symbolicLink:
                kind = "link"
                what = String(decoding: try volume.fileSystem.readLink(inode.id), as: UTF8.self)
            case .regular:
                kind = "file"
                what = try sum(of: inode, volume, archive)
            default: kind = "fifo"
            }
            let isPlain = kind == "link" || mixed.contains(path)
            let first = inode.isDirectory ? "-" : inodes[inode.id] ?? path
            inodes[inode.id] = first
            lines[path] = [
                path, kind, isPlain ? "-" : String(inode.permissions, radix: 8),
                inode.isDirectory ? "-" : "\(inode.modified.nanoseconds / 1_000_000)", what, first,
            ].joined(separator: " ")
        }
        return lines
    }

    private func sum(of inode: Inode, _ volume: OpenedVolume, _ archive: [UInt8]) throws -> String {
        guard inode.size > 0 else { return Self.digest([]) }
        let extents = try volume.metadata.transaction { transaction throws(Errno) in
            try transaction.extents(of: inode.id, overlapping: 0..<inode.size)
        }
        guard extents.count == 1, let extent = extents.first, extent.length == inode.size else { return "torn" }
        return Self.digest(Array(archive[Int(extent.packOffset)..<Int(extent.packOffset + extent.length)]))
    }

    /// As the generator's.
    private static func digest(_ bytes: [UInt8]) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return "\(bytes.count)-\(String(hash, radix: 16))"
    }

    @Test("what tar extracts, an import makes: names, kinds, bytes, modes, times, and which names are one file")
    func oracle() throws {
        let count = 150
        let seed = ProcessEnvironment.current()["BERTH_SEED"].flatMap { UInt64($0) } ?? .random(in: 0..<1 << 40)
        print("archives: BERTH_SEED=\(seed)")
        try AtomicFile.replace("\(directory.path)/make.py", Array(Self.generator.utf8))
        try Shell.root.run(
            "umask 022; mkdir '\(directory.path)/t'; python3 '\(directory.path)/make.py' '\(directory.path)/t' \(seed) \(count)"
        )
        mkdir("\(directory.path)/v", 0o755)
        let volume = try OpenedVolume("\(directory.path)/v")
        var links = 0
        for number in 0..<count {
            let archive = "\(directory.path)/t/\(number).tar"
            let work = FileImport(into: [try FileName("\(number)")], of: volume.fileSystem)
            let source = try work.source("file://\(directory.path)/t", options: "")
            let entries = try entries(archive, source)
            // In one transaction, or in several.
            let batch = number % 3 == 0 ? 2 : 500
            for start in stride(from: 0, to: entries.count, by: batch) {
                _ = try work.add(Array(entries[start..<min(start + batch, entries.count)]))
            }
            work.end()
            func text(_ suffix: String) throws -> [String] {
                let bytes = try AtomicFile.read("\(directory.path)/t/\(number).\(suffix)") ?? []
                return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
            }
            let wanted = try text("list")
            let bytes = try AtomicFile.read(archive, limit: 1 << 20) ?? []
            let found =
                entries.isEmpty ? [:] : try listing(volume, "\(number)", bytes, Set(try text("mixed")))
            let members = entries.map { "\($0.path.map(\.description).joined(separator: "/")) \($0.content)" }
            #expect(
                found.values.sorted() == wanted.sorted(),
                "seed \(seed), archive \(number): \(members.joined(separator: "; "))")
            links += wanted.count { line in
                line.split(separator: " ").last.map { $0 != "-" && !line.hasPrefix($0 + " ") } ?? false
            }
        }
        #expect(links > count / 5, "only \(links) second names: the generator makes too few")
        try volume.close()
        try VolumeDamage.expectNone(in: "\(directory.path)/v", "seed \(seed)")
    }
}
