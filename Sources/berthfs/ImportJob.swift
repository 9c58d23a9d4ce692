import Archives
import Control
import FileModel
import Glibc
import LinuxSystem
import ObjectStorage
import VFS

/// One import: what a source lists, or the members of an archive in it, become files of the volume.
struct ImportJob: Sendable {
    /// Entries of one transaction: a few milliseconds of the metadata's lock.
    private static let batch = 500
    /// Of an archive, in memory until its end mark was seen; 300 bytes each.
    private static let memberLimit = 20_000_000

    let order: ImportOrder
    let place: [FileName]
    let fileSystem: FileSystem
    let stores: ForeignStores

    /// Where the source's objects are: the store, and what of it is asked for.
    private struct Origin {
        var source: ForeignSource
        var store: any ForeignStore
        /// The one object, or nil for all below `prefix`.
        var object: ForeignEntry?
        var prefix: [UInt8]
    }

    func run(_ step: TransferStep) throws(SystemFailure) {
        let work = FileImport(into: place, of: fileSystem)
        defer { work.end() }
        let origin = try origin(work)
        if order.isArchive {
            guard let object = origin.object, case .object(let size, let tag) = object.content else {
                throw SystemFailure(order.source, "is no single object, and so no archive", status: .noInput)
            }
            guard size <= PackID.foreignByteLimit else {
                throw SystemFailure(order.source, "is said to have \(size) bytes, and is too large", status: .dataError)
            }
            let archive = ForeignObject(
                source: origin.source.id, key: object.key, size: size, tag: tag, modified: object.modified)
            try take(try members(of: archive, origin.store, step), work, step)
        } else if let object = origin.object {
            try take(entries([object], origin, isSingle: true, step), work, step)
        } else {
            try list(origin, work, step)
        }
        do {
            try fileSystem.synchronize()
        } catch {
            throw SystemFailure("the volume", "cannot be synchronized", error)
        }
    }

    // MARK: Where it comes from

    private func origin(_ work: FileImport) throws(SystemFailure) -> Origin {
        let (url, key) = try parts()
        let named = ForeignSource(url: url, options: order.options)
        guard stores.trust.allows(named) else { throw stores.trust.refusal(named) }
        let source = try recorded(url, work)
        let store = try stores.open(source)
        do {
            let isAll = key.isEmpty || key.last == 0x2F
            let found = isAll ? nil : try store.find(key)
            if url.hasPrefix(ForeignStores.fileScheme) {
                // A directory is a source of its own: `parts` saw that it is none.
                guard let found else {
                    guard key.isEmpty else { throw ObjectStoreError.missing }
                    return Origin(source: source, store: store, object: nil, prefix: [])
                }
                return Origin(source: source, store: store, object: found, prefix: [])
            }
            return Origin(
                source: source, store: store, object: found, prefix: isAll || found != nil ? key : key + [0x2F])
        } catch {
            throw failure(error)
        }
    }

    /// The source's URL, and the key or prefix in it.
    private func parts() throws(SystemFailure) -> (url: String, key: [UInt8]) {
        if order.source.hasPrefix(ForeignStores.fileScheme) {
            let path = String(order.source.dropFirst(ForeignStores.fileScheme.utf8.count))
            var status = stat()
            guard lstat(path, &status) == 0 else { throw SystemFailure(path, "cannot be examined", .current) }
            if status.st_mode & S_IFMT == S_IFDIR { return (order.source, []) }
            let names = path.words(at: "/")
            let parent = "/" + names.dropLast().joined(separator: "/")
            return (ForeignStores.fileScheme + parent, Array((names.last ?? "").utf8))
        }
        let scheme = "s3://"
        let rest = order.source.dropFirst(scheme.utf8.count).split(
            separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        return (scheme + rest[0], rest.count > 1 ? Array(rest[1].utf8) : [])
    }

    private func recorded(_ url: String, _ work: FileImport) throws(SystemFailure) -> ForeignSource {
        do {
            return try work.source(url, options: order.options)
        } catch {
            throw volumeFailure(error)
        }
    }

    // MARK: Listings

    private func list(_ origin: Origin, _ work: FileImport, _ step: TransferStep) throws(SystemFailure) {
        var failure: SystemFailure?
        var count = 0
        do throws(ObjectStoreError) {
            try origin.store.list(below: origin.prefix) { page in
                count += page.count
                do throws(SystemFailure) {
                    try take(try entries(page, origin, isSingle: false, step), work, step)
                } catch {
                    failure = error
                }
                return failure == nil
            }
        } catch {
            throw self.failure(error)
        }
        if let failure { throw failure }
        guard count > 0 || order.source.hasPrefix(ForeignStores.fileScheme) else {
            throw SystemFailure(
                order.source, "there is nothing", fix: "correct the bucket or the prefix", status: .noInput)
        }
    }

    /// What a store lists, as entries; what no volume can take is noted.
    private func entries(
        _ found: [ForeignEntry], _ origin: Origin, isSingle: Bool, _ step: TransferStep
    ) throws(SystemFailure) -> [ImportedEntry] {
        var entries: [ImportedEntry] = []
        entries.reserveCapacity(found.count)
        var left: [(String, String)] = []
        for entry in found {
            let name =
                isSingle ? entry.key.split(separator: 0x2F).last.map(Array.init) ?? [] : relative(entry.key, origin)
            // The place itself, as some tools mark it.
            if name.isEmpty { continue }
            do {
                entries.append(try imported(entry, as: name, origin))
            } catch {
                left.append((String(decoding: entry.key, as: UTF8.self), error.reason))
            }
        }
        if !left.isEmpty {
            try step.note { progress in
                progress.found += left.count
                for (name, reason) in left { progress.leaveOut(name, reason) }
            }
        }
        return entries
    }

    private func relative(_ key: [UInt8], _ origin: Origin) -> [UInt8] { Array(key.dropFirst(origin.prefix.count)) }

    private func imported(
        _ entry: ForeignEntry, as name: [UInt8], _ origin: Origin
    ) throws(Unusable) -> ImportedEntry {
        let content: ImportedEntry.Content
        switch entry.content {
        case .object(let size, let tag):
            let object = ForeignObject(
                source: origin.source.id, key: entry.key, size: size, tag: tag, modified: entry.modified)
            content = .data(of: object, at: 0, count: size)
        case .directory: content = .directory
        case .symbolicLink(let target): content = .symbolicLink(target: target)
        case .hardLink(let key): content = .hardLink(to: try EntryPath.strict(relative(key, origin)))
        case .other(let reason): throw Unusable(reason: reason)
        }
        return ImportedEntry(
            path: try EntryPath.strict(name), content: content, permissions: entry.permissions, modified: entry.modified
        )
    }

    // MARK: Archives

    /// All members, once the whole archive has been seen: one that is cut short leaves nothing behind.
    private func members(
        of archive: ForeignObject, _ store: any ForeignStore, _ step: TransferStep
    ) throws(SystemFailure) -> [ImportedEntry] {
        var reader = TarReader(size: archive.size) { offset, buffer in
            try store.read(archive, at: offset, into: buffer)
        }
        var members: [ImportedEntry] = []
        var isAbsolute = false
        do throws(TarFailure) {
            while let member = try reader.next() {
                guard members.count < Self.memberLimit else { throw TarFailure.unreadable("has too many members") }
                if member.name.first == 0x2F { isAbsolute = true }
                do throws(Unusable) {
                    if let entry = try imported(member, of: archive) { members.append(entry) }
                } catch {
                    let reason = error.reason
                    try? step.note {
                        $0.found += 1
                        $0.leaveOut(String(decoding: member.name, as: UTF8.self), reason)
                    }
                }
            }
        } catch {
            throw try refusal(error, archive, store)
        }
        if isAbsolute { try step.note { $0.notes.append("the leading \"/\" of names was removed") } }
        return members
    }

    /// Nil for the place itself.
    private func imported(_ member: TarMember, of archive: ForeignObject) throws(Unusable) -> ImportedEntry? {
        let path = try EntryPath.lenient(member.name)
        if path.isEmpty { return nil }
        let content: ImportedEntry.Content
        switch member.kind {
        case .file(let offset, let size): content = .data(of: archive, at: offset, count: size)
        case .directory: content = .directory
        case .symbolicLink(let target): content = .symbolicLink(target: target)
        case .hardLink(let target): content = .hardLink(to: try EntryPath.lenient(target))
        case .fifo: content = .fifo
        case .unsupported(let reason): throw Unusable(reason: reason)
        }
        return ImportedEntry(
            path: path, content: content, permissions: member.permissions, modified: member.modified,
            attributes: member.attributes)
    }

    private func refusal(
        _ failure: TarFailure, _ archive: ForeignObject, _ store: any ForeignStore
    ) throws(SystemFailure) -> SystemFailure {
        if case .unreadable(let words) = failure {
            return SystemFailure(passingOn: words, errno: .io, status: .inputOutputError)
        }
        var start = [UInt8](repeating: 0, count: Int(min(archive.size, 6)))
        _ = start.withUnsafeMutableBytes { try? store.read(archive, at: 0, into: $0) }
        let magics: [[UInt8]] = [
            [0x1F, 0x8B], [0x28, 0xB5, 0x2F, 0xFD], [0xFD, 0x37, 0x7A], [0x42, 0x5A, 0x68], [0x50, 0x4B],
        ]
        if magics.contains(where: { start.starts(with: $0) }) {
            return SystemFailure(
                "archive \(order.source)", "is compressed, and so cannot be read in place",
                fix: "decompress it first", status: .dataError)
        }
        return SystemFailure(
            "archive \(order.source)", failure.description, fix: "bring the whole of it; nothing was imported",
            status: .dataError)
    }

    // MARK: Into the volume

    private func take(
        _ entries: [ImportedEntry], _ work: FileImport, _ step: TransferStep
    ) throws(SystemFailure) {
        for start in stride(from: 0, to: entries.count, by: Self.batch) {
            let batch = Array(entries[start..<min(start + Self.batch, entries.count)])
            let outcomes: [ImportOutcome]
            do {
                outcomes = try work.add(batch)
            } catch {
                throw volumeFailure(error)
            }
            try step.note { progress in
                progress.found += batch.count
                for (entry, outcome) in zip(batch, outcomes) { Self.count(entry, outcome, &progress) }
            }
        }
    }

    private static func count(
        _ entry: ImportedEntry, _ outcome: ImportOutcome, _ progress: inout TransferProgress
    ) {
        switch outcome {
        case .made: progress.made += 1
        case .renewed: progress.renewed += 1
        case .same: progress.same += 1
        case .refused(let reason):
            progress.leaveOut(entry.path.map(\.description).joined(separator: "/"), reason)
            return
        }
        if outcome != .same, case .data(_, _, let count) = entry.content {
            progress.bytes = progress.bytes.addingClamped(count)
        }
    }

    // MARK: Failures

    private func volumeFailure(_ error: Errno) -> SystemFailure {
        let onward = "run the import again; it goes on where it stopped"
        let fix: String? =
            switch error {
            case .noSpace: "make it larger, or remove something, and \(onward)"
            case .overQuota: "raise the quota, or remove something, and \(onward)"
            default: nil
            }
        return SystemFailure("the volume", "takes no more files", error, fix: fix)
    }

    private func failure(_ error: any Error) -> SystemFailure {
        switch error as? ObjectStoreError {
        case .failed(let errno, let words): SystemFailure(passingOn: words, errno: errno, status: .unavailable)
        case let other:
            SystemFailure(
                order.source, other.map { "cannot be read: \($0)" } ?? "\(error)", errno: .noEntry, status: .noInput)
        }
    }
}
