import FileModel
import Glibc
import LinuxSystem
import SQLiteMetadata
import TestSupport
import Testing

@Suite("dumps of the metadata")
struct DumpTests {
    private let directory = TemporaryDirectory()

    /// A database with a bit of everything.
    private func make(_ path: String, files: Int, seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let store = try SQLiteMetadataStore(path: path)
        try store.transaction { transaction throws(Errno) in
            let root = try transaction.allocateInodeID()
            try transaction.insert(
                Inode(
                    id: root, kind: .directory, permissions: 0o755, userID: 0, groupID: 0, linkCount: 2,
                    time: Timestamp(nanoseconds: -5), parent: root))
            for number in 0..<files {
                let id = try transaction.allocateInodeID()
                let time = Timestamp(nanoseconds: Int64.random(in: .min ... .max, using: &generator))
                try transaction.insert(
                    Inode(
                        id: id, kind: .regular, permissions: 0o644, userID: 0, groupID: 7, linkCount: 1, size: 10,
                        time: time, parent: root))
                var name = (0..<Int.random(in: 1...40, using: &generator)).map { _ in
                    UInt8.random(in: 1...255, using: &generator)
                }
                name = name.map { $0 == 0x2F ? 0x25 : $0 } + Array("-\(number)".utf8)
                try transaction.link(try FileName(name), in: root, to: id)
                let pack = PackID(epoch: 1, sequence: UInt32(1 + number / 100))
                if try transaction.pack(pack) == nil {
                    try transaction.putPack(PackRecord(id: pack, state: .stored, rawLength: 1000, storedLength: 900))
                }
                let growth = try transaction.replaceExtents(
                    of: id, in: 0..<10,
                    with: [Extent(fileOffset: 0, length: 10, pack: pack, packOffset: UInt64(number % 100) * 10)])
                guard var inode = try transaction.inode(id) else { throw .stale }
                inode.allocated = UInt64(growth)
                if number % 7 == 0 {
                    inode.allocated += UInt64(try transaction.setAttribute(Array("user.a".utf8), to: name, of: id))
                }
                try transaction.update(inode)
            }
        }
        try store.close()
    }

    private func dump(_ path: String) throws -> [UInt8] {
        var bytes: [UInt8] = []
        _ = try MetadataDump.write(path: path) { bytes += $0 }
        return bytes
    }

    private func load(_ bytes: [UInt8], to path: String, pieces: Int, generator: inout SeededGenerator) throws {
        let load = try MetadataLoad(path: path)
        var position = Int(load.taken)
        while position < bytes.count {
            let end = min(bytes.count, position + Int.random(in: 1...pieces, using: &generator))
            try bytes[position..<end].withUnsafeBytes { try load.add($0) }
            position = end
        }
        try load.finish()
    }

    @Test("a volume that is dumped and loaded is the same, whatever pieces the dump comes in")
    func roundTrip() throws {
        for seed in UInt64(1)...20 {
            var generator = SeededGenerator(seed: seed)
            let path = "\(directory.path)/\(seed)"
            try make(path, files: 300, seed: seed)
            let bytes = try dump(path)
            try load(bytes, to: path + "-back", pieces: seed % 2 == 0 ? 7 : 9000, generator: &generator)
            #expect(try dump(path + "-back") == bytes, "seed \(seed)")
            #expect(try MetadataChecker.check(path: path + "-back").problems.lines == [], "seed \(seed)")
        }
    }

    @Test("a load that was stopped is no volume, and goes on where its last commit was")
    func resumed() throws {
        let path = "\(directory.path)/large"
        try make(path, files: 60_000, seed: 3)
        let bytes = try dump(path)
        var generator = SeededGenerator(seed: 3)
        do {
            let load = try MetadataLoad(path: path + "-back")
            try bytes[..<(bytes.count / 2)].withUnsafeBytes { try load.add($0) }
        }
        #expect(throws: MetadataOpenFailure.self) { _ = try SQLiteMetadataStore(path: path + "-back") }
        let taken = try MetadataLoad(path: path + "-back").taken
        #expect(taken > 0 && taken <= UInt64(bytes.count / 2))
        try load(bytes, to: path + "-back", pieces: 100_000, generator: &generator)
        #expect(try dump(path + "-back") == bytes)
    }

    @Test("a dump that was cut short, changed, or is of a newer version is refused")
    func damage() throws {
        let path = "\(directory.path)/volume"
        try make(path, files: 50, seed: 9)
        let bytes = try dump(path)
        var generator = SeededGenerator(seed: 9)
        for round in 0..<300 {
            var bad = bytes
            let place = Int.random(in: 0..<bytes.count, using: &generator)
            switch round % 3 {
            case 0: bad = Array(bad[..<place])
            case 1: bad[place] = bad[place] &+ UInt8.random(in: 1...255, using: &generator)
            default: bad.insert(contentsOf: [0x0A, 0x31], at: place)
            }
            let target = "\(directory.path)/bad-\(round)"
            #expect(throws: DumpFailure.self, "round \(round), byte \(place)") {
                try load(bad, to: target, pieces: 5000, generator: &generator)
            }
        }
        let newer = Array("berth-dump\t1\t999\n".utf8)
        do {
            try load(newer, to: "\(directory.path)/newer", pieces: 100, generator: &generator)
            Issue.record("a newer dump was loaded")
        } catch {
            #expect("\(error)".contains("use the program that wrote it"))
        }
    }
}
