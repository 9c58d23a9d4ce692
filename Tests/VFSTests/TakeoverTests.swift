import FileModel
import Glibc
import LinuxSystem
import Packs
import SQLiteMetadata
import TestSupport
import Testing
import VFS

/// A volume whose process dies at any moment: what the disk holds, which is the last commit, and the memory that its
/// keeper holds are copied, and the copy is taken over.
@Suite("taking over from a dead server")
struct TakeoverTests {
    /// Dies after each of some random operations of a seed, and compares what is taken over with the host's tree.
    private func compare(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let directory = TemporaryDirectory()
        let host = HostTree(root: "\(directory.path)/host")
        try #require(mkdir(host.root, 0o755) == 0 && mkdir("\(directory.path)/v0", 0o700) == 0)
        var legacy = try VolumeLegacy()
        var volume = try OpenedVolume("\(directory.path)/v0", legacy: legacy)
        var dead: [OpenedVolume] = []
        for step in 0..<120 {
            let operation = Operation.random(&generator)
            let expected = host.perform(operation)
            let found = VolumeTree(volume: volume).perform(operation)
            try #require(found == expected, "seed \(seed), step \(step): \(operation)")
            if Int.random(in: 0..<20, using: &generator) == 0 { try volume.fileSystem.synchronize() }
            guard Int.random(in: 0..<20, using: &generator) == 0 else { continue }
            let copy = "\(directory.path)/v\(dead.count + 1)"
            legacy = try Self.die(volume, legacy, copy)
            // It goes on somewhere else: a dead process must not be told from one that is only slow.
            dead.append(volume)
            volume = try OpenedVolume(copy, epoch: UInt32(step + 2), legacy: legacy)
            let (ours, theirs) = (try VolumeTree(volume: volume).picture(), try host.picture())
            for path in Set(ours.keys).union(theirs.keys).sorted() where ours[path] != theirs[path] {
                Issue.record(
                    "seed \(seed), step \(step): \(path) is \(ours[path] ?? "missing"), not \(theirs[path] ?? "there")")
            }
        }
        for volume in dead + [volume] {
            try volume.close()
            let report = try MetadataChecker.check(path: volume.database)
            #expect(report.problems.count == 0, "seed \(seed): \(report.problems.lines)")
        }
    }

    /// What a process that dies now leaves: files as they are, and memory.
    private static func die(_ volume: OpenedVolume, _ legacy: VolumeLegacy, _ copy: String) throws -> VolumeLegacy {
        // Under the lock that commits need: between two of them the disk stands still.
        let copied = try volume.metadata.transaction { _ throws(Errno) in
            Result { () throws -> VolumeLegacy in
                try Shell.root.run("cp -a '\(volume.directory)' '\(copy)'")
                return try VolumeLegacy(copying: legacy)
            }
        }
        return try copied.get()
    }

    @Test("80 seeds of 120 operations, dead on the way: nothing that was acknowledged is lost", arguments: 0..<8)
    func seeds(group: Int) throws {
        for seed in 0..<10 { try compare(seed: UInt64(20_000 + group * 10 + seed)) }
    }

    @Test("a seed nobody chose")
    func fresh() throws {
        for _ in 0..<3 { try compare(seed: UInt64.random(in: 1_000_000 ... .max)) }
    }

    @Test("an inode without a name stays as long as a session that was taken over may hold it, and then goes")
    func orphans() throws {
        let directory = TemporaryDirectory()
        try #require(mkdir("\(directory.path)/v", 0o700) == 0)
        let legacy = try VolumeLegacy()
        let first = try OpenedVolume("\(directory.path)/v", legacy: legacy)
        let new = NewInode(kind: .regular, permissions: 0o600)
        let name = try FileName("f")
        let inode = try first.fileSystem.create(name, in: .root, new, caller: first.caller)
        let other = try first.fileSystem.create(try FileName("g"), in: .root, new, caller: first.caller)
        try first.fileSystem.unlink(name, in: .root, caller: first.caller)
        let second = try OpenedVolume(
            "\(directory.path)/w", epoch: 2, legacy: try Self.die(first, legacy, "\(directory.path)/w"))
        #expect(try second.fileSystem.attributes(of: inode.id).linkCount == 0)
        // Looked up before: the kernel forgets that with the inode.
        second.fileSystem.forget(inode.id, count: 1, session: second.session)
        #expect(throws: Errno.stale) { try second.fileSystem.attributes(of: inode.id) }
        // One that loses its name now, and is forgotten at the end of the session.
        try second.fileSystem.unlink(try FileName("g"), in: .root, caller: second.caller)
        #expect(try second.fileSystem.attributes(of: other.id).linkCount == 0)
        second.fileSystem.detach(second.session)
        #expect(throws: Errno.stale) { try second.fileSystem.attributes(of: other.id) }
        try first.close()
        if let failure = second.fileSystem.close(storeSeconds: 30) { throw TestFailure(failure) }
    }

    @Test("a request that was done and not answered is known to the next server, and to the one after it")
    func requests() throws {
        let directory = TemporaryDirectory()
        try #require(mkdir("\(directory.path)/v", 0o700) == 0)
        let legacy = try VolumeLegacy()
        let first = try OpenedVolume("\(directory.path)/v", legacy: legacy)
        let slots = try #require(first.slots)
        slots.enter()
        slots.begin(40, of: 7, repeated: nil)
        _ = try? first.fileSystem.lookup(try FileName("d"), in: .root, session: first.session)
        slots.begin(42, of: 7, repeated: nil)
        let new = NewInode(kind: .directory, permissions: 0o700)
        let made = try first.fileSystem.create(try FileName("d"), in: .root, new, caller: first.caller)
        var legacies = [try Self.die(first, legacy, "\(directory.path)/w")]
        // Committed meanwhile: the log has it no more.
        try first.fileSystem.synchronize()
        legacies.append(try Self.die(first, legacy, "\(directory.path)/x"))
        slots.leave()
        for (index, place) in ["w", "x"].enumerated() {
            var legacy = legacies[index]
            for turn in 0..<3 {
                let next = try OpenedVolume("\(directory.path)/\(place)", epoch: UInt32(turn + 2), legacy: legacy)
                let slots = try #require(next.slots)
                #expect(slots.mayRepeat)
                slots.enter()
                let bytes = [UInt8](repeating: 0, count: 64)
                bytes.withUnsafeBytes {
                    slots.begin(42, of: 7, repeated: $0)
                    #expect(slots.applied()?.value == made.id.rawValue)
                    slots.begin(40, of: 7, repeated: $0)
                    #expect(slots.applied() == nil, "changed nothing")
                    slots.begin(42, of: 8, repeated: $0)
                    #expect(slots.applied() == nil, "another session's, turn \(turn)")
                }
                slots.leave()
                let copy = "\(directory.path)/\(place)-\(turn)"
                legacy = try Self.die(next, legacy, copy)
                try next.close()
                try Shell.root.run("rm -rf '\(directory.path)/\(place)' && mv '\(copy)' '\(directory.path)/\(place)'")
            }
        }
        try first.close()
    }

    /// What the server that follows one that dies now knows of the request 42 of session 7.
    private func remembered(_ volume: OpenedVolume, _ legacy: VolumeLegacy, _ place: String) throws -> UInt64? {
        let next = try OpenedVolume(place, epoch: 9, legacy: try Self.die(volume, legacy, place))
        defer { try? next.close() }
        let slots = try #require(next.slots)
        slots.enter()
        defer { slots.leave() }
        return [UInt8](repeating: 0, count: 64).withUnsafeBytes {
            slots.begin(42, of: 7, repeated: $0)
            return slots.applied()?.value
        }
    }

    @Test("a request that had only made room in the trash is not taken to be done, and a short write is known as short")
    func parts() throws {
        let directory = TemporaryDirectory()
        try #require(mkdir("\(directory.path)/v", 0o700) == 0)
        let legacy = try VolumeLegacy()
        let trash = TrashSettings(retentionNanoseconds: 3_600_000_000_000, countsInLimits: true, keepsTruncated: false)
        let volume = try OpenedVolume("\(directory.path)/v", sizeLimit: 10_000, trash: trash, legacy: legacy)
        try volume.file("old", Array(repeating: 1, count: 6000))
        try volume.unlink("old")
        let file = try volume.file("new", Array(repeating: 2, count: 1000))
        let slots = try #require(volume.slots)
        slots.enter()
        defer { slots.leave() }
        slots.begin(42, of: 7, repeated: nil)
        // As a write that finds no room begins.
        _ = try volume.fileSystem.emptyTrash(below: [], before: Timestamp(nanoseconds: .max), after: 0)
        #expect(try remembered(volume, legacy, "\(directory.path)/w") == nil)
        let bytes = [UInt8](repeating: 3, count: 20_000)
        let (_, count) = try bytes.withUnsafeBytes {
            try volume.fileSystem.writeWhatFits($0, to: file, at: 1000, appends: false, caller: volume.caller)
        }
        #expect(count == 9000)
        #expect(try remembered(volume, legacy, "\(directory.path)/x") == 9000)
        try volume.close()
    }
}
