import FileModel
import Glibc
import LinuxSystem
import Metadata
import ObjectStorage
import Packs
import SQLiteMetadata
import Synchronization
import TestSupport
import Testing
import VFS

/// Metadata whose commits can be held back, so that a test may look at what a crash would find.
private final class HeldMetadata: MetadataStore {
    private let base: SQLiteMetadataStore
    let isHeld = Atomic<Bool>(false)

    init(_ base: SQLiteMetadataStore) {
        self.base = base
    }

    func transaction<Result>(_ body: (any MetadataTransaction) throws(Errno) -> Result) throws(Errno) -> Result {
        try base.transaction(body)
    }

    func commit(prepare: () throws(Errno) -> Void) throws(Errno) {
        while isHeld.load(ordering: .acquiring) { usleep(1000) }
        try base.commit(prepare: prepare)
    }

    func copy(to path: String, prepare: () throws(Errno) -> Void) throws(Errno) {
        try base.copy(to: path, prepare: prepare)
    }
    func synchronize() throws(Errno) { try base.synchronize() }
    var failure: String? { base.failure }
    func close() throws(Errno) { try base.close() }
}

@Suite("what lies on disk between two commits")
final class CommitTests: Sendable {
    private let directory: String
    private let metadata: HeldMetadata
    private let packs: PackStore
    private let fileSystem: FileSystem
    private let caller: Caller
    private var staging: String { "\(directory)/staging" }

    init() throws {
        directory = try Shell.root.run("mktemp -d /tmp/berth-test-XXXXXX")
        metadata = HeldMetadata(try SQLiteMetadataStore(path: "\(directory)/meta.db"))
        packs = try PackStore(
            PackStoreConfiguration(
                stagingDirectory: "\(directory)/staging", cacheDirectory: "\(directory)/cache",
                cacheLimit: 1 << 30, compression: .zstd, epoch: 1),
            store: try DirectoryStore(root: "\(directory)/store"))
        fileSystem = try FileSystem(
            metadata: metadata, packs: packs, configuration: FileSystemConfiguration(report: { _ in }))
        let session = Session(name: "test", identity: .oneToOne, isReadOnly: false, invalidate: { _, _ in })
        fileSystem.attach(session)
        caller = Caller(session: session, userID: 0, groupID: 0, isSuperuser: true, umask: 0)
    }

    deinit { FileTree.remove(directory) }

    private func make(_ name: String, _ bytes: [UInt8], at offset: UInt64 = 0) throws -> InodeID {
        let new = NewInode(kind: .regular, permissions: 0o644)
        let inode = try fileSystem.create(try FileName(name), in: .root, new, caller: caller)
        try put(bytes, in: inode.id, at: offset)
        return inode.id
    }

    private func put(_ bytes: [UInt8], in id: InodeID, at offset: UInt64 = 0) throws {
        _ = try bytes.withUnsafeBytes {
            try fileSystem.write($0, to: id, at: offset, appends: false, caller: caller)
        }
    }

    private func get(_ id: InodeID, _ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let read = try bytes.withUnsafeMutableBytes {
            try fileSystem.read(id, at: 0, into: $0, session: caller.session)
        }
        return Array(bytes[..<read])
    }

    private func rawFiles() throws -> [String] {
        try FileTree.names(in: staging).filter { $0.hasSuffix(".raw") }.sorted()
    }

    private func content(_ file: String) throws -> [UInt8] {
        try FileDescriptor.open("\(staging)/\(file)", O_RDONLY).readAll(limit: 32 << 20)
    }

    @Test("the pack of a removed file stays until the removal is committed")
    func removed() throws {
        let id = try make("f", Array(repeating: 1, count: 900_000), at: 1 << 20)
        fileSystem.forget(id, count: 1, session: caller.session)
        try fileSystem.synchronize()
        let before = try rawFiles()
        #expect(before.count == 1)
        metadata.isHeld.store(true, ordering: .releasing)
        try fileSystem.unlink(try FileName("f"), in: .root, caller: caller)
        _ = packs.flush(seconds: 0.5)
        // A crash here brings the file back: its bytes must be there.
        #expect(try rawFiles() == before)
        metadata.isHeld.store(false, ordering: .releasing)
        #expect(packs.flush(seconds: 20) == nil)
        #expect(try rawFiles() == [])
        #expect(fileSystem.close(storeSeconds: 20) == nil)
    }

    @Test("bytes that are committed are not rewritten in place")
    func rewritten() throws {
        let id = try make("f", Array("first".utf8))
        try put(Array("First".utf8), in: id)
        let file = try #require(try rawFiles().first)
        // Not committed yet, or in place would have been wrong: both are one operation to a crash.
        #expect(try get(id, 10) == Array("First".utf8))
        try fileSystem.synchronize()
        let committed = try content(file)
        metadata.isHeld.store(true, ordering: .releasing)
        try put(Array("later".utf8), in: id)
        #expect(try Array(content(file).prefix(committed.count)) == committed)
        #expect(try get(id, 10) == Array("later".utf8))
        metadata.isHeld.store(false, ordering: .releasing)
        #expect(fileSystem.close(storeSeconds: 20) == nil)
    }

    @Test("a clone keeps its bytes while its source is rewritten by other threads")
    func cloned() throws {
        let length = 8192
        let source = try make("source", Array(repeating: 0, count: length))
        let isOver = Atomic<Bool>(false)
        let writer = WorkerThread(name: "writer") {
            var value: UInt8 = 0
            while !isOver.load(ordering: .acquiring) {
                value &+= 1
                // A growing file and a rewritten one: new bytes come between a look at the source and its copy.
                try? self.fileSystem.allocate(.punchHole, 0..<UInt64(length), of: source, caller: self.caller)
                try? self.put(Array(repeating: value, count: length), in: source)
                try? self.put(Array(repeating: value &+ 1, count: length), in: source)
            }
        }
        for round in 0..<2000 {
            let target = try make("t\(round)", [])
            _ = try fileSystem.copyRange(
                from: source, at: 0, to: target, at: 0, count: UInt64(length), caller: caller)
            let first = try get(target, length)
            sched_yield()
            #expect(try get(target, length) == first, "round \(round)")
        }
        isOver.store(true, ordering: .releasing)
        writer.join()
        #expect(fileSystem.close(storeSeconds: 20) == nil)
    }
}
