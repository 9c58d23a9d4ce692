import FileModel
import Glibc
import LinuxSystem
import Metadata
import SQLiteMetadata
import TestSupport
import Testing
import VFS

/// Every primitive that changes the records, done again from the log of a process that died, must give the tables that
/// the process would have committed: row by row.
@Suite("the redo log")
struct RedoTests {
    /// Holds up commits: the committer asks each time whether the disk has room.
    // SAFETY: `isOpen` is guarded by `monitor`.
    private final class Gate: @unchecked Sendable {
        private let monitor = Monitor()
        private var isOpen = true

        func pass() -> Bool {
            monitor.lock()
            defer { monitor.unlock() }
            while !isOpen { monitor.wait() }
            return true
        }

        func set(open: Bool) {
            monitor.withLock { isOpen = open }
            monitor.signalAll()
        }
    }

    /// One volume under a seed, and what was found.
    private final class Trial {
        let seed: UInt64
        private let directory = TemporaryDirectory()
        private let legacy: VolumeLegacy
        private let volume: OpenedVolume
        private var generator: SeededGenerator
        private var holds: [Hold.ID] = []
        private(set) var tags: Set<RedoTag> = []
        private(set) var deaths = 0
        private(set) var bodies = 0

        init(seed: UInt64) throws {
            self.seed = seed
            generator = SeededGenerator(seed: seed)
            legacy = try VolumeLegacy()
            try #require(mkdir("\(directory.path)/v", 0o700) == 0)
            // Far ahead, so that what is made now is old enough for the trash.
            let (clock, gate) = (TestClock(), Gate())
            volume = try OpenedVolume(
                "\(directory.path)/v",
                trash: TrashSettings(retentionNanoseconds: 1_000_000_000_000, keepsTruncated: true), legacy: legacy,
                hasRoom: gate.pass, now: clock.now)
            self.clock = clock
            self.gate = gate
        }

        private let clock: TestClock
        private let gate: Gate

        func run(steps: Int) throws {
            for step in 0..<steps {
                clock.pass(seconds: 1)
                let choice = Int.random(in: 0..<100, using: &generator)
                // Who waits for a commit gets it; others gather in the log.
                gate.set(open: (71..<75).contains(choice) || (92..<95).contains(choice))
                do { try take(choice) } catch let error as Errno {
                    // A refusal, of which the log must know nothing.
                    _ = error
                }
                if Int.random(in: 0..<12, using: &generator) == 0 { try die(step) }
            }
            gate.set(open: true)
            try volume.close()
            let report = try MetadataChecker.check(path: volume.database)
            #expect(report.problems.count == 0, "seed \(seed): \(report.problems.lines)")
        }

        private func take(_ choice: Int) throws {
            switch choice {
            case 0..<56: _ = VolumeTree(volume: volume).perform(.random(&generator))
            case 56..<60: try nameless()
            case 60..<63: try linkTwice()
            case 63..<66: try dropAttribute()
            case 66..<71: try setQuota()
            case 71..<75: try restore()
            case 75: toggleTrash()
            case 76..<80: _ = try volume.fileSystem.emptyTrash(below: [], before: clock.now(), after: 0)
            case 80..<85: try hold()
            case 85..<91: try importOne()
            case 91: try nameGroup()
            case 92: _ = volume.packs.flush(seconds: 30)
            case 93: _ = try volume.fileSystem.collect(dryRun: false)
            case 94: try volume.fileSystem.synchronize()
            case 95: try packComesAndGoes()
            default: _ = try VolumeTree(volume: volume).picture()
            }
        }

        private func toggleTrash() {
            let settings = volume.fileSystem.trashSettings
            settings.set(
                retentionNanoseconds: settings.isOn ? 0 : 1_000_000_000_000, countsInLimits: false,
                keepsTruncated: true)
        }

        private var name: FileName {
            get throws { try FileName(Array("n\(Int.random(in: 0..<4, using: &generator))".utf8)) }
        }

        /// O_TMPFILE, that gets a name or does not.
        private func nameless() throws {
            let made = try volume.fileSystem.createNameless(in: .root, permissions: 0o600, caller: volume.caller)
            if Bool.random(using: &generator) {
                _ = try volume.fileSystem.link(made.id, as: try name, in: .root, caller: volume.caller)
            }
            volume.fileSystem.forget(made.id, count: 1, session: volume.session)
        }

        private func linkTwice() throws {
            let tree = VolumeTree(volume: volume)
            _ = tree.perform(.create("a"))
            _ = tree.perform(.link("a", "d0/l\(Int.random(in: 0..<4, using: &generator))"))
        }

        private func dropAttribute() throws {
            _ = VolumeTree(volume: volume).perform(.setAttribute("a", "v"))
            let id = try volume.id("a")
            for name in try volume.fileSystem.attributeNames(of: id) {
                try volume.fileSystem.removeAttribute(name, of: id, caller: volume.caller)
            }
        }

        private func setQuota() throws {
            let path = ["", "d0", "d1", "d0/e"].randomElement(using: &generator) ?? ""
            let id = try volume.id(path)
            let limits = QuotaLimits(
                bytes: Bool.random(using: &generator) ? 40_000_000 : nil,
                inodes: Bool.random(using: &generator) ? 4000 : nil)
            let isSet = Bool.random(using: &generator)
            try volume.metadata.transaction { transaction throws(Errno) in
                guard let inode = try transaction.inode(id), inode.isDirectory else { throw .notDirectory }
                try transaction.setQuota(isSet ? limits : nil, of: id)
            }
        }

        /// A group of a site, which the root directory gets.
        private func nameGroup() throws {
            let name = "g\(Int.random(in: 0..<9, using: &generator))"
            try volume.metadata.transaction { transaction throws(Errno) in
                guard var root = try transaction.inode(.root) else { throw .io }
                root.groupID = try transaction.addNamedAccount(.group, name).id
                try transaction.update(root)
            }
        }

        private func restore() throws {
            guard let path = try volume.trashed().randomElement(using: &generator) else { return }
            _ = try volume.restore(path, .latest, .beside)
        }

        private func hold() throws {
            let name = "c\(Int.random(in: 0..<6, using: &generator))"
            let chosen = holds.randomElement(using: &generator)
            switch Int.random(in: 0..<4, using: &generator) {
            case 0:
                guard let chosen else { return }
                holds.removeAll { $0 == chosen }
                try volume.metadata.transaction { transaction throws(Errno) in try transaction.removeHold(chosen) }
            case 1:
                guard let chosen else { return }
                try volume.metadata.transaction { transaction throws(Errno) in try transaction.completeHold(chosen) }
            default:
                let now = clock.now()
                let like = Bool.random(using: &generator) ? chosen : nil
                holds.append(
                    try volume.metadata.transaction { transaction throws(Errno) in
                        try transaction.addHold(.clone, name, created: now, like: like)
                    }.id)
            }
        }

        private func importOne() throws {
            let work = FileImport(into: [], of: volume.fileSystem)
            defer { work.end() }
            let place = Int.random(in: 0..<3, using: &generator)
            let source = try work.source("file://\(directory.path)/source\(place)", options: "")
            let name = Array("i\(Int.random(in: 0..<8, using: &generator))".utf8)
            let size = UInt64.random(in: 1..<100_000, using: &generator)
            let object = ForeignObject(
                source: source.id, key: name, size: size, tag: "\(size)", modified: clock.now())
            _ = try work.add([
                ImportedEntry(
                    path: [try FileName(name)], content: .data(of: object, at: 0, count: size), permissions: 0o644,
                    modified: clock.now())
            ])
        }

        /// As housekeeping does it to packs that nobody needs; it commits at once, and the log is seldom seen with it.
        private func packComesAndGoes() throws {
            let id = PackID(epoch: 999, sequence: UInt32.random(in: 0..<4, using: &generator))
            let isGoing = Bool.random(using: &generator)
            try volume.metadata.transaction { transaction throws(Errno) in
                try transaction.putPack(PackRecord(id: id, state: .stored, rawLength: 5, storedLength: 7))
                if isGoing { try transaction.removePack(id) }
            }
        }

        /// Takes the database as it is with the log, and as it is right after a commit.
        private func die(_ step: Int) throws {
            deaths += 1
            let (dead, whole) = ("\(directory.path)/dead\(deaths)", "\(directory.path)/whole\(deaths)")
            try #require(mkdir(dead, 0o700) == 0 && mkdir(whole, 0o700) == 0)
            defer {
                FileTree.remove(dead)
                FileTree.remove(whole)
            }
            var left: VolumeLegacy?
            var copied = [false, false]
            // Under the lock, and not through the committer.
            try volume.metadata.commit(
                before: {
                    copied[0] = copy(to: dead)
                    left = try? VolumeLegacy(copying: legacy)
                }, after: { copied[1] = copy(to: whole) })
            let memory = try #require(left)
            try #require(copied == [true, true])
            let log = try #require(RedoLog(memory.redo, slots: nil))
            tags.formUnion(log.tags)
            let again = try SQLiteMetadataStore(path: "\(dead)/meta.db", redo: log)
            #expect(again.redone.isWhole)
            bodies += again.redone.bodies
            try again.close()
            let (found, expected) = (try rows("\(dead)/meta.db"), try rows("\(whole)/meta.db"))
            let differences = found.symmetricDifference(expected).sorted().prefix(8)
            #expect(differences.isEmpty, "seed \(seed), step \(step):\n\(differences.joined(separator: "\n"))")
        }

        private func copy(to place: String) -> Bool {
            do {
                for name in ["meta.db", "meta.db-wal"] {
                    try FileCopy.copy("\(volume.directory)/\(name)", to: "\(place)/\(name)")
                }
                return true
            } catch {
                return false
            }
        }

        /// Every row but what may differ: access times, which wait longer than other changes; the next inode number,
        /// where a refused request took one; and the counts of commits.
        private func rows(_ path: String) throws -> Set<String> {
            // Opened by the engine, the log of SQLite goes into the file.
            try SQLiteMetadataStore(path: path).close()
            var bytes: [UInt8] = []
            _ = try MetadataDump.write(path: path) { bytes += $0 }
            var rows: Set<String> = []
            var table: Substring = ""
            for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
                var fields = line.split(separator: "\t", omittingEmptySubsequences: false)
                if fields[0] == "table" { table = fields[1] }
                if table == "inode" && fields[0] != "table" { fields[8] = "-" }
                let isCount = ["=redo_generation", "=next_inode"].contains(fields[0]) || fields[0] == "end"
                if !isCount { rows.insert(table + " " + fields.joined(separator: "\t")) }
            }
            return rows
        }
    }

    @Test("64 seeds of 200 changes of every kind: done again after a death they give the same rows", arguments: 0..<4)
    func seeds(group: Int) throws {
        var tags: Set<RedoTag> = []
        var (deaths, bodies) = (0, 0)
        var missing = Set(RedoTag.allCases)
        // What a dead process had in its log depends on when it last committed: some more seeds, should a form be missing.
        for seed in 0..<64 where seed < 16 || !missing.isEmpty {
            let trial = try Trial(seed: UInt64(31_000 + group * 16 + seed % 16 + seed / 16 * 64))
            try trial.run(steps: 200)
            tags.formUnion(trial.tags)
            deaths += trial.deaths
            bodies += trial.bodies
            missing = Set(RedoTag.allCases).subtracting(tags)
        }
        print("\(deaths) deaths, \(bodies) bodies done again")
        #expect(missing.isEmpty, "never in the log of a process that died: \(missing)")
        #expect(bodies > 2 * deaths)
    }

    @Test("a seed that nobody chose")
    func fresh() throws {
        for _ in 0..<3 {
            let trial = try Trial(seed: .random(in: 1_000_000 ... .max))
            print("seed \(trial.seed)")
            try trial.run(steps: 200)
        }
    }

    /// Primitives that only look. Another one that is not of the log's kinds, and is not here, fails the test.
    private static let looks: Set<String> = [
        "inode", "entry", "entries", "hasEntries", "extents", "firstExtent", "linkTarget", "attribute",
        "attributeNames", "orphans", "trash", "trashedNames", "trashedDirectory", "trashUsage", "name", "usage",
        "quotas", "hardLinks", "linkUsage", "attributeSizes", "pack", "packs", "holds", "sources", "foreignObject",
        "foreignObjects", "setting", "namedAccounts",
    ]

    /// `insert` says which number was given; an access time is an `update` where it is to be kept.
    private static let derived: Set<String> = ["allocateInodeID", "touch"]

    @Test("each primitive of the metadata either looks or has a form in the log")
    func primitives() throws {
        let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let text = String(
            decoding: try FileDescriptor.open("\(root)/Sources/Metadata/MetadataTransaction.swift", O_RDONLY)
                .readAll(limit: 1 << 20), as: UTF8.self)
        let start = try #require(text.firstRange(of: "public protocol MetadataTransaction")?.lowerBound)
        let end = try #require(text.firstRange(of: "public protocol MetadataStore")?.lowerBound)
        var found: Set<String> = []
        for line in text[start..<end].split(separator: "\n") {
            guard let mark = line.firstRange(of: "    func ") else { continue }
            found.insert(String(line[mark.upperBound...].prefix { $0 != "(" }))
        }
        let logged = Set(RedoTag.allCases.map { "\($0)" }).subtracting(["end"])
        #expect(found.subtracting(Self.looks).subtracting(Self.derived) == logged)
        #expect(Self.looks.isSubset(of: found))
    }
}
