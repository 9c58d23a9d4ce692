import FileModel
import Glibc
import LinuxSystem
import SQLiteMetadata
import Synchronization
import TestSupport
import Testing

@testable import VFS

/// A site below FUSE: who is there under which number, and which thread has which rights.
final class FakeSite: SiteAccounts {
    struct State {
        var groups: [String: UInt32] = [:]
        var users: [String: UInt32] = [:]
        var threads: [Int32: ThreadCredentials] = [:]
        var isSilent = false
        var questions = 0
    }

    let state: Mutex<State>

    init(groups: [String: UInt32] = [:], users: [String: UInt32] = [:], threads: [Int32: ThreadCredentials] = [:]) {
        state = Mutex(State(groups: groups, users: users, threads: threads))
    }

    func name(of id: UInt32, _ kind: AccountKind) -> SiteAnswer<String> {
        state.withLock { state in
            state.questions += 1
            if state.isSilent { return .unknown }
            return (kind == .user ? state.users : state.groups).first { $0.value == id }.map { .found($0.key) }
                ?? .absent
        }
    }

    func id(of name: String, _ kind: AccountKind) -> SiteAnswer<UInt32> {
        state.withLock { state in
            state.questions += 1
            if state.isSilent { return .unknown }
            return (kind == .user ? state.users : state.groups)[name].map { .found($0) } ?? .absent
        }
    }

    func credentials(ofThread thread: Int32) -> ThreadCredentials? {
        state.withLock { state in
            state.questions += 1
            return state.isSilent ? nil : state.threads[thread]
        }
    }
}

/// A person of a site: uid and gid 1000 with subordinate ids from 100000 on, unless told otherwise.
struct Visitor {
    let volume: OpenedVolume
    let session: Session
    let caller: Caller

    static func identity(own: UInt32 = 1000) -> Identity {
        let map = IdentityMap(ranges: [
            .init(session: own, volume: 0, count: 1), .init(session: 100_000, volume: 1, count: 65536),
        ])
        return Identity(users: map, groups: map, isOfSite: true)
    }

    init(
        _ volume: OpenedVolume, identity: Identity = identity(), user: UInt32 = 0, group: UInt32 = 0, thread: Int32 = 0
    ) {
        self.volume = volume
        session = Session(name: "visitor", identity: identity, isReadOnly: false, invalidate: { _, _ in })
        caller = Caller(
            session: session, userID: user, groupID: group, isSuperuser: false, umask: 0, thread: thread)
    }

    /// chgrp, as the bridge does it.
    func changeGroup(_ path: String, to group: UInt32) throws {
        var change = AttributeChange()
        guard let id = try volume.fileSystem.volumeID(of: group, .group, session, adding: true) else {
            throw Errno.invalidArgument
        }
        change.groupID = id
        _ = try volume.fileSystem.setAttributes(of: try volume.id(path), change, caller: caller)
    }

    func group(_ path: String) throws -> UInt32 {
        let inode = try volume.fileSystem.attributes(of: try volume.id(path))
        return volume.fileSystem.shownID(of: inode.groupID, .group, session)
    }

    func permissions(_ path: String) throws -> UInt32 {
        try volume.fileSystem.attributes(of: try volume.id(path)).permissions
    }

    func setList(_ list: AccessControlList, of path: String, _ name: [UInt8] = AccessControlList.accessAttribute) throws
    {
        try volume.fileSystem.setAttribute(
            name, to: list.encoded(), of: try volume.id(path), mode: .createOrReplace, caller: caller)
    }

    func list(_ path: String) throws -> [AccessControlList.Entry] {
        let value = try volume.fileSystem.attribute(
            AccessControlList.accessAttribute, of: try volume.id(path), session: session)
        return AccessControlList(decoding: value)?.entries ?? []
    }

    /// Named entries of a list, as "u:5:7".
    func named(_ path: String) throws -> [String] {
        try list(path).compactMap { entry in
            entry.kind.map { "\($0 == .user ? "u" : "g"):\(entry.id):\(entry.permissions)" }
        }
    }
}

/// A list with named users and groups, each (tag, id, permissions).
func accessList(_ named: [(tag: UInt16, id: UInt32, permissions: UInt16)]) -> AccessControlList {
    var bytes: [UInt8] = [2, 0, 0, 0]
    func put(_ tag: UInt16, _ permissions: UInt16, _ id: UInt32) {
        bytes += [UInt8(tag), 0, UInt8(permissions), 0] + (0..<4).map { UInt8(truncatingIfNeeded: id >> (8 * $0)) }
    }
    put(1, 7, .max)
    for entry in named where entry.tag == 2 { put(2, entry.permissions, entry.id) }
    put(4, 5, .max)
    for entry in named where entry.tag == 8 { put(8, entry.permissions, entry.id) }
    if !named.isEmpty { put(0x10, 7, .max) }
    put(0x20, 0, .max)
    guard let list = AccessControlList(decoding: bytes) else { preconditionFailure("a list that cannot be") }
    return list
}

@Suite("users and groups of a site, below FUSE")
struct AccountTests {
    private let directory = TemporaryDirectory()
    private let clock = TestClock()

    private func open(_ site: FakeSite, epoch: UInt32 = 1) throws -> OpenedVolume {
        try OpenedVolume(
            directory.path, epoch: epoch, now: clock.now, site: site, machine: Visitor.identity())
    }

    @Test("a group is kept by its name, and every site sees its own number for it, or 65534")
    func sites() throws {
        let first = FakeSite(groups: ["project": 5000, "other": 5001])
        var volume = try open(first)
        try volume.file("f")
        try volume.file("g")
        let visitor = Visitor(volume)
        try visitor.changeGroup("f", to: 5000)
        try visitor.changeGroup("g", to: 5001)
        #expect(try visitor.group("f") == 5000 && visitor.group("g") == 5001)
        #expect(throws: Errno.invalidArgument) { try visitor.changeGroup("f", to: 5002) }
        try volume.close()
        // Elsewhere: another number, another group of the number it had, and one that is not there.
        let second = FakeSite(groups: ["project": 77, "strangers": 5000])
        volume = try open(second, epoch: 2)
        let other = Visitor(volume, identity: Visitor.identity(own: 42))
        #expect(try other.group("f") == 77)
        #expect(try other.group("g") == IdentityMap.overflowID)
        try volume.file("h")
        try other.changeGroup("h", to: 77)
        try volume.close()
        volume = try open(first, epoch: 3)
        let back = Visitor(volume)
        #expect(try back.group("h") == 5000 && back.group("g") == 5001)
        let ids = try volume.metadata.transaction { transaction throws(Errno) in try transaction.namedAccounts() }
        #expect(ids.map(\.name) == ["project", "other"])
        try volume.close()
        #expect(try MetadataChecker.check(path: volume.database).problems.lines == [])
    }

    @Test(
        "a name that nobody answers for is 65534 at first, and its number once somebody does; who has it is asked once")
    func silence() throws {
        let site = FakeSite(groups: ["project": 5000])
        let volume = try open(site)
        try volume.file("f")
        let visitor = Visitor(volume)
        try visitor.changeGroup("f", to: 5000)
        clock.pass(seconds: 100)
        site.state.withLock { $0.isSilent = true }
        #expect(try visitor.group("f") == IdentityMap.overflowID)
        let inode = try volume.fileSystem.attributes(of: try volume.id("f"))
        #expect(volume.fileSystem.mayBeNamed(inode, visitor.session))
        let asked = site.state.withLock { $0.questions }
        for _ in 0..<10 { #expect(try visitor.group("f") == IdentityMap.overflowID) }
        #expect(site.state.withLock { $0.questions } == asked, "a silent service was asked with every request")
        site.state.withLock { $0.isSilent = false }
        clock.pass(seconds: 10)
        for _ in 0..<10 { #expect(try visitor.group("f") == 5000) }
        #expect(site.state.withLock { $0.questions } == asked + 1)
        #expect(!volume.fileSystem.mayBeNamed(inode, visitor.session))
        try volume.close()
    }

    @Test("a session in a user namespace names no group of the site, and shows one as its namespace can")
    func namespaces() throws {
        let site = FakeSite(groups: ["project": 5000], users: ["ann": 1001])
        let volume = try open(site)
        try volume.file("f")
        try Visitor(volume).changeGroup("f", to: 5000)
        let podman = Visitor(volume, identity: .oneToOne)
        #expect(try podman.group("f") == IdentityMap.overflowID)
        #expect(throws: Errno.invalidArgument) { try podman.changeGroup("f", to: NamedAccount.firstID) }
        let only = IdentityMap(ranges: [.init(session: 1000, volume: 0, count: 1)])
        let alone = Visitor(volume, identity: Identity(users: only, groups: only, strangers: 1000))
        #expect(
            try alone.group("f") == 1000, "the kernel refuses writes to a file of a group that it has no number for")
        #expect(throws: Errno.invalidArgument) { try alone.changeGroup("f", to: 5000) }
        // A list with people whom the namespace cannot say comes back whole.
        let host = Visitor(volume)
        try host.setList(accessList([(2, 1001, 6), (8, 5000, 4)]), of: "f")
        #expect(try alone.named("f") == [])
        try alone.setList(accessList([(2, 1000, 1)]), of: "f")
        #expect(try host.named("f") == ["u:1000:1", "u:1001:6", "g:5000:4"])
        try alone.setList(accessList([]), of: "f")
        #expect(throws: Errno.noAttribute) { _ = try host.list("f") }
        try volume.close()
    }

    @Test("a list names whom it names at each site; strangers are one entry, which written back stands for all of them")
    func lists() throws {
        var volume = try open(FakeSite(groups: ["project": 5000, "b": 5001, "c": 5002], users: ["ann": 1001]))
        try volume.file("f")
        try Visitor(volume).setList(accessList([(2, 1001, 6), (8, 5000, 7), (8, 5001, 6), (8, 5002, 5)]), of: "f")
        try volume.close()
        volume = try open(FakeSite(groups: ["project": 70], users: [:]), epoch: 2)
        let other = Visitor(volume)
        #expect(try other.named("f") == ["u:65534:6", "g:70:7", "g:65534:4"])
        // As setfacl does it: the whole list with one entry more, and one changed.
        try other.setList(accessList([(2, 65534, 6), (2, 1000, 1), (8, 70, 1), (8, 65534, 4)]), of: "f")
        #expect(throws: Errno.invalidArgument) { try other.setList(accessList([(8, 71, 4)]), of: "f") }
        try volume.close()
        volume = try open(FakeSite(groups: ["project": 5000, "b": 5001, "c": 5002], users: ["ann": 1001]), epoch: 3)
        let back = Visitor(volume)
        #expect(try back.named("f") == ["u:1001:6", "u:1000:1", "g:5000:1", "g:5001:6", "g:5002:5"])
        try volume.close()
        // What is said of all strangers is said of each.
        volume = try open(FakeSite(), epoch: 4)
        try Visitor(volume).setList(accessList([(2, 1000, 1), (8, 65534, 2)]), of: "f")
        try volume.close()
        volume = try open(FakeSite(groups: ["project": 5000, "b": 5001, "c": 5002], users: ["ann": 1001]), epoch: 5)
        #expect(try Visitor(volume).named("f") == ["u:1000:1", "g:5000:2", "g:5001:2", "g:5002:2"])
        try volume.close()
    }

    @Test(
        "random lists through sites that know some of the names: what is written back unchanged stays as it was",
        arguments: 0..<20)
    func randomLists(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let all = Dictionary(uniqueKeysWithValues: (0..<8).map { ("g\($0)", UInt32(5000 + $0)) })
        let home = FakeSite(groups: all, users: all)
        var volume = try open(home)
        try volume.file("f")
        var named: [(tag: UInt16, id: UInt32, permissions: UInt16)] = []
        for tag: UInt16 in [2, 8] {
            for id in all.values.shuffled(using: &generator).prefix(Int.random(in: 0..<6, using: &generator)) {
                named.append((tag, id, .random(in: 0..<8, using: &generator)))
            }
        }
        try Visitor(volume).setList(accessList(named), of: "f")
        let expected = try? Visitor(volume).named("f").sorted()
        for epoch: UInt32 in 2..<6 {
            try volume.close()
            let known = all.keys.filter { _ in Bool.random(using: &generator) }
            let numbers = Dictionary(uniqueKeysWithValues: known.enumerated().map { ($1, UInt32(900 + $0)) })
            volume = try open(FakeSite(groups: numbers, users: numbers), epoch: epoch)
            let identity = Bool.random(using: &generator) ? Visitor.identity() : .oneToOne
            let visitor = Visitor(volume, identity: identity)
            guard let list = try? visitor.list("f"), var copy = AccessControlList(decoding: accessList([]).encoded())
            else { continue }
            copy.entries = list
            try visitor.setList(copy, of: "f")
        }
        try volume.close()
        volume = try open(home, epoch: 9)
        #expect((try? Visitor(volume).named("f").sorted()) == expected, "seed \(seed)")
        try volume.close()
    }

    @Test("a change of an access list keeps set-group-id for who is in the group by any of their groups")
    func setGroupID() throws {
        let rights = ThreadCredentials(userID: 1000, groupID: 1000, groups: [4, 5000, 100_004])
        let site = FakeSite(groups: ["project": 5000, "other": 5001], threads: [7: rights])
        let volume = try open(site)
        // Of the project, of a subordinate group, of the caller's own group, of a foreign one, and of a foreign subordinate one.
        let groups: [UInt32] = [5000, 100_004, 1000, 5001, 100_005]
        for (index, group) in groups.enumerated() {
            try volume.directory("d\(index)", mode: 0o2770)
            try Visitor(volume).changeGroup("d\(index)", to: group)
        }
        let list = accessList([(8, 5000, 7)])
        func kept(_ visitor: Visitor) throws -> [Bool] {
            try groups.indices.map { index in
                var change = AttributeChange()
                change.permissions = 0o2770
                _ = try volume.fileSystem.setAttributes(of: try volume.id("d\(index)"), change, caller: volume.caller)
                try visitor.setList(list, of: "d\(index)")
                return try visitor.permissions("d\(index)") & 0o2000 != 0
            }
        }
        #expect(try kept(Visitor(volume, thread: 7)) == [true, true, true, false, false])
        // In a container the ids are others, and so are the kernel's; the rights are the same.
        #expect(try kept(Visitor(volume, identity: .oneToOne, thread: 7)) == [true, true, true, false, false])
        // Where nobody can tell it stays: no number, a number of another namespace, a machine that does not answer.
        #expect(try kept(Visitor(volume)) == [true, true, true, true, true])
        #expect(try kept(Visitor(volume, thread: 8)) == [true, true, true, true, true])
        #expect(try kept(Visitor(volume, user: 5, group: 5, thread: 7)) == [true, true, true, true, true])
        site.state.withLock { $0.isSilent = true }
        #expect(try kept(Visitor(volume, thread: 7)) == [true, true, true, true, true])
        try volume.close()
    }

    @Test("set-group-id of new files and after chgrp and truncate hangs on all of the caller's groups, too")
    func otherPlaces() throws {
        let rights = ThreadCredentials(userID: 1000, groupID: 1000, groups: [5000])
        let volume = try open(FakeSite(groups: ["project": 5000, "other": 5001], threads: [7: rights]))
        let visitor = Visitor(volume, thread: 7)
        for (name, group) in [("in", UInt32(5000)), ("out", 5001)] {
            let id = try volume.directory(name, mode: 0o2777)
            try visitor.changeGroup(name, to: group)
            let new = NewInode(kind: .regular, permissions: 0o2775)
            let made = try volume.fileSystem.create(try FileName("f"), in: id, new, caller: visitor.caller)
            #expect(made.permissions == (name == "in" ? 0o2775 : 0o775))
            #expect(try visitor.group("\(name)/f") == group)
            let nameless = try volume.fileSystem.createNameless(in: id, permissions: 0o2775, caller: visitor.caller)
            #expect(nameless.permissions == (name == "in" ? 0o2775 : 0o775))
            // Without execution by the group.
            try volume.file("\(name)/t", [1], mode: 0o2664)
            try visitor.changeGroup("\(name)/t", to: group)
            for permissions: UInt32 in [0o2664, 0o2674] {
                var mode = AttributeChange()
                mode.permissions = permissions
                let id = try volume.id("\(name)/t")
                _ = try volume.fileSystem.setAttributes(of: id, mode, caller: volume.caller)
                var size = AttributeChange()
                size.size = 0
                let after = try volume.fileSystem.setAttributes(of: id, size, caller: visitor.caller).permissions
                #expect(after == (name == "in" && permissions == 0o2664 ? 0o2664 : permissions & 0o777))
            }
        }
        let asked = (volume.configuration.site as? FakeSite)?.state.withLock { $0.questions }
        for index in 0..<50 { try volume.file("plain\(index)", [1]) }
        #expect((volume.configuration.site as? FakeSite)?.state.withLock { $0.questions } == asked, "a hot path asks")
        try volume.close()
    }

    @Test("names survive a crash with the files that have them, snapshots, clones and a restoration of the whole")
    func kept() throws {
        let site = FakeSite(groups: ["project": 5000, "late": 5001])
        let volume = try open(site)
        try volume.file("f")
        let visitor = Visitor(volume)
        try visitor.changeGroup("f", to: 5000)
        try volume.fileSystem.synchronize()
        let copy = "\(directory.path)/copy.db"
        try volume.metadata.copy(to: copy, prepare: {}, change: { _ in })
        try volume.file("g")
        try visitor.changeGroup("g", to: 5001)
        let records = try SQLiteSnapshot(path: copy)
        let snapshot = FileSystem(snapshot: records, packs: volume.packs, configuration: volume.configuration)
        let shown = try snapshot.lookup(try FileName("f"), in: .root, session: visitor.session)
        #expect(snapshot.shownID(of: shown.groupID, .group, visitor.session) == 5000)
        try records.close()
        // The whole volume as it was: the name that came later keeps its number, which other snapshots may name.
        try volume.metadata.replaceContent(withCopyAt: copy, prepare: {})
        let names = try volume.metadata.transaction { transaction throws(Errno) in try transaction.namedAccounts() }
        #expect(names.map(\.name) == ["project", "late"])
        try volume.close()
        #expect(try MetadataChecker.check(path: volume.database).problems.lines == [])
    }

    @Test("a server that dies right after a chgrp leaves the group and its name to the next")
    func death() throws {
        let site = FakeSite(groups: ["project": 5000])
        let legacy = try VolumeLegacy()
        try #require(mkdir("\(directory.path)/v", 0o700) == 0)
        let volume = try OpenedVolume(
            "\(directory.path)/v", legacy: legacy, now: clock.now, site: site, machine: Visitor.identity())
        try volume.file("f")
        try volume.fileSystem.synchronize()
        // Neither the name nor the group is in the database yet.
        try Visitor(volume).changeGroup("f", to: 5000)
        let left = try VolumeLegacy(copying: legacy)
        try Shell.root.run("cp -a '\(directory.path)/v' '\(directory.path)/w'")
        try volume.close()
        let next = try OpenedVolume(
            "\(directory.path)/w", epoch: 2, legacy: left, now: clock.now, site: site, machine: Visitor.identity())
        #expect(try Visitor(next).group("f") == 5000)
        try next.close()
        #expect(try MetadataChecker.check(path: next.database).problems.lines == [])
    }
}
