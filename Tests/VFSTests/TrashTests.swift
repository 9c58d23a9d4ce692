import FileModel
import Glibc
import SQLiteMetadata
import LinuxSystem
import Metadata
import Synchronization
import TestSupport
import Testing
import VFS

/// A volume that keeps what is deleted for an hour of a clock that the test moves.
private final class TrashVolume {
    let directory = TemporaryDirectory()
    let clock = TestClock()
    let settings: TrashSettings
    let volume: OpenedVolume

    init(sizeLimit: UInt64? = nil, counts: Bool = false, truncated: Bool = false) throws {
        settings = TrashSettings(
            retentionNanoseconds: 3_600_000_000_000, countsInLimits: counts, keepsTruncated: truncated)
        volume = try OpenedVolume(directory.path, sizeLimit: sizeLimit, trash: settings, now: clock.now)
    }

    /// Closes it and lets the checker count everything.
    func check(_ comment: String = "") throws {
        try volume.close()
        let report = try MetadataChecker.check(path: volume.database)
        #expect(report.problems.count == 0, "\(comment) \(report.problems.lines)")
    }
}

@Suite("trash")
struct TrashTests {
    private func errno(_ body: () throws -> Void) -> Errno? {
        do { try body() } catch { return error as? Errno }
        return nil
    }

    @Test("unlink, rmdir and rename-over keep what they take, with its path and who did it")
    func kept() throws {
        let test = try TrashVolume()
        let volume = test.volume
        try volume.directory("d")
        try volume.directory("d/e")
        try volume.file("d/e/f", [1])
        try volume.file("a", [2])
        try volume.file("b", [3])
        test.clock.pass(seconds: 10)
        try volume.unlink("d/e/f")
        try volume.rename("a", "b")
        test.clock.pass(seconds: 10)
        try volume.rmdir("d/e")
        #expect(try volume.trashed() == ["d/e/f", "b", "d/e"])
        #expect(try volume.trashed("d") == ["d/e/f", "d/e"])
        // A living directory's name is the one it has now.
        try volume.rename("d", "moved")
        #expect(try volume.trashed() == ["moved/e/f", "b", "moved/e"])
        #expect(try volume.fileSystem.trashUsage().files == 3 && volume.fileSystem.trashUsage().bytes == 2)
        try test.check()
    }

    @Test("link counts and times are exact, and only the last name of a file goes to the trash")
    func links() throws {
        let test = try TrashVolume()
        let volume = test.volume
        try volume.directory("d")
        let id = try volume.file("f", [1])
        try volume.link("f", "d/g")
        try volume.link("f", "d/h")
        test.clock.pass(seconds: 10)
        let before = try volume.fileSystem.attributes(of: id).changed
        try volume.unlink("f")
        #expect(try volume.trashed() == [])
        #expect(try volume.fileSystem.attributes(of: id).linkCount == 2)
        try volume.unlink("d/g")
        try volume.unlink("d/h")
        let left = try volume.fileSystem.attributes(of: id)
        #expect(left.linkCount == 0 && left.changed > before)
        #expect(try volume.trashed() == ["d/h"])
        #expect(
            errno { _ = try volume.fileSystem.link(id, as: try FileName("x"), in: .root, caller: volume.caller) }
                == .noEntry)
        _ = try volume.restore("d/h")
        #expect(try volume.id("d/h") == id && volume.content("d/h") == [1])
        #expect(try volume.fileSystem.attributes(of: id).linkCount == 1)
        try test.check()
    }

    @Test("a file comes back with the directories above it and their modes, beside, elsewhere, and as it was at a time")
    func restored() throws {
        let test = try TrashVolume()
        let volume = test.volume
        try volume.directory("p", mode: 0o750)
        try volume.directory("p/q", mode: 0o2711)
        try volume.file("p/q/f", [1, 1], mode: 0o604)
        test.clock.pass(seconds: 10)
        try volume.removeAll("p")
        test.clock.pass(seconds: 10)
        let between = test.clock.now()
        let outcome = try volume.restore("p/q/f")
        #expect(outcome.count == 3 && outcome.path == Array("p/q/f".utf8))
        #expect(try volume.fileSystem.attributes(of: try volume.id("p")).permissions == 0o750)
        #expect(try volume.fileSystem.attributes(of: try volume.id("p/q")).permissions == 0o2711)
        #expect(try volume.fileSystem.attributes(of: try volume.id("p/q/f")).permissions == 0o604)
        #expect(try volume.trashed() == [], "directories that came back leave the trash")
        for byte in UInt8(2)...4 {
            try volume.truncate("p/q/f", 0)
            try volume.write([byte], to: try volume.id("p/q/f"))
            test.clock.pass(seconds: 60)
            try volume.unlink("p/q/f")
            test.clock.pass(seconds: 60)
            if byte < 4 { try volume.file("p/q/f", [9]) }
        }
        #expect(errno { _ = try volume.restore("p/q/none") } == .noEntry)
        _ = try volume.restore("p/q/f")
        #expect(try volume.content("p/q/f") == [4])
        #expect(errno { _ = try volume.restore("p/q/f") } == .alreadyExists)
        #expect(try volume.restore("p/q/f", .at(between), .beside).path == Array("p/q/f.restored".utf8))
        #expect(try volume.content("p/q/f.restored") == [2])
        _ = try volume.restore("p/q/f", .latest, .path([try FileName("top")]))
        #expect(try volume.content("top") == [3])
        try test.check()
    }

    @Test("a directory that is there is used, and what is in the way stays, and is told")
    func merged() throws {
        let test = try TrashVolume()
        let volume = test.volume
        try volume.directory("d")
        try volume.directory("d/sub")
        for name in ["d/a", "d/b", "d/sub/c"] { try volume.file(name, [1]) }
        test.clock.pass(seconds: 10)
        try volume.removeAll("d")
        try volume.directory("d")
        try volume.file("d/a", [2])
        // Another directory than the one that was deleted, of the same name: what was in that comes into this.
        _ = try volume.restore("d/b")
        let rest = try volume.restore("d")
        #expect(rest.count == 2 && rest.occupied == [Array("d/a".utf8)], "the subdirectory and its file")
        #expect(try volume.content("d/sub/c") == [1] && volume.content("d/a") == [2])
        test.clock.pass(seconds: 10)
        try volume.unlink("d/a")
        #expect(try volume.restore("d").count == 1 && volume.content("d/a") == [2], "the last one of the name")
        #expect(try volume.restore("d", .latest, .beside).path == Array("d.restored".utf8))
        #expect(try volume.content("d.restored/a") == [1])
        try volume.removeAll("d.restored")
        test.clock.pass(seconds: 10)
        for name in ["d/a", "d/b"] { try volume.unlink(name) }
        try volume.file("d/b", [3])
        let outcome = try volume.restore("d")
        #expect(outcome.count == 1 && outcome.occupied == [Array("d/b".utf8)], "what rm -rf d/* took comes back")
        try test.check()
    }

    @Test("what did not fit comes back with the same words once there is room, and restores at once share the work")
    func resumed() throws {
        let test = try TrashVolume()
        let volume = test.volume
        try volume.directory("q")
        try volume.directory("q/d")
        for number in 0..<10 { try volume.file("q/d/\(number)", [UInt8](repeating: 1, count: 100)) }
        test.clock.pass(seconds: 10)
        try volume.removeAll("q/d")
        let id = try volume.id("q")
        _ = try volume.fileSystem.setQuota(QuotaLimits(bytes: 450, inodes: nil), of: id)
        let first = try volume.restore("q/d")
        #expect(first.count == 5 && first.ended == .overQuota)
        _ = try volume.fileSystem.setQuota(nil, of: id)
        #expect(try volume.restore("q/d").count == 6 && volume.list("q/d").count == 10)
        #expect(try volume.trashed() == [])
        // Whoever comes second finds some of it back, or all.
        test.clock.pass(seconds: 10)
        for _ in 0..<5 {
            try volume.removeAll("q/d")
            let back = Atomic<Int>(0)
            let fileSystem = volume.fileSystem
            let path = [try FileName("q"), try FileName("d")]
            let threads = (0..<3).map { _ in
                WorkerThread(name: "restore") {
                    guard let outcome = try? fileSystem.restore(RestoreOrder(path: path)) else { return }
                    back.add(outcome.count, ordering: .relaxed)
                }
            }
            for thread in threads { thread.join() }
            #expect(try volume.list("q/d").count == 10 && volume.trashed() == [])
            #expect(back.load(ordering: .relaxed) == 11, "each is counted once")
        }
        try test.check()
    }

    @Test("temporary files, nameless ones and sockets are not kept")
    func temporary() throws {
        let test = try TrashVolume()
        let volume = test.volume
        let id = try volume.file("mkstemp")
        _ = try volume.fileSystem.lookup(try FileName("mkstemp"), in: .root, session: volume.session)
        try volume.unlink("mkstemp")
        try volume.write([1, 2, 3], to: id)
        let nameless = try volume.fileSystem.createNameless(in: .root, permissions: 0o600, caller: volume.caller)
        try volume.write([1], to: nameless.id)
        #expect(try volume.trashed() == [])
        volume.fileSystem.forget(id, count: 1, session: volume.session)
        volume.fileSystem.forget(nameless.id, count: 1, session: volume.session)
        #expect(try volume.fileSystem.usage().files == 1)
        // An empty file that was there for a while is something: __init__.py.
        try volume.file("__init__.py")
        test.clock.pass(seconds: 10)
        try volume.unlink("__init__.py")
        #expect(try volume.trashed() == ["__init__.py"])
        try test.check()
    }

    @Test("what is held open is written on, counted, and comes back with it")
    func held() throws {
        let test = try TrashVolume()
        let volume = test.volume
        let id = try volume.file("f", [1])
        _ = try volume.fileSystem.lookup(try FileName("f"), in: .root, session: volume.session)
        try volume.unlink("f")
        try volume.write([2, 3], to: id, at: 1)
        #expect(try volume.fileSystem.trashUsage().bytes == 3)
        _ = try volume.restore("f")
        #expect(try volume.content("f") == [1, 2, 3])
        try volume.unlink("f")
        // Discarded while it is held, it lives until it is let go.
        _ = try volume.fileSystem.emptyTrash(below: [], before: test.clock.now(), after: 0)
        #expect(try volume.fileSystem.attributes(of: id).size == 3)
        volume.fileSystem.forget(id, count: 1, session: volume.session)
        #expect(errno { _ = try volume.fileSystem.attributes(of: id) } == .stale)
        try test.check()
    }

    @Test("time takes everything, the oldest first, and a directory after what was in it")
    func expiry() throws {
        let test = try TrashVolume()
        let volume = test.volume
        try volume.directory("d")
        for number in 0..<1200 { try volume.file("d/\(number)", [1]) }
        test.clock.pass(seconds: 10)
        try volume.removeAll("d")
        try volume.file("later", [1])
        test.clock.pass(seconds: 1800)
        try volume.unlink("later")
        test.clock.pass(seconds: 1790)
        #expect(try volume.trashed().count == 1202)
        test.clock.pass(seconds: 60)
        try volume.fileSystem.synchronize()
        try eventually("what is old goes") {
            // Any change wakes the thread that commits.
            try volume.file("w"); try volume.unlink("w"); test.clock.pass(seconds: 6)
            usleep(50_000)
            return try volume.trashed() == ["later"]
        }
        #expect(try volume.fileSystem.usage().files == 2)
        test.settings.set(retentionNanoseconds: 0, countsInLimits: false, keepsTruncated: false)
        try volume.file("x", [1])
        try volume.unlink("x")
        #expect(try !volume.trashed().contains("x"), "off: nothing more is kept")
        try test.check()
    }

    @Test("emptying by path and age takes that and no more")
    func emptied() throws {
        let test = try TrashVolume()
        let volume = test.volume
        for top in ["a", "b"] {
            try volume.directory(top)
            try volume.file("\(top)/f", [1, 2])
        }
        test.clock.pass(seconds: 10)
        try volume.removeAll("a")
        let between = test.clock.now()
        try volume.removeAll("b")
        let none = try volume.fileSystem.emptyTrash(below: [try FileName("b")], before: between, after: 0)
        #expect(none.count == 0)
        let some = try volume.fileSystem.emptyTrash(below: [try FileName("a")], before: test.clock.now(), after: 0)
        #expect(some.count == 2 && some.bytes == 2 && some.next == nil)
        #expect(try volume.trashed() == ["b/f", "b"])
        try test.check()
    }

    @Test("a truncated file's content is kept where that is asked for")
    func truncated() throws {
        let test = try TrashVolume(truncated: true)
        let volume = test.volume
        try volume.directory("d")
        let bytes = [UInt8](repeating: 7, count: 3_000_000)
        try volume.file("d/f", bytes)
        try volume.truncate("d/f", 10)
        try volume.truncate("d/f", 3_000_000)
        try volume.truncate("d/f", 0)
        #expect(try volume.trashed() == ["d/f"])
        _ = try volume.restore("d/f", .latest, .beside)
        #expect(try volume.content("d/f.restored").prefix(11) == Array(repeating: 7, count: 10) + [0])
        #expect(try volume.content("d/f") == [])
        try test.check()
    }

    @Test("the trash counts for no limit, or gives way before one where it does")
    func limits() throws {
        for counts in [false, true] {
            let test = try TrashVolume(sizeLimit: 1000, counts: counts)
            let volume = test.volume
            try volume.file("a", Array(repeating: 1, count: 600))
            try volume.unlink("a")
            #expect(try volume.fileSystem.statistics().freeBytes == (counts ? 400 : 1000))
            try volume.file("b", Array(repeating: 1, count: 600))
            #expect(try volume.trashed() == (counts ? [] : ["a"]))
            // A volume that would be too full by it takes nothing back.
            if !counts { #expect(errno { _ = try volume.restore("a") } == .noSpace) }
            #expect(errno { try volume.file("c", Array(repeating: 1, count: 500)) } == .noSpace)
            try test.check("counts \(counts)")
        }
    }

    @Test("what rm -r removed comes back as it was, whatever it was", arguments: 0..<40)
    func whole(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let test = try TrashVolume()
        let tree = VolumeTree(volume: test.volume)
        for _ in 0..<120 {
            let operation = Operation.random(&generator)
            // Of a file with several names the last one alone comes back.
            if case .link = operation { continue }
            _ = tree.perform(operation)
        }
        let before = try tree.picture()
        test.clock.pass(seconds: 10)
        let start = test.clock.now()
        try test.volume.removeAll("")
        #expect(try tree.picture().isEmpty)
        for name in Set(before.keys.compactMap { $0.split(separator: "/").first.map(String.init) }) {
            let outcome = try test.volume.restore(name, .at(start))
            #expect(outcome.ended == nil && outcome.occupiedCount == 0, "seed \(seed): \(name)")
        }
        let after = try tree.picture()
        for path in Set(before.keys).union(after.keys).sorted() where before[path] != after[path] {
            Issue.record("seed \(seed): \(path) was \(before[path] ?? "missing") and is \(after[path] ?? "missing")")
        }
        try test.check("seed \(seed)")
    }
}
