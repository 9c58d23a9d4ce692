import FileModel
import Glibc
import LinuxSystem
import Metadata
import SQLiteMetadata
import Synchronization
import TestSupport
import Testing
import VFS

/// What changes past a kernel must be told to it: of every directory whose names change, each name and its listing.
@Suite("changes past the kernels")
struct AnnouncementTests {
    private let directory = TemporaryDirectory()

    /// A session whose kernel knows every directory, and what it was told.
    private final class Watcher: Sendable {
        private let told = Mutex<[Invalidation]>([])

        func session() -> Session {
            Session(name: "watcher", identity: .oneToOne, isReadOnly: false) { changes, _ in
                self.told.withLock { $0 += changes }
            }
        }

        func take() -> [Invalidation] {
            told.withLock { told in
                defer { told = [] }
                return told
            }
        }
    }

    private struct Place {
        var names: Set<String>
        var modified: Timestamp
        var changed: Timestamp
    }

    private func places(_ volume: OpenedVolume, _ watcher: Session) throws -> [InodeID: Place] {
        var places: [InodeID: Place] = [:]
        var paths = [""]
        while let path = paths.popLast() {
            let inode = try volume.fileSystem.attributes(of: try volume.id(path))
            let entries = try volume.list(path)
            paths += entries.filter { $0.1.isDirectory }.map { path.isEmpty ? $0.0 : "\(path)/\($0.0)" }
            watcher.retain(inode.id)
            places[inode.id] = Place(names: Set(entries.map(\.0)), modified: inode.modified, changed: inode.changed)
        }
        return places
    }

    private func importing(_ names: [String], _ volume: OpenedVolume) throws {
        let work = FileImport(into: [], of: volume.fileSystem)
        defer { work.end() }
        let old = Timestamp(seconds: 5, nanoseconds: 0)
        for name in names {
            let path = try name.split(separator: "/").map { try FileName(String($0)) }
            let content: ImportedEntry.Content = name.hasSuffix("/") ? .directory : .fifo
            let entry = ImportedEntry(path: path, content: content, permissions: 0o755, modified: old)
            let outcome = try work.add([entry])
            #expect(outcome == [.made] || outcome == [.same], "\(name): \(outcome)")
        }
    }

    @Test(
        "import, both restorations and other sessions tell of each name and each listing, and the directory's time of change is new"
    )
    func every() throws {
        let clock = TestClock()
        let day: Int64 = 86_400_000_000_000
        let volume = try OpenedVolume(
            directory.path, trash: TrashSettings(retentionNanoseconds: day), now: clock.now)
        let watcher = Watcher()
        let session = watcher.session()
        volume.fileSystem.attach(session)
        defer { volume.fileSystem.detach(session) }
        try volume.directory("d")
        try volume.directory("d/e")
        for name in ["d/a", "d/e/b", "d/e/c"] { try volume.file(name, [1, 2, 3]) }
        try volume.fileSystem.createSnapshot("s")
        let steps: [(String, () throws -> Void)] = [
            ("import", { try self.importing(["new/", "new/1", "new/deep/2", "d/3"], volume) }),
            ("import into what it made", { try self.importing(["new/4", "new/deep/5"], volume) }),
            ("removal", { try volume.removeAll("d/e") }),
            ("restoration from the trash", { _ = try volume.restore("d/e") }),
            ("restoration from a snapshot", { try self.restore("d", to: "back", replaces: false, volume) }),
            ("replacement from a snapshot", { try self.restore("d", to: "d", replaces: true, volume) }),
            ("another session's file", { try volume.file("d/6") }),
            ("another session's rename", { try volume.rename("d/6", "back/6") }),
            ("another session's link", { try volume.link("back/6", "d/7") }),
        ]
        for (what, step) in steps {
            let before = try places(volume, session)
            clock.pass(seconds: 100)
            _ = watcher.take()
            try step()
            let told = watcher.take()
            for (id, place) in try places(volume, session) {
                let known = before[id]
                let changed = place.names.symmetricDifference(known?.names ?? [])
                guard let known, !changed.isEmpty else { continue }
                #expect(told.contains(.listing(id)), "\(what): nobody was told of the listing of \(id)")
                for name in changed {
                    #expect(told.contains(.entry(parent: id, name: try FileName(name))), "\(what): \(name) in \(id)")
                }
                #expect(place.changed > known.changed, "\(what): \(id) shows the time that it had")
            }
        }
        // What was made by an import shows the time that it had where it came from.
        try importing(["kept/", "kept/1"], volume)
        #expect(try volume.fileSystem.attributes(of: try volume.id("kept")).modified.seconds == 5)
        try volume.close()
    }

    private func restore(_ source: String, to target: String, replaces: Bool, _ volume: OpenedVolume) throws {
        let copy = try SQLiteSnapshot(path: try volume.fileSystem.database(ofSnapshot: "s"))
        defer { try? copy.close() }
        let view = FileSystem(
            snapshot: copy, packs: volume.packs, configuration: FileSystemConfiguration(report: { _ in }))
        let order = SnapshotRestoreOrder(
            source: [try FileName(source)], target: [try FileName(target)], replaces: replaces)
        _ = try volume.fileSystem.restore(order, from: view)
    }

    @Test("names of directories that a kernel never looked up are not sent to it")
    func unknown() throws {
        let volume = try OpenedVolume(directory.path)
        let watcher = Watcher()
        let session = watcher.session()
        volume.fileSystem.attach(session)
        try volume.directory("d")
        _ = watcher.take()
        try volume.file("d/f")
        #expect(watcher.take() == [])
        session.retain(try volume.id("d"))
        try volume.file("d/g")
        #expect(watcher.take().contains(.listing(try volume.id("d"))))
        volume.fileSystem.detach(session)
        try volume.close()
    }
}
