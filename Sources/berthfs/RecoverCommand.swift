import ArgumentParser
import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem
import MetadataCopies
import ObjectStorage
import Packs
import SQLiteMetadata
import VFS
import Volumes

/// What `berth volume recover` needs of a store: brings the metadata of a volume back, beside its record.
struct RecoverCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "recover", abstract: "Bring a volume's metadata back from its store.", shouldDisplay: false)

    private static let listedPaths = 10
    private static let listedFailures = 100

    @Argument(help: "The path of the volume's record, in the directory that gets the database.")
    var record: String

    @Flag(help: "Without a copy of the metadata take what packs tell.")
    var fromPacks = false

    func run() throws {
        try berthfs.run { () throws(SystemFailure) in
            let place = try VolumePlace(record)
            let recovery = try recover(place)
            do {
                print(String(decoding: try JSONEncoder().encode(recovery), as: UTF8.self))
            } catch {
                throw SystemFailure("the report", "cannot be written as JSON: \(error)", status: .software)
            }
        }
    }

    private func recover(_ place: VolumePlace) throws(SystemFailure) -> Recovery {
        let store = try place.store()
        let reader = CopyReader(store: store)
        let database = place.database
        var recovery = Recovery()
        let found = try restore(reader, place, store, &recovery)
        let report = try Self.checked(database)
        recovery.copyTime = found?.time.seconds
        recovery.inodes = report.inodes
        recovery.bytes = report.bytes
        recovery.problems = report.problems.lines
        let identity = Array("\(UInt64.random(in: .min ... .max))\n".utf8)
        let generation: UInt32
        do throws(CopyFailure) {
            generation = try reader.claim(after: found?.generation ?? 0, identity: identity)
        } catch {
            throw SystemFailure(
                place.url, "is being recovered by another machine, or cannot be written: \(error)",
                fix: "let one machine recover it", status: .temporaryFailure)
        }
        try settle(place, store, generation, VolumePlace.lastBaseEpoch(found?.record), &recovery)
        recovery.closedSources = SourceTrust(place.record).closed(of: try VolumeRecord.sources(in: database))
        if let found {
            recovery.problems += try place.adoptOptions(found.record)
        } else if let marker = place.markedRecord() {
            // A clone's packs that its original has are named by nothing any more.
            recovery.problems += try place.adoptOptions(marker, keepsBases: false)
        }
        return recovery
    }

    /// Puts the newest whole copy into the database's place. Nil where there is none: a database without files is there then.
    private func restore(
        _ reader: CopyReader, _ place: VolumePlace, _ store: any ObjectStore, _ recovery: inout Recovery
    ) throws(SystemFailure) -> FoundCopy? {
        do throws(CopyFailure) {
            return try reader.restore(to: place.database) { recovery.skippedCopies.append($0) }
        } catch {
            guard error.isWithoutCopy else { throw Self.refusal(place, error) }
            let packs: Int
            do {
                packs = Salvage.packs(among: try store.list()).count
            } catch {
                throw SystemFailure(place.url, "cannot be recovered: \(error)", fix: "try again", status: .unavailable)
            }
            // A volume that was made and never used has neither. In a bucket its mark tells; a directory may be that of a file
            // system which is not mounted.
            let isUnused = packs == 0 && error == .none && place.url.startsWithBytes(of: "s3://")
            guard fromPacks || isUnused else { throw Self.refusal(place, error, packs) }
        }
        try BlankMetadata.make(place.database)
        return nil
    }

    private static func refusal(_ place: VolumePlace, _ failure: CopyFailure, _ packs: Int = 0) -> SystemFailure {
        var fix: String?
        switch failure {
        case .damage(.newerVersion): fix = "use the program that wrote it, or a newer one"
        case .store(.failed): fix = "try again when the store is back"
        case .file: fix = "make room, and try again"
        default:
            fix =
                "if the machine that had it is there, run `berth sync \(place.record.name) --wait` on it, and recover then; if it is "
                + "lost, add --from-packs: files come back from \(packs) packs, without their names"
        }
        return SystemFailure(place.url, "cannot be recovered: \(failure)", fix: fix, status: .dataError)
    }

    private static func checked(_ database: String) throws(SystemFailure) -> MetadataReport {
        do {
            return try MetadataChecker.check(path: database)
        } catch {
            throw SystemFailure(database, error.description, status: .dataError)
        }
    }

    /// Makes the metadata fit what the store holds: packs that were staged on the lost machine, and packs that are newer
    /// than the copy.
    private func settle(
        _ place: VolumePlace, _ store: any ObjectStore, _ generation: UInt32, _ lastBaseEpoch: UInt32,
        _ recovery: inout Recovery
    ) throws(SystemFailure) {
        let database = place.database
        let metadata: SQLiteMetadataStore
        do {
            metadata = try SQLiteMetadataStore(path: database)
        } catch {
            throw SystemFailure(database, error.description, status: .dataError)
        }
        var lost: Set<PackID> = []
        var knownEpoch: UInt32 = 0
        do {
            let salvage = Salvage(metadata: metadata, store: store, staging: nil, now: .now())
            let newer = try salvage.unknownPacks()
            knownEpoch = newer.map(\.epoch).max() ?? 0
            lost = try Self.settleStaged(metadata, store).union(Self.missing(metadata, store, lastBaseEpoch))
            let outcome = try salvage.restore(newer)
            recovery.salvagedFiles = outcome.files
            recovery.salvagedBytes = outcome.bytes
            recovery.newerPacks = newer.count
            recovery.problems += outcome.failures.prefix(Self.listedFailures)
            let more = outcome.failures.count - Self.listedFailures
            if more > 0 { recovery.problems.append("and \(more) packs more that cannot be read") }
            try metadata.commit(prepare: {})
            try metadata.close()
        } catch {
            throw SystemFailure(database, "cannot be settled: \(error)", status: .inputOutputError)
        }
        recovery.lostSnapshots = try OpenVolume.passOver(
            database, snapshots: place.snapshots, generation: generation, knownEpoch: knownEpoch)
        recovery.lostPacks = lost.count
        do {
            let data = try LostData(in: database, packs: lost, limit: Self.listedPaths)
            recovery.lostFiles = data.files
            recovery.lostPaths = data.paths
        } catch {
            throw SystemFailure(database, error.description, status: .dataError)
        }
    }

    /// Packs that are not in the store any more, though the metadata says so: somebody removed them, or the copy is old.
    private static func missing(
        _ metadata: SQLiteMetadataStore, _ store: any ObjectStore, _ lastBaseEpoch: UInt32
    ) throws -> Set<PackID> {
        let present = Set(Salvage.packs(among: try store.list()))
        let packs = try metadata.transaction { transaction throws(Errno) in try transaction.packs() }
        let missing = packs.filter {
            // What a clone shares is in the place of its original.
            $0.state == .stored && $0.liveBytes > 0 && $0.id.epoch > lastBaseEpoch && !present.contains($0.id)
        }
        return Set(missing.map(\.id))
    }

    /// Records as stored what reached the store after the copy. Answers packs that did not.
    private static func settleStaged(
        _ metadata: SQLiteMetadataStore, _ store: any ObjectStore
    ) throws -> Set<PackID> {
        var lost: Set<PackID> = []
        let packs = try metadata.transaction { transaction throws(Errno) in try transaction.packs() }
        for pack in packs where pack.state == .staged {
            do throws(PackReadFailure) {
                let (index, size) = try PackIndex.stored(pack.id, in: store)
                do throws(Errno) {
                    try metadata.transaction { transaction throws(Errno) in
                        try transaction.putPack(
                            PackRecord(
                                id: pack.id, state: .stored, rawLength: UInt64(index.rawLength), storedLength: size))
                    }
                } catch {
                    throw PackReadFailure.cache(error)
                }
            } catch {
                guard error == .store(.missing) else { throw error }
                if pack.liveBytes > 0 { lost.insert(pack.id) }
            }
        }
        return lost
    }
}
