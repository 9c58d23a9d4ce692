import FileModel
import Glibc
import Metadata
import SQLiteMetadata
import Synchronization
import LinuxSystem
import TestSupport
import Testing
import VFS

@Suite("quotas and usage")
struct QuotaTests {
    private func errno(_ body: () throws -> Void) -> Errno? {
        do { try body() } catch { return error as? Errno }
        return nil
    }

    private func quota(_ volume: OpenedVolume, _ path: String) throws -> Usage {
        let id = try volume.id(path)
        return try #require(try volume.fileSystem.quotas().first { $0.quota.directory == id }).quota.used
    }

    private func check(_ volume: OpenedVolume, _ comment: String = "") throws {
        try volume.close()
        let report = try MetadataChecker.check(path: volume.database)
        #expect(report.problems.count == 0, "\(comment) \(report.problems.lines)")
    }

    /// What a walk finds of a directory. A file with several names counts where the volume says it does.
    private func walked(_ volume: OpenedVolume, _ path: String) throws -> Usage {
        let own = try volume.id(path)
        var usage = Usage(files: 1, bytes: try volume.fileSystem.attributes(of: own).allocated)
        var seen: Set<InodeID> = []
        for (name, listed) in try volume.list(path) {
            let inner = path.isEmpty ? name : "\(path)/\(name)"
            if listed.isDirectory {
                let below = try walked(volume, inner)
                usage = Usage(files: usage.files + below.files, bytes: usage.bytes + below.bytes)
            } else if listed.parent == own, seen.insert(listed.id).inserted {
                usage = Usage(files: usage.files + 1, bytes: usage.bytes + listed.allocated)
            }
        }
        return usage
    }

    @Test("a write, a file, a link, a move and a copy go to the last byte and inode, and never past them")
    func exact() throws {
        let directory = TemporaryDirectory()
        let volume = try OpenedVolume(directory.path)
        try volume.directory("q")
        try volume.directory("o")
        let id = try volume.id("q")
        _ = try volume.fileSystem.setQuota(QuotaLimits(bytes: 1000, inodes: 4), of: id)
        let file = try volume.file("q/a", Array(repeating: 1, count: 900))
        #expect(errno { try volume.write(Array(repeating: 2, count: 101), to: file, at: 900) } == .overQuota)
        #expect(try volume.content("q/a").count == 900, "nothing half written")
        try volume.write(Array(repeating: 2, count: 100), to: file, at: 900)
        try volume.write(Array(repeating: 3, count: 1000), to: file)
        #expect(errno { try volume.write([1], to: file, at: 1000) } == .overQuota)
        #expect(
            errno { try volume.fileSystem.allocate(.allocate, 0..<1001, of: file, caller: volume.caller) } == .overQuota
        )
        try volume.directory("q/d")
        let inner = try volume.file("q/d/e")
        #expect(errno { try volume.file("q/f") } == .overQuota && errno { try volume.directory("q/d/g") } == .overQuota)
        #expect(
            errno {
                _ = try volume.fileSystem.copyRange(
                    from: file, at: 0, to: inner, at: 0, count: 1, caller: volume.caller)
            } == .overQuota)
        #expect(try quota(volume, "q") == Usage(files: 4, bytes: 1000))
        let shown = try volume.fileSystem.statistics(at: inner)
        #expect(shown.totalBytes == 1000 && shown.freeBytes == 0 && shown.totalInodes == 4 && shown.freeInodes == 0)
        #expect(try volume.fileSystem.statistics(at: .root).totalInodes > 4)
        // Moves in and out, and replacing what is there.
        try volume.file("o/x", [1])
        #expect(errno { try volume.rename("o/x", "q/x") } == .overQuota)
        try volume.truncate("q/a", 999)
        try volume.rename("o/x", "q/d/e")
        #expect(try quota(volume, "q") == Usage(files: 4, bytes: 1000))
        try volume.rename("q/d", "o/d")
        #expect(try quota(volume, "q") == Usage(files: 2, bytes: 999))
        #expect(try volume.fileSystem.usage(below: [try FileName("o")]).usage == Usage(files: 3, bytes: 1))
        try volume.file("o/d/more", [1])
        #expect(errno { try volume.rename("o/d", "q/d") } == .overQuota)
        #expect(errno { try volume.link("o/d/more", "q/more") } == .crossDevice)
        // Below what is used: accepted, and nothing can be added.
        _ = try volume.fileSystem.setQuota(QuotaLimits(bytes: 10, inodes: 1), of: id)
        try volume.write([5], to: file)
        #expect(errno { try volume.write([5], to: file, at: 2000) } == .overQuota)
        try volume.unlink("q/a")
        try volume.rmdir("q")
        #expect(try volume.fileSystem.quotas().isEmpty)
        try check(volume)
    }

    @Test("of a write that does not fit, what fits is written, over holes and bytes that are there", arguments: 0..<40)
    func fitting(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let directory = TemporaryDirectory()
        let limit = UInt64.random(in: 1...5000, using: &generator)
        let isQuota = seed.isMultiple(of: 2)
        let volume = try OpenedVolume(directory.path, sizeLimit: isQuota ? nil : limit)
        try volume.directory("q")
        if isQuota {
            _ = try volume.fileSystem.setQuota(QuotaLimits(bytes: limit, inodes: nil), of: try volume.id("q"))
        }
        let id = try volume.file("q/f")
        var refusals = 0
        var content = [UInt8](repeating: 0, count: 12_000)
        var written = Set<Int>()
        for step in 1...30 {
            let count = Int.random(in: 1...2000, using: &generator)
            let offset = Int.random(in: 0...10_000, using: &generator)
            let byte = UInt8(step)
            var fits = 0
            var held = written
            while fits < count, held.contains(offset + fits) || held.count < Int(limit) {
                held.insert(offset + fits)
                fits += 1
            }
            let bytes = [UInt8](repeating: byte, count: count)
            let outcome = bytes.withUnsafeBytes { raw in
                try? volume.fileSystem.writeWhatFits(
                    raw, to: id, at: UInt64(offset), appends: false, caller: volume.caller)
            }
            #expect((outcome?.count ?? 0) == fits, "seed \(seed), step \(step): \(count) at \(offset)")
            written = held
            for position in offset..<offset + fits { content[position] = byte }
            if fits < count { refusals += 1 }
            let used = try volume.fileSystem.usage(below: [try FileName("q")]).usage.bytes
            #expect(used == UInt64(written.count) && used <= limit, "seed \(seed), step \(step)")
        }
        let found = try volume.content("q/f")
        #expect(found == Array(content[..<found.count]), "seed \(seed)")
        #expect(refusals > 0, "seed \(seed): nothing was refused")
        try check(volume, "seed \(seed)")
    }

    @Test("a nameless file has room where it gets its name, or no name")
    func nameless() throws {
        let directory = TemporaryDirectory()
        let volume = try OpenedVolume(directory.path)
        try volume.directory("q")
        _ = try volume.fileSystem.setQuota(QuotaLimits(bytes: 10, inodes: nil), of: try volume.id("q"))
        let id = try volume.fileSystem.createNameless(in: try volume.id("q"), permissions: 0o600, caller: volume.caller)
            .id
        try volume.write(Array(repeating: 1, count: 11), to: id)
        let name = try FileName("n")
        #expect(
            errno { _ = try volume.fileSystem.link(id, as: name, in: try volume.id("q"), caller: volume.caller) }
                == .overQuota)
        var change = AttributeChange()
        change.size = 10
        _ = try volume.fileSystem.setAttributes(of: id, change, caller: volume.caller)
        _ = try volume.fileSystem.link(id, as: name, in: try volume.id("q"), caller: volume.caller)
        #expect(try quota(volume, "q").bytes == 10)
        try check(volume)
    }

    @Test("writers at once never pass a quota or the volume's size by a byte", arguments: [true, false])
    func race(isQuota: Bool) throws {
        let directory = TemporaryDirectory()
        let limit: UInt64 = 1_000_000
        let volume = try OpenedVolume(directory.path, sizeLimit: isQuota ? nil : limit)
        try volume.directory("q")
        if isQuota {
            _ = try volume.fileSystem.setQuota(QuotaLimits(bytes: limit, inodes: nil), of: try volume.id("q"))
        }
        let files = try (0..<4).map { try volume.file("q/\($0)") }
        let fileSystem = volume.fileSystem
        let caller = volume.caller
        let threads = files.map { id in
            WorkerThread(name: "writer") {
                let bytes = [UInt8](repeating: 1, count: 777)
                for step in 0..<1000 {
                    let isRefused = bytes.withUnsafeBytes { raw in
                        (try? fileSystem.write(raw, to: id, at: UInt64(step * 777), appends: false, caller: caller))
                            == nil
                    }
                    if isRefused { return }
                }
            }
        }
        for thread in threads { thread.join() }
        let used = try volume.fileSystem.usage(below: [try FileName("q")]).usage.bytes
        #expect(used <= limit && used > limit - 777)
        try check(volume)
    }

    @Test("appends of many writers fill a quota to its last byte, and no record has another's bytes in it")
    func appends() throws {
        let directory = TemporaryDirectory()
        let limit: UInt64 = 300_001
        let volume = try OpenedVolume(directory.path)
        try volume.directory("q")
        _ = try volume.fileSystem.setQuota(QuotaLimits(bytes: limit, inodes: nil), of: try volume.id("q"))
        let id = try volume.file("q/log")
        let fileSystem = volume.fileSystem
        // A second session: appends take turns.
        let other = Session(name: "other", identity: .oneToOne, isReadOnly: false, invalidate: { _, _ in })
        fileSystem.attach(other)
        let callers = [
            volume.caller, Caller(session: other, userID: 0, groupID: 0, isSuperuser: true, umask: 0),
        ]
        let failures = Atomic<Int>(0)
        let threads = (0..<4).map { number in
            WorkerThread(name: "writer") {
                let record = [UInt8](repeating: UInt8(65 + number), count: 777)
                while true {
                    let outcome = record.withUnsafeBytes { raw in
                        try? fileSystem.writeWhatFits(
                            raw, to: id, at: 0, appends: true, caller: callers[number % 2])
                    }
                    guard let outcome else { return }
                    if outcome.count < 777 { failures.add(1, ordering: .relaxed) }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(try quota(volume, "q").bytes == limit)
        #expect(failures.load(ordering: .relaxed) == 1, "one record was cut")
        let content = try volume.content("q/log")
        #expect(content.count == Int(limit))
        for start in stride(from: 0, to: content.count, by: 777) {
            let record = content[start..<min(start + 777, content.count)]
            #expect(Set(record).count == 1, "at \(start)")
        }
        fileSystem.detach(other)
        try check(volume)
    }

    @Test("a file with several names counts once, in a directory that has one of them")
    func links() throws {
        let directory = TemporaryDirectory()
        let volume = try OpenedVolume(directory.path)
        for name in ["a", "b", "c"] { try volume.directory(name) }
        try volume.file("a/f", [1, 2, 3])
        try volume.link("a/f", "b/g")
        try volume.link("a/f", "a/h")
        func bytes() throws -> [UInt64] {
            try ["a", "b", "c"].map { try volume.fileSystem.usage(below: [try FileName($0)]).usage.bytes }
        }
        #expect(try bytes() == [3, 0, 0])
        try volume.unlink("a/f")
        #expect(try bytes() == [3, 0, 0])
        try volume.rename("a/h", "c/h")
        #expect(try bytes() == [0, 0, 3])
        try volume.unlink("c/h")
        #expect(try bytes() == [0, 3, 0])
        try volume.write([4], to: try volume.id("b/g"), at: 3)
        #expect(try bytes() == [0, 4, 0])
        try check(volume)
    }

    @Test("random operations: every counter is a walk's, every refusal is right, and leaves nothing", arguments: 0..<12)
    func random(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let directory = TemporaryDirectory()
        let trash = TrashSettings(retentionNanoseconds: seed.isMultiple(of: 2) ? 3_600_000_000_000 : 0)
        var volume = try OpenedVolume(directory.path, trash: trash)
        for path in ["d0", "d1", "d0/e"] { try volume.directory(path) }
        var refusals = 0
        for step in 0..<100 {
            if step.isMultiple(of: 20) { try setQuotas(volume, &generator) }
            let tree = VolumeTree(volume: volume)
            let operation = Operation.random(&generator)
            let before = try tree.picture()
            let quotas = try volume.fileSystem.quotas()
            let result = tree.perform(operation)
            let comment = "seed \(seed), step \(step): \(operation) = \(result)"
            if result == EDQUOT {
                refusals += 1
                #expect(try tree.picture() == before, "\(comment)")
                try expectJustified(operation, tree, volume, quotas, comment)
            }
            for (path, quota) in try volume.fileSystem.quotas() {
                let text = String(decoding: path, as: UTF8.self)
                #expect(try walked(volume, text) == quota.used, "\(comment): \(text)")
                guard result != EDQUOT, let old = quotas.first(where: { $0.quota.directory == quota.directory })?.quota
                else { continue }
                #expect(quota.used.bytes <= max(quota.limits.bytes ?? .max, old.used.bytes), "\(comment): \(text)")
                #expect(quota.used.files <= max(quota.limits.inodes ?? .max, old.used.files), "\(comment): \(text)")
            }
            if step.isMultiple(of: 40) {
                try volume.close()
                volume = try OpenedVolume(directory.path, epoch: UInt32(step + 2), trash: trash)
            }
        }
        #expect(try volume.fileSystem.usage(below: []).usage == walked(volume, ""), "seed \(seed)")
        try check(volume, "seed \(seed), \(refusals) refusals")
    }

    /// Without waiting for the disk. A directory that a rename replaced has none.
    private func set(_ limits: QuotaLimits?, _ directory: InodeID, _ volume: OpenedVolume) throws {
        try volume.metadata.transaction { transaction throws(Errno) in
            guard let inode = try transaction.inode(directory), inode.linkCount > 0 else { return }
            try transaction.setQuota(limits, of: directory)
        }
    }

    private func setQuotas(_ volume: OpenedVolume, _ generator: inout SeededGenerator) throws {
        for path in ["", "d0", "d1", "d0/e"] {
            guard let id = try? volume.id(path), try volume.fileSystem.attributes(of: id).isDirectory else { continue }
            let used = try volume.fileSystem.usage(
                below: try path.split(separator: "/").map { try FileName(String($0)) }
            ).usage
            let limits = QuotaLimits(
                bytes: used.bytes + UInt64.random(in: 0...150_000, using: &generator),
                inodes: used.files + UInt64.random(in: 0...3, using: &generator))
            let isSet = Bool.random(using: &generator)
            try set(isSet ? limits : nil, id, volume)
        }
    }

    /// Without quotas the same operation is done, and what it does is more than one of them allowed.
    private func expectJustified(
        _ operation: Operation, _ tree: VolumeTree, _ volume: OpenedVolume, _ quotas: [(path: [UInt8], quota: Quota)],
        _ comment: String
    ) throws {
        for (_, quota) in quotas { try set(nil, quota.directory, volume) }
        #expect(tree.perform(operation) == 0, "\(comment)")
        var isOver = false
        for (_, quota) in quotas { try set(quota.limits, quota.directory, volume) }
        for (_, quota) in try volume.fileSystem.quotas() {
            isOver = isOver || quota.used.bytes > quota.limits.bytes ?? .max
            isOver = isOver || quota.used.files > quota.limits.inodes ?? .max
        }
        #expect(isOver, "\(comment): a refusal without a reason")
    }
}
