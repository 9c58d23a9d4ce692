import FileModel
import Glibc
import LinuxSystem
import Metadata
import SQLiteMetadata
import Synchronization
import TestSupport
import Testing
import VFS

@Suite("what a volume's limits bound")
struct LimitTests {
    private let directory = TemporaryDirectory()

    private func errno(_ body: () throws -> Void) -> Errno? {
        do { try body() } catch { return error as? Errno }
        return nil
    }

    private func set(
        _ name: String, _ value: [UInt8], of id: InodeID, _ volume: OpenedVolume, mode: AttributeMode = .createOrReplace
    ) throws {
        try volume.fileSystem.setAttribute(Array(name.utf8), to: value, of: id, mode: mode, caller: volume.caller)
    }

    private func link(_ name: String, to target: String, _ volume: OpenedVolume) throws {
        let id = try volume.fileSystem.create(
            try FileName(name), in: .root,
            NewInode(kind: .symbolicLink, permissions: 0o777, target: Array(target.utf8)), caller: volume.caller
        ).id
        volume.fileSystem.forget(id, count: 1, session: volume.session)
    }

    private func check(_ volume: OpenedVolume, _ comment: String = "") throws {
        try volume.close()
        let report = try MetadataChecker.check(path: volume.database)
        #expect(report.problems.count == 0, "\(comment) \(report.problems.lines)")
    }

    private func used(_ volume: OpenedVolume) throws -> UInt64 { try volume.fileSystem.usage().bytes }

    @Test("attributes count for the volume's size, in usage, in stat and in statfs, to the last byte")
    func attributes() throws {
        let volume = try OpenedVolume(directory.path, sizeLimit: 1000)
        let id = try volume.file("f", Array(repeating: 1, count: 500))
        try set("user.a", Array(repeating: 2, count: 400), of: id, volume)
        #expect(try used(volume) == 906 && volume.fileSystem.attributes(of: id).allocated == 906)
        #expect(try volume.fileSystem.statistics().freeBytes == 94)
        #expect(errno { try set("user.b", Array(repeating: 2, count: 89), of: id, volume) } == .noSpace)
        #expect(errno { try volume.write(Array(repeating: 3, count: 95), to: id, at: 500) } == .noSpace)
        try set("user.b", Array(repeating: 2, count: 88), of: id, volume)
        #expect(errno { try set("user.a", Array(repeating: 2, count: 401), of: id, volume) } == .noSpace)
        #expect(errno { try link("l", to: "x", volume) } == .noSpace)
        // What does not grow always can.
        try set("user.a", Array(repeating: 5, count: 400), of: id, volume)
        try set("user.a", Array(repeating: 5, count: 10), of: id, volume)
        #expect(try used(volume) == 610)
        try link("l", to: String(repeating: "x", count: 390), volume)
        #expect(errno { try volume.write([1], to: id, at: 500) } == .noSpace)
        try volume.fileSystem.removeAttribute(Array("user.b".utf8), of: id, caller: volume.caller)
        #expect(try used(volume) == 906)
        try volume.unlink("f")
        try volume.unlink("l")
        #expect(try used(volume) == 0)
        try check(volume)
    }

    @Test("attributes count for quotas of directories, of a directory's own as well")
    func quotas() throws {
        let volume = try OpenedVolume(directory.path)
        try volume.directory("q")
        let place = try volume.id("q")
        _ = try volume.fileSystem.setQuota(QuotaLimits(bytes: 1000, inodes: nil), of: place)
        let id = try volume.file("q/f", Array(repeating: 1, count: 500))
        #expect(errno { try set("user.a", Array(repeating: 2, count: 495), of: id, volume) } == .overQuota)
        #expect(errno { try set("user.a", Array(repeating: 2, count: 495), of: place, volume) } == .overQuota)
        try set("user.a", Array(repeating: 2, count: 94), of: place, volume)
        try set("user.a", Array(repeating: 2, count: 394), of: id, volume)
        #expect(try volume.fileSystem.usage(below: [try FileName("q")]).usage == Usage(files: 2, bytes: 1000))
        #expect(errno { try volume.write([1], to: id, at: 500) } == .overQuota)
        // A file with attributes moves with them.
        try volume.directory("o")
        try volume.rename("q/f", "o/f")
        #expect(try volume.fileSystem.usage(below: [try FileName("q")]).usage == Usage(files: 1, bytes: 100))
        #expect(try volume.fileSystem.usage(below: [try FileName("o")]).usage == Usage(files: 2, bytes: 900))
        try check(volume)
    }

    @Test("one inode has 128 KiB of attributes at most, and no more names than can be listed")
    func perInode() throws {
        let volume = try OpenedVolume(directory.path)
        let id = try volume.file("f")
        try set("user.large", Array(repeating: 1, count: 65_536), of: id, volume)
        #expect(errno { try set("user.too", Array(repeating: 1, count: 65_537), of: id, volume) } == .tooBig)
        var count = 0
        while errno({ try set("user.n\(count)", Array(repeating: 1, count: 1000), of: id, volume) }) == nil {
            count += 1
        }
        #expect(count == 65)
        #expect(try volume.fileSystem.attributes(of: id).allocated <= 131_072)
        let many = try volume.file("g")
        let long = String(repeating: "x", count: 240)
        count = 0
        while errno({ try set("user.\(long)\(1000 + count)", [], of: many, volume) }) == nil { count += 1 }
        let names = try volume.fileSystem.attributeNames(of: many)
        #expect(names.count == count && names.reduce(0) { $0 + $1.count + 1 } <= 65_536 && count > 250)
        #expect(errno { try set("user.x\(long)", [], of: many, volume) } == .noSpace)
        try check(volume)
    }

    @Test("names have the name spaces of ext4, and what an older program stored elsewhere can be read and removed")
    func nameSpaces() throws {
        let volume = try OpenedVolume(directory.path)
        let id = try volume.file("f")
        for (name, expected) in [
            ("system.x", Errno.notSupported), ("system.posix_acl", .notSupported), ("system.", .notSupported),
            ("foo.bar", .notSupported), ("foo", .notSupported), ("User.x", .notSupported), ("user", .notSupported),
            ("user.", .invalidArgument), ("trusted.", .invalidArgument), ("security.", .invalidArgument),
        ] {
            #expect(errno { try set(name, [1], of: id, volume) } == expected, "\(name)")
            for hasSome in [false, true] {
                if hasSome { try set("user.some", [1], of: id, volume) }
                let answer = errno {
                    _ = try volume.fileSystem.attribute(Array(name.utf8), of: id, session: volume.session)
                }
                #expect(answer == expected, "\(name)")
                let removal = errno {
                    try volume.fileSystem.removeAttribute(Array(name.utf8), of: id, caller: volume.caller)
                }
                #expect(removal == expected, "\(name)")
            }
        }
        for name in ["user.x", "user..", "trusted.x", "security.capability", "security.x"] {
            try set(name, [1], of: id, volume)
        }
        try link("l", to: "f", volume)
        #expect(errno { try set("user.x", [1], of: try volume.id("l"), volume) } == .notPermitted)
        try set("trusted.x", [1], of: try volume.id("l"), volume)
        // As they were set once, by anybody.
        let old = Array("system.x".utf8)
        try volume.metadata.transaction { transaction throws(Errno) in
            guard var inode = try transaction.inode(id) else { throw .stale }
            inode.allocated += UInt64(try transaction.setAttribute(old, to: [7], of: id))
            try transaction.update(inode)
        }
        #expect(try volume.fileSystem.attribute(old, of: id, session: volume.session) == [7])
        #expect(try volume.fileSystem.attributeNames(of: id).contains(old))
        let stranger = Caller(session: volume.session, userID: 5, groupID: 5, isSuperuser: false, umask: 0)
        #expect(errno { try volume.fileSystem.removeAttribute(old, of: id, caller: stranger) } == .notPermitted)
        try volume.fileSystem.removeAttribute(old, of: id, caller: volume.caller)
        try check(volume)
    }

    /// All that a tree holds, by looking at each thing in it.
    private func walked(_ volume: OpenedVolume, _ path: String = "") throws -> UInt64 {
        func bytes(_ id: InodeID) throws -> UInt64 {
            try volume.fileSystem.attributeNames(of: id).reduce(0) { sum, name in
                let value = try volume.fileSystem.attribute(name, of: id, session: volume.session)
                return sum + UInt64(name.count + value.count)
            }
        }
        var sum = try bytes(try volume.id(path))
        for (name, inode) in try volume.list(path) {
            let inner = path.isEmpty ? name : "\(path)/\(name)"
            if inode.isDirectory {
                sum += try walked(volume, inner)
                continue
            }
            sum += try bytes(inode.id)
            switch inode.kind {
            case .symbolicLink: sum += UInt64(try volume.fileSystem.readLink(inode.id).count)
            // Written whole, by these tests.
            default: sum += inode.size
            }
        }
        return sum
    }

    /// `system.posix_acl_default` of version 2 with a named user and a mask.
    private static let defaultList: [UInt8] = {
        var bytes: [UInt8] = [2, 0, 0, 0]
        for (tag, permissions, id) in [(1, 7, -1), (2, 5, 9), (4, 5, -1), (0x10, 7, -1), (0x20, 0, -1)] {
            bytes += [UInt8(tag), 0, UInt8(permissions), 0]
            bytes += (0..<4).map { UInt8(truncatingIfNeeded: id >> (8 * $0)) }
        }
        return bytes
    }()

    @Test(
        "random changes of data, attributes, lists, links and trash: usage is the sum of all, and never past the limit",
        arguments: 0..<20)
    func random(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let limit: UInt64 = 6000
        let counts = seed.isMultiple(of: 2)
        let settings = TrashSettings(retentionNanoseconds: .max / 4, countsInLimits: counts, keepsTruncated: true)
        var volume = try OpenedVolume(directory.path, sizeLimit: limit, trash: settings)
        let names = ["a", "b", "d", "d/a", "d/b", "d/e"]
        var refusals = 0
        for step in 0..<150 {
            let path = names[Int.random(in: 0..<names.count, using: &generator)]
            let count = [0, 1, 100, 3000].randomElement(using: &generator) ?? 0
            let fault = errno {
                switch Int.random(in: 0..<9, using: &generator) {
                case 0: try volume.file(path, Array(repeating: 1, count: count))
                case 1: try volume.directory(path)
                case 2, 3:
                    let name = ["user.x", "user.yy", "trusted.z"].randomElement(using: &generator) ?? ""
                    try set(name, Array(repeating: 2, count: count), of: try volume.id(path), volume)
                case 4: try set("system.posix_acl_default", Self.defaultList, of: try volume.id("d"), volume)
                case 5: try volume.unlink(path)
                case 6:
                    try volume.fileSystem.removeAttribute(
                        Array("user.x".utf8), of: try volume.id(path), caller: volume.caller)
                case 7: try volume.truncate(path, 0)
                default:
                    if Bool.random(using: &generator) {
                        try link("l\(step)", to: String(repeating: "t", count: count + 1), volume)
                    } else {
                        try volume.rename(path, names[Int.random(in: 0..<names.count, using: &generator)])
                    }
                }
            }
            if fault == .noSpace { refusals += 1 }
            let (all, inTrash) = (try volume.fileSystem.usage(), try volume.fileSystem.trashUsage())
            #expect(all.bytes - inTrash.bytes == (try walked(volume)), "seed \(seed), step \(step)")
            #expect((counts ? all.bytes : all.bytes - inTrash.bytes) <= limit, "seed \(seed), step \(step)")
            if step % 40 == 39 {
                try volume.close()
                volume = try OpenedVolume(
                    directory.path, epoch: UInt32(step + 2), sizeLimit: limit, trash: settings)
            }
        }
        #expect(refusals > 0, "seed \(seed): nothing was refused")
        try check(volume, "seed \(seed)")
    }

    @Test(
        "a volume that its trash has made too large opens, and gives of the trash no more than is needed, and no live data"
    )
    func overfull() throws {
        let counted = TrashSettings(retentionNanoseconds: .max / 4)
        let mebibyte = 1 << 20
        var volume = try OpenedVolume(directory.path, sizeLimit: 8 << 20, trash: counted)
        for number in 0..<30 {
            try volume.file("f", Array(repeating: UInt8(number), count: 2 * mebibyte))
            try volume.unlink("f")
        }
        try volume.file("live", Array(repeating: 9, count: 3 * mebibyte))
        try volume.close()
        counted.set(retentionNanoseconds: .max / 4, countsInLimits: true, keepsTruncated: false)
        volume = try OpenedVolume(directory.path, epoch: 2, sizeLimit: 8 << 20, trash: counted)
        #expect(try volume.fileSystem.trashUsage().bytes == UInt64(60 * mebibyte))
        #expect(try volume.fileSystem.statistics().freeBytes == 0)
        try volume.file("more", Array(repeating: 8, count: mebibyte))
        #expect(try volume.content("live") == Array(repeating: 9, count: 3 * mebibyte))
        let left = try volume.fileSystem.trashUsage().bytes
        #expect(left > 0 && left <= UInt64(4 * mebibyte), "\(left)")
        #expect(try used(volume) <= 8 << 20)
        try check(volume)
    }

    @Test("trash stays where it could not help: what is live fills the volume by itself")
    func trashInVain() throws {
        let settings = TrashSettings(retentionNanoseconds: .max / 4, countsInLimits: true)
        let limits = VolumeLimits(bytes: 1_000_000, inodes: 6)
        let volume = try OpenedVolume(directory.path, limits: limits, trash: settings)
        try volume.file("kept", [1])
        try volume.unlink("kept")
        for number in 0..<4 { try volume.file("f\(number)", [1]) }
        limits.set(bytes: 1_000_000, inodes: 5)
        #expect(errno { try volume.file("g", []) } == .noSpace)
        #expect(try volume.trashed() == ["kept"])
        limits.set(bytes: 4, inodes: 100)
        #expect(errno { try volume.write([1], to: try volume.id("f0"), at: 1) } == .noSpace)
        #expect(try volume.trashed() == ["kept"])
        // Where it helps it goes.
        limits.set(bytes: 100, inodes: 6)
        try volume.file("g", [])
        #expect(try volume.trashed() == [])
        try check(volume)
    }

    @Test("a full volume says once which option to raise, and no more once there is room or the option was raised")
    func words() throws {
        let limits = VolumeLimits(bytes: 100, inodes: 4)
        let volume = try OpenedVolume(directory.path, limits: limits)
        func faults() -> [VolumeFault] { volume.fileSystem.faults.filter { $0.part == .limits } }
        for name in ["a", "b", "c"] { try volume.file(name) }
        #expect(faults().isEmpty)
        #expect(errno { try volume.file("d") } == .noSpace)
        #expect(faults().count == 1 && faults()[0].text.contains("inodes=COUNT"), "\(faults())")
        limits.set(bytes: 100, inodes: 5)
        #expect(faults().isEmpty)
        let id = try volume.file("d")
        #expect(errno { try volume.write(Array(repeating: 1, count: 101), to: id) } == .noSpace)
        #expect(faults().count == 1 && faults()[0].text.contains("size=BYTES"), "\(faults())")
        limits.set(bytes: nil, inodes: nil)
        #expect(faults().isEmpty)
        try volume.write(Array(repeating: 1, count: 101), to: id)
        try check(volume)
    }

    @Test("names beyond a file's first are bounded as inodes are")
    func names() throws {
        let limits = VolumeLimits(bytes: nil, inodes: 4)
        let volume = try OpenedVolume(directory.path, limits: limits)
        try volume.file("f")
        for number in 0..<4 { try volume.link("f", "l\(number)") }
        #expect(errno { try volume.link("f", "m") } == .noSpace)
        try volume.unlink("f")
        try volume.link("l0", "m")
        #expect(errno { try volume.link("m", "n") } == .noSpace)
        limits.set(bytes: nil, inodes: nil)
        try volume.link("m", "n")
        try check(volume)
    }

    @Test("a volume that is somebody else's by now commits nothing more, also where the disk had failed before")
    func somebodyElse() throws {
        let loss = Mutex<String?>(nil)
        let volume = try OpenedVolume(directory.path, loss: { loss.withLock { $0 } })
        try volume.file("a", [1])
        try volume.fileSystem.synchronize()
        loss.withLock { $0 = "host node2 has it" }
        try volume.file("b", [2])
        #expect(errno { try volume.fileSystem.synchronize() } == .io)
        #expect(errno { try volume.file("c", []) } == .readOnly)
        #expect(volume.fileSystem.readOnlyReason == "host node2 has it" && !volume.fileSystem.mayHandOver)
        #expect(errno { _ = try volume.metadata.reopen() } == .io)
        #expect(volume.fileSystem.readOnlyReason == "host node2 has it")
        _ = try? volume.close()
        // What another process finds.
        let copy = TemporaryDirectory()
        try Shell.root.run("cp -a '\(directory.path)/.' '\(copy.path)'")
        let next = try OpenedVolume(copy.path, epoch: 2)
        #expect(try next.content("a") == [1] && errno { _ = try next.id("b") } == .noEntry)
        try check(next)
    }
}
