import FileModel
import Metadata
import SQLiteMetadata
import TestSupport
import Testing
import VFS

/// What programs may ask with the ends of every number's range. A trap names no test, so the seed is printed first.
@Suite("extreme arguments below FUSE")
struct ExtremeArgumentTests {
    private let directory = TemporaryDirectory()

    private static let signed: [Int64] = [
        .min, .min + 1, -11_644_473_600, -9_223_372_037, -9_223_372_036, -1, 0, 1, 999_999_999, 9_223_372_036,
        9_223_372_037, .max - 1, .max,
    ]
    private static let unsigned: [UInt64] = [
        0, 1, 4095, 1 << 20, 1 << 31, 1 << 32, 1 << 47, 1 << 62, UInt64(Int64.max) - 1, UInt64(Int64.max), 1 << 63,
        .max - 1, .max,
    ]
    private static let words: [UInt32] = [0, 1, 0o7777, 65_534, 1 << 31, .max - 1, .max]

    @Test("nothing traps, and the volume is whole afterwards, read again after a restart", arguments: 0..<12)
    func operations(round: Int) throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("extreme arguments: seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let limit: UInt64? = round % 2 == 0 ? nil : 1 << 40
        let trash = TrashSettings(retentionNanoseconds: .max, countsInLimits: round % 3 == 0, keepsTruncated: true)
        var volume = try OpenedVolume(directory.path, sizeLimit: limit, trash: round % 3 == 2 ? .off : trash)
        for name in ["a", "b", "c"] { try volume.file(name, [1, 2, 3, 4, 5]) }
        if round % 4 == 1 {
            _ = try? volume.fileSystem.setQuota(
                QuotaLimits(bytes: Self.unsigned.randomElement(using: &random), inodes: .max), of: .root)
        }
        for number in 0..<300 { step(volume, number, &random) }
        let before = try volume.list("").map { "\($0.0) \($0.1)" }
        try volume.close()
        #expect(try MetadataChecker.check(path: volume.database).problems.lines == [], "seed \(seed)")
        volume = try OpenedVolume(directory.path, epoch: 2, sizeLimit: limit, trash: trash)
        #expect(try volume.list("").map { "\($0.0) \($0.1)" } == before, "seed \(seed)")
        try volume.close()
    }

    private func step(_ volume: OpenedVolume, _ number: Int, _ random: inout SeededGenerator) {
        let files = volume.fileSystem
        func signed() -> Int64 { Self.signed.randomElement(using: &random) ?? 0 }
        func unsigned() -> UInt64 { Self.unsigned.randomElement(using: &random) ?? 0 }
        func word() -> UInt32 { Self.words.randomElement(using: &random) ?? 0 }
        let names = ["a", "b", "c"]
        let id = (try? volume.id(names.randomElement(using: &random) ?? "a")) ?? .root
        let other = (try? volume.id(names.randomElement(using: &random) ?? "a")) ?? .root
        switch Int.random(in: 0..<10, using: &random) {
        case 0:
            var change = AttributeChange()
            if Bool.random(using: &random) { change.accessed = Timestamp(seconds: signed(), nanoseconds: signed()) }
            if Bool.random(using: &random) { change.modified = Timestamp(nanoseconds: signed()) }
            if Bool.random(using: &random) { change.permissions = word() }
            if Bool.random(using: &random) {
                (change.userID, change.groupID) = (min(word(), .max - 1), min(word(), .max - 1))
            }
            if Bool.random(using: &random) { change.size = unsigned() }
            _ = try? files.setAttributes(of: id, change, caller: volume.caller)
        case 1:
            let kind = FileKind.allCases.filter { $0 != .symbolicLink }.randomElement(using: &random) ?? .fifo
            _ = try? files.create(
                try FileName("n\(number)"), in: .root, NewInode(kind: kind, permissions: word(), device: word()),
                caller: volume.caller)
        case 2:
            let (start, end) = (unsigned(), unsigned())
            let requests: [SpaceRequest] = [.allocate, .allocateKeepingSize, .punchHole, .zero, .zeroKeepingSize]
            let request = requests.randomElement(using: &random) ?? .zero
            try? files.allocate(request, min(start, end)..<max(start, end), of: id, caller: volume.caller)
        case 3: _ = try? files.seek(id, from: unsigned(), data: Bool.random(using: &random))
        case 4:
            _ = try? files.copyRange(
                from: id, at: unsigned(), to: other, at: unsigned(), count: unsigned(), caller: volume.caller)
        case 5:
            let bytes: [UInt8] = [9, 9, 9]
            _ = bytes.withUnsafeBytes {
                try? files.writeWhatFits(
                    $0, to: id, at: unsigned(), appends: Bool.random(using: &random), caller: volume.caller)
            }
        case 6:
            var bytes = [UInt8](repeating: 0, count: 4096)
            _ = bytes.withUnsafeMutableBytes { try? files.read(id, at: unsigned(), into: $0, session: volume.session) }
        case 7:
            try? files.list(.root, from: unsigned(), batch: 3) { _ in Bool.random(using: &random) }
            files.forget(id, count: unsigned(), session: volume.session)
            _ = try? files.attributes(of: InodeID(rawValue: unsigned()))
            _ = try? files.lookup(try FileName("a"), in: InodeID(rawValue: unsigned()), session: volume.session)
        case 8:
            let value = (0..<Int.random(in: 0...60, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            let name = ["user.x", "system.posix_acl_access", "system.posix_acl_default"].randomElement(using: &random)
            try? files.setAttribute(
                Array((name ?? "").utf8), to: value, of: id, mode: .createOrReplace, caller: volume.caller)
        default:
            _ = try? files.statistics(at: id)
            _ = try? volume.unlink("n\(number - 1)")
            if let name = names.randomElement(using: &random) {
                _ = try? volume.unlink(name)
                _ = try? volume.restore(name, .at(Timestamp(nanoseconds: signed())))
                _ = try? files.emptyTrash(below: [], before: Timestamp(nanoseconds: signed()), after: unsigned())
                _ = try? volume.file(name, [1, 2, 3, 4, 5])
            }
        }
    }

    @Test("a file whose time is the earliest, or far ahead, is no young one: it is kept in the trash")
    func youngAndOld() throws {
        let hour: Int64 = 3_600_000_000_000
        let volume = try OpenedVolume(directory.path, trash: TrashSettings(retentionNanoseconds: hour))
        for (name, seconds) in [("old", Int64.min), ("young", 0)] {
            let id = try volume.file(name)
            guard seconds < 0 else { continue }
            var change = AttributeChange()
            change.modified = Timestamp(seconds: seconds, nanoseconds: 0)
            let inode = try volume.fileSystem.setAttributes(of: id, change, caller: volume.caller)
            #expect(inode.modified == .earliest && inode.modified.seconds == -9_223_372_036)
        }
        for name in ["old", "young"] { try volume.unlink(name) }
        #expect(try volume.trashed() == ["old"])
        try volume.close()
    }

    @Test("an import takes no numbers that no volume can hold: sizes of a listing, and their sum")
    func imports() throws {
        let volume = try OpenedVolume(directory.path, sizeLimit: .max)
        let work = FileImport(into: [], of: volume.fileSystem)
        let source = try work.source("file:///nowhere", options: "")
        func entry(_ name: String, _ size: UInt64, _ time: Timestamp) throws -> ImportedEntry {
            let object = ForeignObject(source: source.id, key: Array(name.utf8), size: size, tag: "t", modified: time)
            return ImportedEntry(
                path: [try FileName(name)], content: .data(of: object, at: 0, count: size), permissions: .max,
                modified: time)
        }
        for size in Self.unsigned {
            for seconds in Self.signed {
                let time = Timestamp(seconds: seconds, nanoseconds: seconds)
                _ = try? work.add([try entry("f", size, time), try entry("g", size, time)])
            }
        }
        var added = 0
        var end: Errno?
        while end == nil && added < 40_000 {
            do throws(Errno) {
                let batch = (0..<500).compactMap { try? entry("l\(added + $0)", PackID.foreignByteLimit, .latest) }
                _ = try work.add(batch)
                added += batch.count
            } catch {
                end = error
            }
        }
        #expect(end == .noSpace && added > 10_000)
        work.end()
        try volume.close()
        #expect(try MetadataChecker.check(path: volume.database).problems.lines == [])
    }
}
