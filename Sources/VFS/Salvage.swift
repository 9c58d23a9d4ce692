import FileModel
import LinuxSystem
import Metadata
import ObjectStorage
import Packs
import Synchronization

/// Makes files again of packs that no metadata names: each pack's record table tells which inode a run of bytes was
/// written for, and where in it. Names, owners and sizes it does not tell, so the files lie in `lost+found`, and a hole
/// is what was in no pack or was made by truncation.
public struct Salvage: Sendable {
    public struct Outcome: Equatable, Sendable {
        public var packs = 0
        public var files: UInt64 = 0
        public var bytes: UInt64 = 0
        /// Packs that could not be read, one line each.
        public var failures: [String] = []
    }

    private static let directoryName = Array("lost+found".utf8)

    private let metadata: any MetadataStore
    private let store: any ObjectStore
    private let staging: String?
    private let now: Timestamp

    /// Of metadata that nobody else uses. `staging` is the directory of packs that are not in the store yet, where there
    /// is one.
    public init(metadata: any MetadataStore, store: any ObjectStore, staging: String?, now: Timestamp) {
        self.metadata = metadata
        self.store = store
        self.staging = staging
        self.now = now
    }

    /// Packs of the store and of staging that the metadata does not name, oldest first.
    public func unknownPacks() throws(SalvageFailure) -> [PackID] {
        do {
            let known = Set(try metadata.transaction { transaction throws(Errno) in try transaction.packs().map(\.id) })
            let found = Self.packs(among: try store.list()) + (try staging.map(Self.staged) ?? [])
            return Set(found).subtracting(known).sorted()
        } catch {
            throw SalvageFailure(description: "\(error)")
        }
    }

    public static func packs(among objects: [ObjectName]) -> [PackID] {
        objects.compactMap { name in
            name.description.words(at: "/").last.flatMap { PackID($0) }.flatMap {
                ObjectName(pack: $0) == name && !$0.isForeign ? $0 : nil
            }
        }
    }

    /// Packs that are not in the store yet. A staging directory that is not there holds none.
    public static func staged(_ directory: String) throws(Errno) -> [PackID] {
        do throws(Errno) {
            return Array(try StagedContents.packs(in: directory))
        } catch {
            guard error == .noEntry else { throw error }
            return []
        }
    }

    /// Makes `lost+found/inode-N` for every inode that the packs hold bytes of. What a later pack holds goes over what an
    /// earlier one does, as it was written. The caller commits.
    public func restore(_ packs: [PackID]) throws(SalvageFailure) -> Outcome {
        var outcome = Outcome()
        guard !packs.isEmpty else { return outcome }
        var files: [InodeID: InodeID] = [:]
        for start in stride(from: 0, to: packs.count, by: Self.batch) {
            let ids = Array(packs[start..<min(start + Self.batch, packs.count)])
            for (id, found) in zip(ids, read(ids)) {
                do throws(PackReadFailure) {
                    try restore(try found.get(), &files, &outcome)
                    outcome.packs += 1
                } catch {
                    // A store that is away says nothing of its packs: given up for lost now, they would be collected later.
                    if case .store(let cause) = error, cause != .missing, cause != .short {
                        throw SalvageFailure(description: "pack \(id) \(error)")
                    }
                    outcome.failures.append("pack \(id): \(error)")
                }
            }
        }
        outcome.files = UInt64(files.count)
        return outcome
    }

    private typealias Contents = Result<(PackRecord, [PackRun]), PackReadFailure>

    /// Packs whose tables are in memory together.
    private static let batch = 64

    /// The contents of each, many at once where the store is far away and answers late.
    private func read(_ ids: [PackID]) -> [Contents] {
        let found = Mutex<[Int: Contents]>([:])
        let next = Atomic<Int>(0)
        let work: @Sendable () -> Void = {
            while true {
                let number = next.wrappingAdd(1, ordering: .relaxed).oldValue
                guard number < ids.count else { return }
                let contents = Contents { () throws(PackReadFailure) in try self.contents(ids[number]) }
                found.withLock { $0[number] = contents }
            }
        }
        let helpers = (1..<max(1, min(store.parallelPuts, ids.count))).map { _ in
            WorkerThread(name: "berth-salvage", work)
        }
        work()
        for helper in helpers { helper.join() }
        return ids.indices.map { number in found.withLock { $0[number] } ?? .failure(.cache(.io)) }
    }

    /// A pack's record, and what was written into it. The store's is whole; staging has what is not there.
    private func contents(_ id: PackID) throws(PackReadFailure) -> (PackRecord, [PackRun]) {
        do throws(PackReadFailure) {
            let (index, size) = try PackIndex.stored(id, in: store)
            return (
                PackRecord(id: id, state: .stored, rawLength: UInt64(index.rawLength), storedLength: size), index.runs
            )
        } catch {
            guard error == .store(.missing), let staging else { throw error }
            do throws(Errno) {
                return (PackRecord(id: id, state: .staged), try StagedContents(id, in: staging).runs)
            } catch {
                throw .cache(error)
            }
        }
    }

    private func restore(
        _ contents: (record: PackRecord, runs: [PackRun]), _ files: inout [InodeID: InodeID], _ outcome: inout Outcome
    ) throws(PackReadFailure) {
        do throws(Errno) {
            try metadata.transaction { transaction throws(Errno) in try transaction.putPack(contents.record) }
            for run in contents.runs where run.length > 0 {
                let known = files[run.inode]
                let file: InodeID
                if let known { file = known } else { file = try makeFile(for: run.inode) }
                files[run.inode] = file
                // What goes over earlier bytes counts once.
                let growth = try add(run, of: contents.record.id, to: file)
                outcome.bytes =
                    growth < 0
                    ? outcome.bytes.subtractingClamped(growth.magnitude) : outcome.bytes.addingClamped(growth.magnitude)
            }
        } catch {
            throw .cache(error)
        }
    }

    /// Answers by how many bytes that the packs hold the file grew.
    private func add(_ run: PackRun, of pack: PackID, to file: InodeID) throws(Errno) -> Int64 {
        let range = run.fileOffset..<run.fileOffset.addingClamped(UInt64(run.length))
        let extent = Extent(
            fileOffset: run.fileOffset, length: UInt64(run.length), pack: pack, packOffset: UInt64(run.rawOffset))
        return try metadata.transaction { transaction throws(Errno) in
            guard var inode = try transaction.inode(file) else { throw .stale }
            let growth = try transaction.replaceExtents(of: file, in: range, with: [extent])
            inode.grow(by: growth)
            inode.size = max(inode.size, range.upperBound)
            try transaction.update(inode)
            return growth
        }
    }

    private func makeFile(for lost: InodeID) throws(Errno) -> InodeID {
        try metadata.transaction { transaction throws(Errno) in
            let directory = try lostAndFound(transaction)
            let id = try transaction.allocateInodeID()
            try transaction.insert(
                Inode(
                    id: id, kind: .regular, permissions: 0o600, userID: 0, groupID: 0, linkCount: 1, time: now,
                    parent: directory))
            var name = "inode-\(lost.rawValue)"
            var number = 1
            while try transaction.entry(try FileName(name), in: directory) != nil {
                number += 1
                name = "inode-\(lost.rawValue).\(number)"
            }
            try transaction.link(try FileName(name), in: directory, to: id)
            if var place = try transaction.inode(directory) {
                place.touchEntries(now)
                try transaction.update(place)
            }
            return id
        }
    }

    private func lostAndFound(_ transaction: any MetadataTransaction) throws(Errno) -> InodeID {
        guard var root = try transaction.inode(.root) else { throw .stale }
        let name = try FileName(Self.directoryName)
        if let found = try transaction.entry(name, in: .root) { return found }
        let id = try transaction.allocateInodeID()
        try transaction.insert(
            Inode(
                id: id, kind: .directory, permissions: 0o700, userID: 0, groupID: 0, linkCount: 2, time: now,
                parent: .root))
        try transaction.link(name, in: .root, to: id)
        root.changeLinks(by: 1)
        root.touchEntries(now)
        try transaction.update(root)
        return id
    }
}

public struct SalvageFailure: Error, CustomStringConvertible, Sendable {
    public let description: String
}
