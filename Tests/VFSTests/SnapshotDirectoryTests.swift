import FileModel
import LinuxSystem
import Packs
import SQLiteMetadata
import Synchronization
import TestSupport
import Testing
import VFS

/// `.snapshots` of a volume's root, below FUSE.
@Suite("the directory of snapshots")
struct SnapshotDirectoryTests {
    /// What a server has of snapshots that are read: here each opening is counted.
    private final class Opener: Sendable {
        let opened = Atomic<Int>(0)
        let closed = Atomic<Int>(0)

        func directory(of volume: OpenedVolume) -> SnapshotDirectory {
            let (fileSystem, packs, configuration) = (volume.fileSystem, volume.packs, volume.configuration)
            return SnapshotDirectory(
                of: fileSystem, isShown: true,
                open: { name throws(Errno) in
                    guard let metadata = try? SQLiteSnapshot(path: try fileSystem.database(ofSnapshot: name)) else {
                        throw .noEntry
                    }
                    self.opened.add(1, ordering: .relaxed)
                    return FileSystem(snapshot: metadata, packs: packs, configuration: configuration)
                },
                close: { _ in self.closed.add(1, ordering: .relaxed) })
        }
    }

    private func errno<Result>(_ body: () throws -> Result) -> Errno? {
        do { _ = try body() } catch { return error as? Errno }
        return nil
    }

    private func names(_ directory: SnapshotDirectory, from offset: UInt64 = 0) throws -> [String] {
        var names: [String] = []
        try directory.list(from: offset) { entry in
            names.append(String(decoding: entry.name, as: UTF8.self))
            return true
        }
        return names
    }

    private func content(_ name: String, _ node: SnapshotNode, _ directory: SnapshotDirectory) throws -> [UInt8] {
        let view = try directory.view(of: node.ordinal)
        let session = Session(name: "s", identity: .oneToOne, isReadOnly: true, invalidate: { _, _ in })
        let id = try view.lookup(try FileName(name), in: node.inode, session: session).id
        var bytes = [UInt8](repeating: 0, count: 10)
        let count = try bytes.withUnsafeMutableBytes { try view.read(id, at: 0, into: $0, session: session) }
        return Array(bytes[..<count])
    }

    @Test("it is there while there is a snapshot, lists each, and opens one when it is named")
    func listing() throws {
        let place = TemporaryDirectory()
        let volume = try OpenedVolume(place.path)
        let opener = Opener()
        let directory = opener.directory(of: volume)
        #expect(errno { try directory.attributes() } == .noEntry)
        try volume.file("f", [1])
        try volume.fileSystem.createSnapshot("one")
        try volume.write([2], to: try volume.id("f"))
        try volume.fileSystem.createSnapshot("two")
        #expect(try names(directory) == [".", "..", "one", "two"] && names(directory, from: 3) == ["two"])
        #expect(opener.opened.load(ordering: .relaxed) == 0)
        #expect(errno { try directory.lookup(try FileName("three")) } == .noEntry)
        for (name, byte) in [("one", 1), ("two", 2)] as [(String, UInt8)] {
            let node = try #require(SnapshotNode(try directory.lookup(try FileName(name)).id))
            #expect(try content("f", node, directory) == [byte])
            #expect(try directory.lookup(try FileName(name)).id == node.number, "a number stays")
        }
        #expect(opener.opened.load(ordering: .relaxed) == 2)
        directory.show(false)
        #expect(errno { try directory.attributes() } == .noEntry)
        directory.show(true)
        directory.closeIdle(after: .seconds(60))
        #expect(opener.closed.load(ordering: .relaxed) == 0)
        directory.closeIdle(after: .zero)
        #expect(opener.closed.load(ordering: .relaxed) == 2)
        try volume.close()
    }

    @Test("what is removed is ESTALE, also after another of its name was made; its removal waits for nobody")
    func removal() throws {
        let place = TemporaryDirectory()
        let volume = try OpenedVolume(place.path)
        let opener = Opener()
        let directory = opener.directory(of: volume)
        try volume.file("f", [1])
        try volume.fileSystem.createSnapshot("one")
        let old = try #require(SnapshotNode(try directory.lookup(try FileName("one")).id))
        try directory.withdrawing("one") {
            #expect(errno { try directory.view(of: old.ordinal) } == .stale)
            try volume.fileSystem.removeSnapshot("one")
        }
        #expect(opener.closed.load(ordering: .relaxed) == 1)
        try volume.write([2], to: try volume.id("f"))
        try volume.fileSystem.createSnapshot("one")
        let new = try #require(SnapshotNode(try directory.lookup(try FileName("one")).id))
        #expect(new != old && errno { try directory.view(of: old.ordinal) } == .stale)
        #expect(try content("f", new, directory) == [2])
        try volume.close()
    }

    @Test("numbers of snapshots' inodes are none of the volume's, and tell all of them apart")
    func numbers() throws {
        #expect(SnapshotNode(.root) == nil && SnapshotNode(InodeID(rawValue: 1 << 62 - 1)) == nil)
        let place = TemporaryDirectory()
        let volume = try OpenedVolume(place.path)
        try volume.fileSystem.createSnapshot("one")
        let root = try #require(
            SnapshotNode(try Opener().directory(of: volume).lookup(try FileName("one")).id))
        #expect(SnapshotNode.isVolatile(root.number) && SnapshotNode.isVolatile(SnapshotNode.directory.number))
        for inode in [2, 1000, 1 << 43 - 1] as [UInt64] {
            let node = try root.sibling(InodeID(rawValue: inode))
            #expect(SnapshotNode(node.number) == node && node.inode.rawValue == inode && node.ordinal == root.ordinal)
            #expect(!SnapshotNode.isVolatile(node.number) && Int64(exactly: node.number.rawValue) != nil)
        }
        #expect(errno { try root.sibling(InodeID(rawValue: 1 << 43)) } == .valueTooLarge)
        try volume.close()
    }
}
