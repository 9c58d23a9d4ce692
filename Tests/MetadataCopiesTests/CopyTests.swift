import FileModel
import Glibc
import LinuxSystem
import MetadataCopies
import Metadata
import ObjectStorage
import Packs
import SQLiteMetadata
import TestSupport
import Testing
import VFS

@Suite("copies of the metadata in the store")
struct CopyTests {
    private let directory = TemporaryDirectory()

    private func store() throws -> DirectoryStore { try DirectoryStore(root: "\(directory.path)/copies") }

    private func make(_ name: String, _ bytes: [UInt8], in volume: OpenedVolume) throws {
        try Self.make(name, bytes, volume.fileSystem, volume.caller)
    }

    private static func make(_ name: String, _ bytes: [UInt8], _ files: FileSystem, _ caller: Caller) throws {
        let inode = try files.create(
            try FileName(name), in: .root, NewInode(kind: .regular, permissions: 0o644), caller: caller)
        guard !bytes.isEmpty else { return }
        _ = try bytes.withUnsafeBytes {
            try files.write($0, to: inode.id, at: 0, appends: false, caller: caller)
        }
    }

    private func names(_ path: String) throws -> [FileName] {
        let store = try SQLiteMetadataStore(path: path)
        defer { try? store.close() }
        return try store.transaction { transaction throws(Errno) in
            try transaction.entries(in: .root, after: nil, limit: 100_000).map(\.name)
        }
    }

    private func objects() throws -> [ObjectName] { try store().list().sorted { $0.description < $1.description } }

    @Test("a copy that is made while files are made holds a prefix of them, whole, and later copies store what changed")
    func copies() throws {
        let volume = try OpenedVolume(directory.path)
        let writer = CopyWriter(store: try store(), record: Array("{}".utf8), generation: 0)
        let path = "\(directory.path)/copy.db"
        for number in 0..<20_000 { try make("file-\(number)", [], in: volume) }
        let (files, caller) = (volume.fileSystem, volume.caller)
        let others = WorkerThread(name: "files") {
            for number in 0..<5_000 { try? Self.make("later-\(number)", [UInt8(number & 0xFF)], files, caller) }
        }
        try volume.fileSystem.copyMetadata(to: path)
        let first = try writer.copy(path, at: Timestamp(nanoseconds: 1))
        others.join()
        let report = try MetadataChecker.check(path: path)
        #expect(report.problems.lines == [])
        #expect(report.entries >= 20_000)
        unlink(path)

        try make("one more", [1, 2, 3], in: volume)
        try volume.fileSystem.copyMetadata(to: path)
        try writer.copy(path, at: Timestamp(nanoseconds: 2))
        unlink(path)
        // Nothing but the manifest, and the pages that a commit touches.
        try volume.fileSystem.copyMetadata(to: path)
        let last = try writer.copy(path, at: Timestamp(nanoseconds: 3))
        #expect(last * 5 < first, "\(last) of \(first) bytes")
        try volume.close()

        let found = try CopyReader(store: try store()).restore(to: "\(directory.path)/back.db") {
            Issue.record("\($0)")
        }
        #expect(found.time.nanoseconds == 3)
        #expect(found.record == Array("{}".utf8))
        #expect(try names("\(directory.path)/back.db").count == 25_001)
    }

    @Test("of many copies three stay, with the parts that they need, and a damaged one gives way to the one before")
    func old() throws {
        let path = "\(directory.path)/database"
        var generator = SeededGenerator(seed: 7)
        var content = (0..<300_000).map { _ in UInt8.random(in: 0...255, using: &generator) }
        var writer = CopyWriter(store: try store(), record: [], generation: 0)
        var history: [[UInt8]] = []
        for round in 0..<10 {
            content[Int.random(in: 0..<content.count, using: &generator)] &+= 1
            if round == 5 {
                content += [1, 2, 3]
                writer = CopyWriter(store: try store(), record: [], generation: 0)
            }
            try AtomicFile.replace(path, content)
            try writer.copy(path, at: Timestamp(nanoseconds: Int64(round)))
            history.append(content)
        }
        let manifests = try objects().filter { $0.description.hasSuffix(".manifest") }
        #expect(manifests.count == 3)
        #expect(try objects().count <= 3 + 1 + 9)

        for (number, manifest) in manifests.reversed().enumerated() {
            unlink("\(directory.path)/back")
            var skipped: [String] = []
            _ = try CopyReader(store: try store()).restore(to: "\(directory.path)/back") { skipped.append($0) }
            #expect(try AtomicFile.read("\(directory.path)/back") == history[9 - number])
            #expect(skipped.count == number)
            var bytes = try #require(try AtomicFile.read("\(directory.path)/copies/\(manifest)"))
            bytes[Int.random(in: 0..<bytes.count, using: &generator)] ^= 1 << Int.random(in: 0..<8, using: &generator)
            try AtomicFile.replace("\(directory.path)/copies/\(manifest)", bytes)
        }
        unlink("\(directory.path)/back")
        #expect(throws: CopyFailure.self) {
            _ = try CopyReader(store: try store()).restore(to: "\(directory.path)/back") { _ in }
        }
        #expect(access("\(directory.path)/back", F_OK) != 0)
    }

    @Test("of two recoveries at once one is refused, and the machine that lost the volume makes no copies any more")
    func owners() throws {
        let path = "\(directory.path)/database"
        try AtomicFile.replace(path, [1, 2, 3])
        let writer = CopyWriter(store: try store(), record: [], generation: 0)
        try writer.copy(path, at: Timestamp(nanoseconds: 1))
        let reader = CopyReader(store: try store())
        #expect(try reader.claim(after: 0, identity: [1]) == 1)
        #expect(throws: CopyFailure.recoveredElsewhere) { try writer.copy(path, at: Timestamp(nanoseconds: 2)) }
        let next = CopyWriter(store: try store(), record: [], generation: 1)
        try next.copy(path, at: Timestamp(nanoseconds: 3))
        #expect(try reader.claim(after: 1, identity: [2]) == 2)
        #expect(try store().list().contains(try #require(ObjectName("metadata/owner-2"))))
        #expect(throws: ObjectStoreError.exists) {
            try [UInt8]([3]).withUnsafeBytes { try store().put(try #require(ObjectName("metadata/owner-2")), $0) }
        }
    }
}
