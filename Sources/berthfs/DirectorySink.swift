import CLinux
import Control
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
    private let tree: any ExportTree
    private let reader: ExportReader
    /// The directories from the root's child down to where the walk is.
    private var open: [Int32] = []

    init(_ tree: any ExportTree, _ reader: ExportReader) {
        self.tree = tree
        self.reader = reader
    }

    deinit { for directory in open { close(directory) } }

    func enter(_ path: [FileName], _ inode: Inode) throws(SystemFailure) -> ExportOutcome {
        guard let name = path.last else { return .same }
        let isNew: Bool
        let descriptor: Int32
        do throws(Errno) {
            let entered = try tree.enter(name)
            isNew = entered.isNew
            descriptor = entered.takeDescriptor().take()
        } catch {
            guard error == .notDirectory || error == Errno(ELOOP) else {
                throw failure(path, "cannot be made or opened", error)
            }
            return .refused("something else of that name is there")
        }
        if !isNew, let status = try? GuardedOpen.status(descriptor) {
            // Until it is left: what is made in it needs that, and nobody else may take part.
            fchmod(descriptor, status.st_mode & 0o1755 | 0o700)
        }
        open.append(descriptor)
        return isNew ? .made : .same
    }

    func leave(_ path: [FileName], _ inode: Inode) throws(SystemFailure) {
        guard let last = open.popLast() else { return }
        defer { close(last) }
        finish(last, inode)
        try reaching(path) { () throws(Errno) in try tree.leave() }
    }

    func file(_ path: [FileName], _ inode: Inode) throws(SystemFailure) -> ExportOutcome {
        guard let name = path.last else { return .same }
        let file: FileDescriptor
        switch try reaching(path, { () throws(Errno) in try tree.create(name) }) {
        case .made(let made): file = made
        case .exists(let entry):
            if isOwn(entry, S_IFREG), entry.size == inode.size, isSameTime(entry, inode),
                reader.modes.keepsAll || entry.mode & ExportModes.setIDs == 0
            {
                return .same
            }
            // Not over it: it may have other names.
            guard entry.kind != S_IFDIR else { return .refused("a directory of that name is there") }
            try reaching(path, or: "cannot be replaced") { () throws(Errno) in try tree.remove(name) }
            guard case .made(let made) = try reaching(path, { () throws(Errno) in try tree.create(name) }) else {
                return .refused("something else of that name came in its way")
            }
            file = made
        }
        let descriptor = file.rawValue
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
                    try? tree.remove(name)
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
        guard let original = try reaching(path, { () throws(Errno) in try tree.status(at: first) }) else {
            return .refused("what it is a link to was left out")
        }
        if let entry = try reaching(path, { () throws(Errno) in try tree.status(name) }) {
            if entry.inode == original.inode, entry.device == original.device { return .same }
            guard entry.kind != S_IFDIR else { return .refused("a directory of that name is there") }
            try? tree.remove(name)
        }
        try reaching(path, or: "cannot be linked") { () throws(Errno) in try tree.link(first, as: name) }
        return .made
    }

    func symbolicLink(
        _ path: [FileName], _ inode: Inode, target: [UInt8]
    ) throws(SystemFailure) -> ExportOutcome {
        guard let name = path.last else { return .same }
        if let entry = try reaching(path, { () throws(Errno) in try tree.status(name) }) {
            guard entry.kind != S_IFDIR else { return .refused("a directory of that name is there") }
            if isOwn(entry, S_IFLNK), isSameTime(entry, inode) { return .same }
            try? tree.remove(name)
        }
        try reaching(path) { () throws(Errno) in
            try tree.symbolicLink(name, target: target, times: Self.times(inode))
        }
        return .made
    }

    func special(_ path: [FileName], _ inode: Inode) throws(SystemFailure) -> ExportOutcome {
        guard let name = path.last else { return .same }
        guard inode.kind == .fifo else { return .refused("it is a device") }
        if let entry = try reaching(path, { () throws(Errno) in try tree.status(name) }) {
            return isOwn(entry, S_IFIFO) ? .same : .refused("something else of that name is there")
        }
        if let made = try reaching(path, { () throws(Errno) in try tree.fifo(name) }) { finish(made.rawValue, inode) }
        return .made
    }

    func end() throws(SystemFailure) {}

    // MARK: Parts

    private func reaching<Result: ~Copyable>(
        _ path: [FileName], or what: String = "cannot be made", _ body: () throws(Errno) -> Result
    ) throws(SystemFailure) -> Result {
        do {
            return try body()
        } catch {
            throw failure(path, what, error)
        }
    }

    /// What another user put there is not what an earlier export left, however alike it is.
    private func isOwn(_ entry: ExportTreeEntry, _ kind: mode_t) -> Bool { entry.kind == kind && entry.isOwn }

    private func isSameTime(_ entry: ExportTreeEntry, _ inode: Inode) -> Bool {
        entry.seconds == inode.modified.seconds && entry.nanoseconds == inode.modified.nanosecondsOfSecond
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
