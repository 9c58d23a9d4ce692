import Archives
import FileModel
import Glibc
import LinuxSystem
import VFS

/// Writes an export as a tar archive (pax), to a file or a pipe. Owners are the volume's: 0 is its user. Users and groups
/// that the volume keeps by name have their names, which tar prefers to numbers.
final class ArchiveSink: ExportSink {
    private static let bufferBytes = 1 << 20
    /// Smaller holes are written as zeros.
    private static let worthwhileHole: UInt64 = 64 << 10

    private let target: TargetDescriptor
    private let reader: ExportReader
    private var buffer: [UInt8] = []

    init(_ target: TargetDescriptor, _ reader: ExportReader) {
        self.target = target
        self.reader = reader
        buffer.reserveCapacity(Self.bufferBytes * 2)
    }

    func enter(_ path: [FileName], _ inode: Inode) throws(SystemFailure) -> ExportOutcome {
        var header = header(path, inode, .directory, size: 0)
        header.name.append(0x2F)
        try put(TarWriter.encode(header))
        return .made
    }

    func leave(_ path: [FileName], _ inode: Inode) throws(SystemFailure) {}

    func file(_ path: [FileName], _ inode: Inode) throws(SystemFailure) -> ExportOutcome {
        let ranges =
            inode.allocated == 0 && inode.size > 0 || inode.allocated + Self.worthwhileHole <= inode.size
            ? try reader.explaining(path) { () throws(Errno) in try reader.fileSystem.dataRanges(of: inode.id) } : nil
        guard let ranges else {
            try put(TarWriter.encode(header(path, inode, .file, size: inode.size)))
            try copy(path, inode, 0..<inode.size)
            try pad(inode.size)
            return .made
        }
        try sparse(path, inode, ranges)
        return .made
    }

    /// After the GNU tar manual, "Storing Sparse Files", format 1.0: the map stands before the data, in decimal lines.
    private func sparse(_ path: [FileName], _ inode: Inode, _ ranges: [Range<UInt64>]) throws(SystemFailure) {
        // The last run says where the file ends.
        let runs = ranges.last?.upperBound == inode.size ? ranges : ranges + [inode.size..<inode.size]
        var map = Array("\(runs.count)\n".utf8)
        for run in runs { map += "\(run.lowerBound)\n\(run.count)\n".utf8 }
        map += [UInt8](repeating: 0, count: TarWriter.padding(UInt64(map.count)))
        let size = UInt64(map.count) + ranges.reduce(0) { $0 + UInt64($1.count) }
        var header = header(path, inode, .file, size: size)
        header.records += [
            ("GNU.sparse.major", Array("1".utf8)), ("GNU.sparse.minor", Array("0".utf8)),
            ("GNU.sparse.name", header.name), ("GNU.sparse.realsize", Array("\(inode.size)".utf8)),
        ]
        header.name = Array("GNUSparseFile.0/".utf8) + (path.last?.bytes.prefix(80) ?? [])
        try put(TarWriter.encode(header))
        try put(map)
        for range in ranges { try copy(path, inode, range) }
        try pad(size)
    }

    func link(_ path: [FileName], to first: [FileName]) throws(SystemFailure) -> ExportOutcome {
        let inode = try reader.explaining(first) { () throws(Errno) in
            try reader.fileSystem.find(reader.top + first)
        }
        var header = header(path, inode, .hardLink, size: 0)
        header.link = Self.name(first)
        try put(TarWriter.encode(header))
        return .made
    }

    func symbolicLink(
        _ path: [FileName], _ inode: Inode, target: [UInt8]
    ) throws(SystemFailure) -> ExportOutcome {
        var header = header(path, inode, .symbolicLink, size: 0)
        header.link = target
        try put(TarWriter.encode(header))
        return .made
    }

    func special(_ path: [FileName], _ inode: Inode) throws(SystemFailure) -> ExportOutcome {
        let kind: TarWriter.Header.Kind =
            switch inode.kind {
            case .characterDevice: .characterDevice
            case .blockDevice: .blockDevice
            default: .fifo
            }
        var header = header(path, inode, kind, size: 0)
        // The kernel's encoding of a device number (linux/kdev_t.h, new_decode_dev).
        header.device = (inode.device >> 8 & 0xFFF, inode.device & 0xFF | inode.device >> 12 & 0xFFF00)
        try put(TarWriter.encode(header))
        return .made
    }

    func end() throws(SystemFailure) {
        try put(TarWriter.end)
        try flush()
    }

    // MARK: Parts

    private static func name(_ path: [FileName]) -> [UInt8] { Array(path.map(\.bytes).joined(separator: [0x2F])) }

    private func header(
        _ path: [FileName], _ inode: Inode, _ kind: TarWriter.Header.Kind, size: UInt64
    ) -> TarWriter.Header {
        let rights = reader.rights(inode)
        var header = TarWriter.Header(
            name: Self.name(path), kind: kind, permissions: reader.modes.inArchive(rights.permissions, inode.kind),
            userID: number(inode.userID), groupID: number(inode.groupID), size: size, modified: inode.modified)
        for (key, id, kind) in [("uname", inode.userID, AccountKind.user), ("gname", inode.groupID, .group)] {
            guard let account = reader.fileSystem.account(id), account.kind == kind else { continue }
            header.records.append((key, Array(account.name.utf8)))
        }
        guard kind == .file || kind == .directory else { return header }
        header.records += rights.attributes.map {
            ("SCHILY.xattr." + String(decoding: $0.name, as: UTF8.self), $0.value)
        }
        return header
    }

    private func number(_ id: UInt32) -> UInt32 { NamedAccount.isOne(id) ? IdentityMap.overflowID : id }

    private func copy(_ path: [FileName], _ inode: Inode, _ range: Range<UInt64>) throws(SystemFailure) {
        guard !range.isEmpty else { return }
        do throws(ExportProblem) {
            try reader.read(inode, range) { bytes, _ throws(SystemFailure) in try put(bytes) }
        } catch {
            switch error {
            case .target(let failure): throw failure
            case .unreadable(let errno):
                // The header has promised its bytes.
                throw SystemFailure(
                    "\(reader.volume):/\(ExportReader.text(path))", "cannot be read", errno,
                    fix: "see `berth log \(reader.volume)`; the archive is not whole")
            }
        }
    }

    private func pad(_ size: UInt64) throws(SystemFailure) {
        try put([UInt8](repeating: 0, count: TarWriter.padding(size)))
    }

    private func put(_ bytes: [UInt8]) throws(SystemFailure) {
        buffer += bytes
        if buffer.count >= Self.bufferBytes { try flush() }
    }

    private func put(_ bytes: UnsafeRawBufferPointer) throws(SystemFailure) {
        buffer += bytes
        if buffer.count >= Self.bufferBytes { try flush() }
    }

    private func flush() throws(SystemFailure) {
        do {
            try target.descriptor.write(buffer)
        } catch {
            throw SystemFailure("the archive", "cannot be written", error)
        }
        buffer.removeAll(keepingCapacity: true)
    }
}
