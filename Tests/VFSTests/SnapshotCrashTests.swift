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

/// Copies of a volume's directory, each taken between two durable steps: what a crash there would leave.
// SAFETY: every mutable member is guarded by `gate`, which every durable step goes through.
private final class CrashImages: @unchecked Sendable {
    private let gate = Monitor()
    private let source: String
    private let target: String
    private var isTaking = false
    private(set) var steps: [String] = []

    init(of source: String, in target: String) {
        self.source = source
        self.target = target
    }

    var isRecording: Bool { gate.withLock { isTaking } }

    func record<Result>(_ body: () throws -> Result) rethrows -> Result {
        gate.withLock { isTaking = true }
        defer { gate.withLock { isTaking = false } }
        return try body()
    }

    /// Nothing else becomes durable while an image is taken, or a step runs.
    func step<Result, Failure: Error>(_ name: String, _ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        gate.lock()
        defer { gate.unlock() }
        take("before \(name)")
        let result = try body()
        take("after \(name)")
        return result
    }

    private func take(_ name: String) {
        guard isTaking, steps.count < 60 else { return }
        // The database first: data that comes later is data that it does not name.
        let image = path(steps.count)
        steps.append(name)
        let script = """
            mkdir -p '\(image)/snapshots'; cd '\(source)'; cp -a meta.db* '\(image)'
            cp -a --sparse=always snapshots staging store '\(image)' 2>/dev/null || true
            """
        if (try? Shell.root.run(script)) == nil { Issue.record("no image can be taken") }
    }

    func path(_ number: Int) -> String { "\(target)/\(number)" }
}

private struct WatchedStore: ObjectStore {
    let base: DirectoryStore
    let images: CrashImages

    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        try images.step("put") { () throws(ObjectStoreError) in try base.put(name, bytes) }
    }
    func delete(_ name: ObjectName) throws(ObjectStoreError) {
        try images.step("delete") { () throws(ObjectStoreError) in try base.delete(name) }
    }
    func get(
        _ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) { try base.get(name, at: offset, into: buffer) }
    func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 { try base.size(name) }
    func list() throws(ObjectStoreError) -> [ObjectName] { try base.list() }
    func objects() throws(ObjectStoreError) -> [ObjectInfo] { try base.objects() }
    func capacity() -> (total: UInt64, free: UInt64)? { base.capacity() }
}

// SAFETY: `commitsEach` is set before anybody else has it.
private final class WatchedMetadata: MetadataStore, @unchecked Sendable {
    private let base: SQLiteMetadataStore
    private let images: CrashImages
    /// Every change is committed by itself while images are taken: a long restoration is cut by many commits.
    var commitsEach = false

    init(_ base: SQLiteMetadataStore, _ images: CrashImages) {
        self.base = base
        self.images = images
    }

    func transaction<Result>(_ body: (any MetadataTransaction) throws(Errno) -> Result) throws(Errno) -> Result {
        let result = try base.transaction(body)
        if commitsEach && images.isRecording { try commit(prepare: {}) }
        return result
    }
    func commit(prepare: () throws(Errno) -> Void) throws(Errno) {
        try images.step("commit") { () throws(Errno) in try base.commit(prepare: prepare) }
    }
    func copy(
        to path: String, prepare: () throws(Errno) -> Void,
        change: (any MetadataTransaction) throws(Errno) -> Void
    ) throws(Errno) {
        try images.step("copy") { () throws(Errno) in try base.copy(to: path, prepare: prepare, change: change) }
    }
    func replaceContent(withCopyAt path: String, prepare: () throws(Errno) -> Void) throws(Errno) {
        try images.step("restore") { () throws(Errno) in
            try base.replaceContent(withCopyAt: path, prepare: prepare)
        }
    }
    func synchronize() throws(Errno) { try base.synchronize() }
    var failure: String? { base.failure }
    func close() throws(Errno) { try base.close() }
}

@Suite("a crash between any two steps of a snapshot, a collection or a restore")
struct SnapshotCrashTests {
    private let directory = TemporaryDirectory()
    private var root: String { "\(directory.path)/v" }

    /// What may be found after a crash while one thing was done.
    private struct Allowed {
        var trees: [Picture]
        /// Each snapshot's tree, and whether it may be missing.
        var snapshots: [String: Picture]
        var optional: Set<String> = []
    }

    private func check(_ images: CrashImages, _ allowed: Allowed, _ context: String) throws {
        for (number, step) in images.steps.enumerated() {
            let context = "\(context), \(step) (\(number))"
            let image = images.path(number)
            let volume = try OpenedVolume(image, epoch: 100)
            let found = try VolumeTree(volume: volume).picture()
            #expect(allowed.trees.contains(found), "\(context): the tree is another")
            let names = try Set(volume.fileSystem.holds().map(\.name))
            let all = Set(allowed.snapshots.keys)
            #expect(names.isSubset(of: all) && names.isSuperset(of: all.subtracting(allowed.optional)), "\(context)")
            for name in names {
                let picture = try volume.picture(ofSnapshot: name)
                #expect(picture == allowed.snapshots[name], "\(context): snapshot \(name)")
            }
            _ = try volume.fileSystem.collect(dryRun: false)
            #expect(try VolumeTree(volume: volume).picture() == found, "\(context): after a collection")
            try volume.close()
            try VolumeDamage.expectNone(in: image, context)
        }
    }

    private func run(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        FileTree.remove(root)
        try #require(mkdir(root, 0o700) == 0)
        for name in ["snapshots", "staging", "store"] { mkdir("\(root)/\(name)", 0o700) }
        let first = try OpenedVolume(root)
        for _ in 0..<60 { _ = VolumeTree(volume: first).perform(.random(&generator)) }
        #expect(first.packs.flush(seconds: 20) == nil)
        for _ in 0..<30 { _ = VolumeTree(volume: first).perform(.random(&generator)) }
        var before = try VolumeTree(volume: first).picture()
        try first.close()
        var snapshots: [String: Picture] = [:]
        var collectionSteps = 0
        let actions = [
            "collect", "snapshot", "path", "replace", "collect", "snapshot", "remove", "collect", "restore", "collect",
        ]
        for (number, action) in actions.enumerated() {
            let context = "seed \(seed), \(number) \(action)"
            let images = CrashImages(of: root, in: "\(directory.path)/images-\(number)")
            let (fileSystem, packs, caller) = try open(
                images, UInt32(number + 2), commitsEach: action == "path" || action == "replace")
            let tree = VolumeTree(fileSystem, caller)
            #expect(try tree.picture() == before, "\(context)")
            var allowed = Allowed(trees: [before], snapshots: snapshots)
            try fileSystem.synchronize()
            try images.record {
                switch action {
                case "snapshot":
                    snapshots["s\(number)"] = before
                    allowed.snapshots = snapshots
                    allowed.optional = ["s\(number)"]
                    try fileSystem.createSnapshot("s\(number)")
                case "remove":
                    allowed.optional = ["s1"]
                    snapshots["s1"] = nil
                    try fileSystem.removeSnapshot("s1")
                case "restore":
                    fileSystem.detach(caller.session)
                    before = snapshots["s5"] ?? [:]
                    allowed.trees.append(before)
                    try fileSystem.restoreAll(from: "s5")
                    fileSystem.attach(caller.session)
                case "path", "replace":
                    try restorePath(fileSystem, packs, replaces: action == "replace")
                    before = try tree.picture()
                    allowed.trees.append(before)
                default: #expect(try fileSystem.collect(dryRun: false).failures == [], "\(context)")
                }
            }
            if action == "collect" { collectionSteps += images.steps.count }
            #expect(action == "collect" || images.steps.count >= 2, "\(context): \(images.steps)")
            #expect(try tree.picture() == before, "\(context)")
            for _ in 0..<4 {
                for _ in 0..<10 { _ = tree.perform(.random(&generator)) }
                #expect(packs.flush(seconds: 20) == nil)
            }
            before = try tree.picture()
            fileSystem.detach(caller.session)
            #expect(fileSystem.close(storeSeconds: 20) == nil)
            try check(images, allowed, context)
        }
        #expect(collectionSteps >= 2, "seed \(seed): collections had nothing to do")
    }

    /// All of the first snapshot becomes a directory, and then takes the place of that one.
    private func restorePath(_ fileSystem: FileSystem, _ packs: PackStore, replaces: Bool) throws {
        let copy = try SQLiteSnapshot(path: try fileSystem.database(ofSnapshot: "s1"))
        defer { try? copy.close() }
        let view = FileSystem(snapshot: copy, packs: packs, configuration: FileSystemConfiguration(report: { _ in }))
        let order = SnapshotRestoreOrder(source: [], target: [try FileName("restored")], replaces: replaces)
        _ = try fileSystem.restore(order, from: view)
    }

    private func open(_ images: CrashImages, _ epoch: UInt32, commitsEach: Bool) throws -> (
        FileSystem, PackStore, Caller
    ) {
        let packs = try PackStore(
            PackStoreConfiguration(
                stagingDirectory: "\(root)/staging", cacheDirectory: "\(root)/cache", cacheLimit: 1 << 30,
                compression: .zstd, epoch: epoch),
            store: WatchedStore(base: try DirectoryStore(root: "\(root)/store"), images: images))
        var configuration = FileSystemConfiguration(report: { _ in })
        configuration.snapshotDirectory = "\(root)/snapshots"
        configuration.space = .eager
        let metadata = WatchedMetadata(try SQLiteMetadataStore(path: "\(root)/meta.db"), images)
        metadata.commitsEach = commitsEach
        let fileSystem = try FileSystem(metadata: metadata, packs: packs, configuration: configuration)
        let session = Session(name: "test", identity: .oneToOne, isReadOnly: false, invalidate: { _, _ in })
        fileSystem.attach(session)
        return (
            fileSystem, packs, Caller(session: session, userID: 0, groupID: 0, isSuperuser: true, umask: 0)
        )
    }

    @Test("every image taken between two durable steps opens with the same trees and no damage", arguments: 0..<6)
    func images(seed: Int) throws { try run(seed: UInt64(seed)) }
}
