import CLinux
import FileModel
import Glibc
import LinuxSystem
import VFS

/// Writes an export into a directory. A file of the same size and time is there already: its time is set last, so that a
/// file that was cut short is written again.
///
/// Invariants
/// - Nothing outside the directory is touched: each name is made in an open directory, and links are not followed.
/// - What is made is closed to others until it is whole; only then it gets its mode.
final class DirectorySink: ExportSink {
    private let root: TargetDescriptor
    private let reader: ExportReader
    /// The open directories from the root's child down to where the walk is.
    private var open: [(name: FileName, descriptor: Int32)] = []

    init(_ root: TargetDescriptor, _ reader: ExportReader) {
        self.root = root
        self.reader = reader
    }

    deinit { for directory in open { close(directory.descriptor) } }

    private var here: Int32 { open.last?.descriptor ?? root.number }

    func enter(_ path: [FileName], _ inode: Inode) throws(SystemFailure) -> ExportOutcome {
        guard let name = path.last else { return .same }
        let isNew = name.withCString { mkdirat(here, $0, 0o700) } == 0
        guard isNew || errno == EEXIST else { throw failure(path, "cannot be made", .current) }
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        let descriptor = name.withCString { openat(here, $0, flags) }
        guard descriptor >= 0 else {
            let error = Errno.current
            guard error == .notDirectory || error == Errno(ELOOP) else {
                throw failure(path, "cannot be opened", error)
            }
            return .refused("something else of that name is there")
        }
        if !isNew, let status = try? GuardedOpen.status(descriptor) {
            // Until it is left: what is made in it needs that, and nobody else may take part.
            fchmod(descriptor, status.st_mode & 0o1755 | 0o700)
        }
        open.append((name, descriptor))
        return isNew ? .made : .same
    }

    func leave(_ path: [FileName], _ inode: Inode) throws(SystemFailure) {
        guard let last = open.popLast() else { return }
        defer { close(last.descriptor) }
        finish(last.descriptor, inode)
    }

    func file(_ path: [FileName], _ inode: Inode) throws(SystemFailure) -> ExportOutcome {
        guard let name = path.last else { return .same }
        if let status = status(name) {
            if isOwn(status, S_IFREG), UInt64(status.st_size) == inode.size, isSameTime(status, inode),
                reader.modes.keepsAll || status.st_mode & ExportModes.setIDs == 0
            {
                return .same
            }
            // Not over it: it may have other names.
            guard status.st_mode & S_IFMT != S_IFDIR else { return .refused("a directory of that name is there") }
            guard name.withCString({ unlinkat(here, $0, 0) }) == 0 else {
                throw failure(path, "cannot be replaced", .current)
            }
        }
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        let descriptor = name.withCString { openat(here, $0, flags, 0o600) }
        guard descriptor >= 0 else { throw failure(path, "cannot be made", .current) }
        defer { close(descriptor) }
        let ranges =
            inode.allocated == 0
            ? [] : try reader.explaining(path) { () throws(Errno) in try reader.fileSystem.dataRanges(of: inode.id) }
        for range in ranges {
            do throws(ExportProblem) {
                try reader.read(inode, range) { bytes, offset throws(SystemFailure) in
                    try write(bytes, descriptor, offset, path)
                }
            } catch {
                switch error {
                case .target(let failure): throw failure
                case .unreadable(let errno):
                    _ = name.withCString { unlinkat(here, $0, 0) }
                    return .refused("cannot be read: \(errno); see `berth log`")
                }
            }
        }
        if ranges.last?.upperBound != inode.size, inode.size > 0 {
            guard ftruncate(descriptor, off_t(inode.size)) == 0 else {
                throw failure(path, "cannot be made as long as it is", .current)
            }
        }
        finish(descriptor, inode)
        return .made
    }

    func link(_ path: [FileName], to first: [FileName]) throws(SystemFailure) -> ExportOutcome {
        guard let name = path.last else { return .same }
        let parent: Int32
        do throws(Errno) {
            // Never by a link that somebody put in a directory's place.
            let directory = Array(first.dropLast().map(\.bytes).joined(separator: [0x2F]))
            parent = try GuardedOpen.below(root.number, directory, GuardedOpen.place | O_DIRECTORY).take()
        } catch {
            return .refused("what it is a link to was left out")
        }
        defer { close(parent) }
        let target = first.last ?? name
        var original = stat()
        guard target.withCString({ fstatat(parent, $0, &original, AT_SYMLINK_NOFOLLOW) }) == 0 else {
            return .refused("what it is a link to was left out")
        }
        if let status = status(name) {
            if status.st_ino == original.st_ino, status.st_dev == original.st_dev { return .same }
            guard status.st_mode & S_IFMT != S_IFDIR else { return .refused("a directory of that name is there") }
            _ = name.withCString { unlinkat(here, $0, 0) }
        }
        let result = target.withCString { from in name.withCString { linkat(parent, from, here, $0, 0) } }
        guard result == 0 else { throw failure(path, "cannot be linked", .current) }
        return .made
    }

    func symbolicLink(
        _ path: [FileName], _ inode: Inode, target: [UInt8]
    ) throws(SystemFailure) -> ExportOutcome {
        guard let name = path.last else { return .same }
        if let status = status(name) {
            guard status.st_mode & S_IFMT != S_IFDIR else { return .refused("a directory of that name is there") }
            if isOwn(status, S_IFLNK), isSameTime(status, inode) { return .same }
            _ = name.withCString { unlinkat(here, $0, 0) }
        }
        let result = target.withCString { target in name.withCString { symlinkat(target, here, $0) } }
        guard result == 0 else { throw failure(path, "cannot be made", .current) }
        var times = Self.times(inode)
        _ = name.withCString { utimensat(here, $0, &times, AT_SYMLINK_NOFOLLOW) }
        return .made
    }

    func special(_ path: [FileName], _ inode: Inode) throws(SystemFailure) -> ExportOutcome {
        guard let name = path.last else { return .same }
        guard inode.kind == .fifo else { return .refused("it is a device") }
        if let status = status(name) {
            return isOwn(status, S_IFIFO) ? .same : .refused("something else of that name is there")
        }
        guard name.withCString({ mkfifoat(here, $0, 0o600) }) == 0 else {
            throw failure(path, "cannot be made", .current)
        }
        let flags = O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC
        let descriptor = name.withCString { openat(here, $0, flags) }
        guard descriptor >= 0 else { return .made }
        defer { close(descriptor) }
        // Somebody who can write to the directory may have put another file of ours in its place.
        guard let made = try? GuardedOpen.status(descriptor), made.st_mode & S_IFMT == S_IFIFO,
            made.st_uid == geteuid(),
            made.st_nlink == 1
        else { return .refused("something else took its place") }
        finish(descriptor, inode)
        return .made
    }

    func end() throws(SystemFailure) {}

    // MARK: Parts

    private func status(_ name: FileName) -> Glibc.stat? {
        var status = Glibc.stat()
        return name.withCString { fstatat(here, $0, &status, AT_SYMLINK_NOFOLLOW) } == 0 ? status : nil
    }

    /// What another user put there is not what an earlier export left, however alike it is.
    private func isOwn(_ status: Glibc.stat, _ kind: mode_t) -> Bool {
        status.st_mode & S_IFMT == kind && status.st_uid == geteuid()
    }

    private func isSameTime(_ status: Glibc.stat, _ inode: Inode) -> Bool {
        Int64(status.st_mtim.tv_sec) == inode.modified.seconds
            && Int64(status.st_mtim.tv_nsec) == inode.modified.nanosecondsOfSecond
    }

    private static func times(_ inode: Inode) -> [timespec] {
        [inode.accessed, inode.modified].map {
            timespec(tv_sec: time_t($0.seconds), tv_nsec: Int($0.nanosecondsOfSecond))
        }
    }

    /// Attributes, mode, and last the times. Where the target's file system has none of them, it goes without.
    private func finish(_ descriptor: Int32, _ inode: Inode) {
        let rights = reader.rights(inode)
        for (name, value) in rights.attributes {
            _ = name.withCString { name in
                value.withUnsafeBytes { fsetxattr(descriptor, name, $0.baseAddress, $0.count, 0) }
            }
        }
        fchmod(descriptor, mode_t(reader.modes.onHost(rights.permissions, inode.kind)))
        var times = Self.times(inode)
        futimens(descriptor, &times)
    }

    private func write(
        _ bytes: UnsafeRawBufferPointer, _ descriptor: Int32, _ offset: UInt64, _ path: [FileName]
    ) throws(SystemFailure) {
        do {
            try writeWhole(bytes, to: descriptor, at: Int(offset))
        } catch {
            throw failure(path, "cannot be written", error)
        }
    }

    private func failure(_ path: [FileName], _ what: String, _ error: Errno) -> SystemFailure {
        SystemFailure(ExportReader.text(path), what, error, fix: "run the export again; it goes on where it stopped")
    }
}

extension FileName {
    /// The name as C has it.
    func withCString<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result { bytes.withCString(body) }
}
