import Control
import FileModel
import LinuxSystem
import Metadata
import VFS

/// Takes what an export finds, in order: a directory before what is in it.
protocol ExportSink: AnyObject {
    func file(_ path: [FileName], _ inode: Inode) throws(SystemFailure) -> ExportOutcome
    func link(_ path: [FileName], to first: [FileName]) throws(SystemFailure) -> ExportOutcome
    func symbolicLink(_ path: [FileName], _ inode: Inode, target: [UInt8]) throws(SystemFailure) -> ExportOutcome
    func special(_ path: [FileName], _ inode: Inode) throws(SystemFailure) -> ExportOutcome
    func enter(_ path: [FileName], _ inode: Inode) throws(SystemFailure) -> ExportOutcome
    func leave(_ path: [FileName], _ inode: Inode) throws(SystemFailure)
    func end() throws(SystemFailure)
}

enum ExportOutcome {
    case made
    case same
    case refused(String)
}

/// One export: a part of a volume, to a directory or an archive. It reads below FUSE, as the kernel would.
struct ExportJob: Sendable {
    private static let page = 1000

    let volume: String
    let order: ExportOrder
    let place: [FileName]
    let fileSystem: FileSystem
    let target: TargetDescriptor

    func run(_ step: TransferStep) throws(SystemFailure) {
        // Read-only: an export changes no access time.
        let session = Session(name: "export", identity: .oneToOne, isReadOnly: true, invalidate: { _, _ in })
        fileSystem.attach(session)
        defer { fileSystem.detach(session) }
        let reader = ExportReader(
            volume: volume, top: place, fileSystem: fileSystem, session: session, modes: ExportModes(order))
        let sink: any ExportSink =
            order.isArchive ? ArchiveSink(target, reader) : DirectorySink(try target.tree(), reader)
        let top = try reader.explaining(place) { () throws(Errno) in try fileSystem.find(place) }
        var walk = Walk(sink: sink, step: step, reader: reader)
        if top.isDirectory {
            try walk.directory(top, at: [])
        } else {
            try walk.entry(top, at: [place.last ?? FileName(trusted: [0x2E])])
        }
        try sink.end()
        try walk.report()
    }

    /// The way through the tree.
    private struct Walk {
        private static let reportEntries = 200

        let sink: any ExportSink
        let step: TransferStep
        let reader: ExportReader
        /// Files with more than one name, by their first.
        var firstNames: [InodeID: [FileName]] = [:]
        var pending = TransferProgress(job: 0)

        init(sink: any ExportSink, step: TransferStep, reader: ExportReader) {
            self.sink = sink
            self.step = step
            self.reader = reader
        }

        mutating func directory(_ inode: Inode, at path: [FileName]) throws(SystemFailure) {
            var last: FileName?
            repeat {
                let after = last
                let entries = try reader.explaining(path) { () throws(Errno) in
                    try reader.fileSystem.entries(of: inode.id, after: after, limit: ExportJob.page)
                }
                for entry in entries { try self.entry(entry.inode, at: path + [entry.name]) }
                last = entries.count < ExportJob.page ? nil : entries.last?.name
            } while last != nil
        }

        mutating func entry(_ inode: Inode, at path: [FileName]) throws(SystemFailure) {
            switch inode.kind {
            case .directory:
                let outcome = try sink.enter(path, inode)
                try note(outcome, path, 0)
                if case .refused = outcome { return }
                try directory(inode, at: path)
                try sink.leave(path, inode)
            case .regular:
                if inode.linkCount > 1, let first = firstNames[inode.id] {
                    return try note(try sink.link(path, to: first), path, 0)
                }
                let outcome = try sink.file(path, inode)
                if inode.linkCount > 1 { firstNames[inode.id] = path }
                try note(outcome, path, inode.allocated)
            case .symbolicLink:
                let target = try reader.explaining(path) { () throws(Errno) in
                    try reader.fileSystem.readLink(inode.id)
                }
                try note(try sink.symbolicLink(path, inode, target: target), path, 0)
            case .socket: try note(.refused("it is a socket"), path, 0)
            case .fifo, .characterDevice, .blockDevice: try note(try sink.special(path, inode), path, 0)
            }
        }

        private mutating func note(_ outcome: ExportOutcome, _ path: [FileName], _ bytes: UInt64) throws(SystemFailure)
        {
            pending.found += 1
            switch outcome {
            case .made:
                pending.made += 1
                pending.bytes += bytes
            case .same: pending.same += 1
            case .refused(let reason): pending.leaveOut(ExportReader.text(path), reason)
            }
            if pending.found >= Self.reportEntries || bytes > 64 << 20 { try report() }
        }

        mutating func report() throws(SystemFailure) {
            let news = pending
            pending = TransferProgress(job: 0)
            try step.note { progress in
                progress.found += news.found
                progress.made += news.made
                progress.same += news.same
                progress.bytes += news.bytes
                progress.leftOut += news.leftOut
                progress.reasons = Array((progress.reasons + news.reasons).prefix(TransferProgress.nameLimit))
            }
        }
    }
}

/// Reads files for an export.
struct ExportReader {
    private static let chunkBytes = 1 << 20

    let volume: String
    /// What is exported; paths of the sinks are below it.
    let top: [FileName]
    let fileSystem: FileSystem
    let session: Session
    let modes: ExportModes

    static func text(_ path: [FileName]) -> String { path.map(\.description).joined(separator: "/") }

    func explaining<Result>(
        _ path: [FileName], _ body: () throws(Errno) -> Result
    ) throws(SystemFailure) -> Result {
        do {
            return try body()
        } catch {
            throw SystemFailure("\(volume):/\(Self.text(path))", "cannot be read", error)
        }
    }

    /// Hands a file's bytes in a range to `take`, in order. What went meanwhile is zeros.
    func read(
        _ inode: Inode, _ range: Range<UInt64>, _ take: (UnsafeRawBufferPointer, UInt64) throws(SystemFailure) -> Void
    ) throws(ExportProblem) {
        let size = Int(min(UInt64(Self.chunkBytes), UInt64(range.count)))
        let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)
        defer { chunk.deallocate() }
        var position = range.lowerBound
        while position < range.upperBound {
            let wanted = Int(min(UInt64(size), range.upperBound - position))
            let part = UnsafeMutableRawBufferPointer(rebasing: chunk[..<wanted])
            let count: Int
            do {
                count = try fileSystem.read(inode.id, at: position, into: part, session: session)
            } catch {
                throw .unreadable(error)
            }
            if count < wanted {
                UnsafeMutableRawBufferPointer(rebasing: part[count...]).initializeMemory(as: UInt8.self, repeating: 0)
            }
            do throws(SystemFailure) {
                try take(UnsafeRawBufferPointer(part), position)
            } catch {
                throw .target(error)
            }
            position += UInt64(wanted)
        }
    }

    /// The inode's mode on the host, as a directory or archive gets it, and the user's extended attributes. No other
    /// attributes leave the volume: `security.*` and `trusted.*` give rights, and an access control list names ids that are
    /// other people on the host.
    func rights(_ inode: Inode) -> (permissions: UInt32, attributes: [(name: [UInt8], value: [UInt8])]) {
        let names = (try? fileSystem.attributeNames(of: inode.id)) ?? []
        let permissions =
            names.contains(FileSystem.accessListAttribute)
            ? fileSystem.permissionsWithoutList(of: inode, session: session) : inode.permissions
        let attributes = names.filter { $0.starts(with: Array("user.".utf8)) }.compactMap { name in
            (try? fileSystem.attribute(name, of: inode.id, session: session)).map { (name: name, value: $0) }
        }
        return (permissions, attributes)
    }
}

/// Which bits of a mode an export gives to the caller's files. The volume's set-id bits may be a container's root's work:
/// on the host they would give away the caller's own rights.
struct ExportModes: Sendable {
    private static let sticky: UInt32 = 0o1000
    static let setIDs: UInt32 = 0o6000

    let keepsAll: Bool
    /// What is taken from files and directories of the host.
    private let umask: UInt32

    /// A client that says nothing of its umask gets files for itself alone.
    init(_ order: ExportOrder) {
        keepsAll = order.keepsModes ?? false
        umask = order.umask ?? 0o077
    }

    /// For a file or directory that is made on the host.
    func onHost(_ permissions: UInt32, _ kind: FileKind) -> UInt32 {
        keepsAll ? permissions & 0o7777 : inArchive(permissions, kind) & ~(umask & 0o777)
    }

    /// For an archive, which whoever unpacks it has a umask for. A directory's sticky bit only takes rights away.
    func inArchive(_ permissions: UInt32, _ kind: FileKind) -> UInt32 {
        keepsAll
            ? permissions & 0o7777 : permissions & (kind == .directory ? 0o777 | Self.sticky : 0o777)
    }
}

enum ExportProblem: Error {
    /// Of the volume.
    case unreadable(Errno)
    /// Where it is written to.
    case target(SystemFailure)
}
