import FileModel
import Glibc
import LinuxSystem
import Metadata
import SQLiteMetadata
import TestSupport
import Testing

@Suite("metadata in SQLite")
struct EngineTests {
    private let directory = TemporaryDirectory()

    private func open() throws -> SQLiteMetadataStore { try SQLiteMetadataStore(path: "\(directory.path)/meta.db") }

    private func file(_ id: InodeID, size: UInt64 = 0) -> Inode {
        Inode(
            id: id, kind: .regular, permissions: 0o644, userID: 0, groupID: 0, linkCount: 1, size: size,
            time: Timestamp(nanoseconds: 1))
    }

    @Test("what a body did is there after commit and a new opening, and ids are never given twice")
    func durable() throws {
        var store = try open()
        let id = try store.transaction { transaction throws(Errno) in
            let id = try transaction.allocateInodeID()
            try transaction.insert(file(id))
            try transaction.link(FileName(trusted: [0xFF, 0x00 + 1]), in: .root, to: id)
            #expect(try transaction.setAttribute([1, 2], to: [], of: id) == 2)
            #expect(try transaction.attributeSizes(of: id) == AttributeSizes(bytes: 2, listBytes: 3))
            return id
        }
        try store.close()
        store = try open()
        try store.transaction { transaction throws(Errno) in
            #expect(try transaction.entry(FileName(trusted: [0xFF, 1]), in: .root) == id)
            #expect(try transaction.attribute([1, 2], of: id) == [])
            #expect(try transaction.usage().files == 1)
            try transaction.remove(id)
            #expect(try transaction.allocateInodeID() > id)
        }
        try store.close()
    }

    @Test("after a fault nothing is acknowledged, also what caches would take, and what was is told to be lost")
    func faulty() throws {
        let store = try open()
        let (first, second) = (InodeID(rawValue: 7), InodeID(rawValue: 8))
        func setMode(_ id: InodeID) throws {
            try store.transaction { transaction throws(Errno) in
                var inode = file(id)
                inode.permissions = 0o600
                try transaction.update(inode)
            }
        }
        func modes() throws -> [UInt32?] {
            try store.transaction { transaction throws(Errno) in
                _ = try transaction.touch(second, accessed: Timestamp(nanoseconds: 9))
                return [try transaction.inode(first)?.permissions, try transaction.inode(second)?.permissions]
            }
        }
        try store.transaction { transaction throws(Errno) in
            for id in [first, second] { try transaction.insert(file(id)) }
        }
        try store.commit(prepare: {})
        try setMode(first)
        #expect(throws: Errno.io) { try store.commit { () throws(Errno) in throw .io } }
        for _ in 0..<2 {
            #expect(throws: Errno.readOnly) { try setMode(second) }
            #expect(try modes() == [0o644, 0o644])
        }
        #expect(try store.reopen() == [first])
        #expect(store.failure == nil)
        #expect(try modes() == [0o644, 0o644])
        try setMode(second)
        #expect(try modes() == [0o644, 0o600])
        try store.close()
    }

    @Test(
        "what a fault takes back of the volume's own housekeeping is not lost: nobody was told; all else is, written or not"
    )
    func untold() throws {
        let store = try open()
        let ids = (7...12).map { InodeID(rawValue: $0) }
        func setMode(_ id: InodeID, by isRequest: Bool) throws {
            let body = { (transaction: any MetadataTransaction) throws(Errno) in
                var inode = file(id)
                inode.permissions = isRequest ? 0o600 : 0o700
                try transaction.update(inode)
            }
            if isRequest { try store.transaction(body) } else { try store.maintenance(body) }
        }
        try store.transaction { transaction throws(Errno) in
            for id in ids { try transaction.insert(file(id)) }
        }
        try store.commit(prepare: {})
        try setMode(ids[0], by: false)
        try setMode(ids[1], by: true)
        // Both, in either order.
        try setMode(ids[2], by: false)
        try setMode(ids[2], by: true)
        try setMode(ids[3], by: true)
        try setMode(ids[3], by: false)
        // So many that records are written into the open transaction in between.
        try store.maintenance { transaction throws(Errno) in
            for number in 100..<66_000 { try transaction.insert(file(InodeID(rawValue: UInt64(number)))) }
        }
        try setMode(ids[1], by: false)
        try setMode(ids[4], by: false)
        try setMode(ids[0], by: false)
        #expect(throws: Errno.io) { try store.commit { () throws(Errno) in throw .io } }
        #expect(try store.reopen() == [ids[1], ids[2], ids[3]])
        // The same inodes, after it.
        try setMode(ids[4], by: true)
        #expect(throws: Errno.io) { try store.commit { () throws(Errno) in throw .io } }
        #expect(try store.reopen() == [ids[4]])
        try store.close()
    }

    @Test("a count that is damaged traps nobody who deletes")
    func damagedCounts() throws {
        var store = try open()
        let id = InodeID(rawValue: 7)
        let extent = Extent(fileOffset: 0, length: 100, pack: PackID(epoch: 1, sequence: 1), packOffset: 0)
        try store.transaction { transaction throws(Errno) in
            try transaction.putPack(PackRecord(id: extent.pack, state: .staged))
            try transaction.insert(file(id, size: 100))
            _ = try transaction.replaceExtents(of: id, in: 0..<100, with: [extent])
        }
        try store.close()
        try Shell.root.run(
            "sqlite3 '\(directory.path)/meta.db' \"UPDATE quota SET used = 0 WHERE name IN ('files', 'bytes')\"")
        store = try open()
        try store.transaction { transaction throws(Errno) in
            #expect(try transaction.replaceExtents(of: id, in: 0..<100, with: []) == -100)
            try transaction.remove(id)
            #expect(try transaction.usage() == Usage(files: 0, bytes: 0))
        }
        try store.close()
    }

    @Test("an orphan that got a name and lost it again between two commits leaves no mark when it goes")
    func orphanMarks() throws {
        let store = try open()
        let id = try store.transaction { transaction throws(Errno) in
            let id = try transaction.allocateInodeID()
            var nameless = file(id)
            nameless.linkCount = 0
            try transaction.insert(nameless)
            try transaction.addOrphan(id)
            return id
        }
        try store.commit(prepare: {})
        try store.transaction { transaction throws(Errno) in
            try transaction.removeOrphan(id)
            try transaction.addOrphan(id)
            try transaction.remove(id)
        }
        try store.commit(prepare: {})
        #expect(try store.transaction { transaction throws(Errno) in try transaction.orphans(limit: 10) } == [])
        try store.close()
    }

    @Test("after a fault the last good commit can be read, and nothing can be changed")
    func fault() throws {
        let store = try open()
        let name = FileName(trusted: [1])
        func make(_ name: FileName) throws -> InodeID {
            try store.transaction { transaction throws(Errno) in
                let id = try transaction.allocateInodeID()
                try transaction.insert(file(id))
                try transaction.link(name, in: .root, to: id)
                return id
            }
        }
        let kept = try make(name)
        try store.commit(prepare: {})
        let lost = try make(FileName(trusted: [2]))
        #expect(throws: Errno.io) { try store.commit { () throws(Errno) in throw .io } }
        #expect(store.failure != nil)
        try store.transaction { transaction throws(Errno) in
            #expect(try transaction.entry(name, in: .root) == kept)
            #expect(try transaction.inode(kept) == file(kept))
            #expect(try transaction.inode(lost) == nil)
            #expect(try transaction.entry(FileName(trusted: [2]), in: .root) == nil)
            #expect(try transaction.usage().files == 1)
        }
        #expect(throws: Errno.io) { try make(FileName(trusted: [3])) }
        #expect(throws: Errno.io) { try store.commit(prepare: {}) }
    }

    @Test("extents are replaced, split and counted, and a rehearsed body leaves nothing")
    func extents() throws {
        let store = try open()
        let pack = PackID(epoch: 1, sequence: 1)
        func extent(_ offset: UInt64, _ length: UInt64, _ start: UInt64) -> Extent {
            Extent(fileOffset: offset, length: length, pack: pack, packOffset: start)
        }
        let id = try store.transaction { transaction throws(Errno) in
            let id = try transaction.allocateInodeID()
            try transaction.insert(file(id, size: 100))
            try transaction.putPack(PackRecord(id: pack, state: .staged))
            #expect(try transaction.replaceExtents(of: id, in: 0..<100, with: [extent(0, 100, 0)]) == 100)
            return id
        }
        let body = { (transaction: any MetadataTransaction) throws(Errno) -> [Extent] in
            #expect(try transaction.replaceExtents(of: id, in: 40..<60, with: [extent(45, 5, 200)]) == -15)
            #expect(try transaction.pack(pack)?.liveBytes == 85)
            return try transaction.extents(of: id, overlapping: 0..<100)
        }
        let expected = [extent(0, 40, 0), extent(45, 5, 200), extent(60, 40, 60)]
        #expect(try store.rehearse(body) == expected)
        #expect(try store.transaction(body) == expected)
        try store.transaction { transaction throws(Errno) in
            #expect(try transaction.usage().bytes == 85)
            #expect(try transaction.firstExtent(of: id, from: 41)?.fileOffset == 45)
            try transaction.remove(id)
            #expect(try transaction.usage() == Usage(files: 0, bytes: 0))
            #expect(try transaction.pack(pack)?.liveBytes == 0)
        }
        try store.close()
    }

    @Test("a body that throws has changed nothing that the next one sees")
    func refusal() throws {
        let store = try open()
        #expect(throws: Errno.noSpace) {
            try store.transaction { transaction throws(Errno) in
                _ = try transaction.usage()
                throw .noSpace
            }
        }
        #expect(
            try store.transaction { transaction throws(Errno) in try transaction.usage() } == Usage(files: 0, bytes: 0))
        try store.close()
    }

    @Test("a small file with a 20-byte name takes at most 150 bytes of database")
    func size() throws {
        let store = try open()
        let pack = PackID(epoch: 1, sequence: 1)
        let count = 100_000
        for batch in 0..<100 {
            try store.transaction { transaction throws(Errno) in
                if batch == 0 { try transaction.putPack(PackRecord(id: pack, state: .staged)) }
                for number in 0..<count / 100 {
                    let id = try transaction.allocateInodeID()
                    try transaction.insert(file(id, size: 4096))
                    let digits = "\(batch * 1000 + number)"
                    let name = "ligand-" + String(repeating: "0", count: 13 - digits.count) + digits
                    try transaction.link(FileName(trusted: Array(name.utf8)), in: .root, to: id)
                    let extent = Extent(
                        fileOffset: 0, length: 4096, pack: pack, packOffset: UInt64(batch * 1000 + number) * 4096)
                    _ = try transaction.replaceExtents(of: id, in: 0..<4096, with: [extent])
                }
            }
        }
        try store.close()
        var status = stat()
        try #require(stat("\(directory.path)/meta.db", &status) == 0)
        #expect(Int(status.st_size) / count <= 150, "\(Int(status.st_size) / count) bytes for a file")
    }

    @Test("a second opening is refused with what to do")
    func exclusive() throws {
        let store = try open()
        let failure = #expect(throws: MetadataOpenFailure.self) { _ = try open() }
        #expect(failure?.description.contains("another server has this volume open") == true)
        try store.close()
    }

    @Test("looking at more inodes than fit in memory loses neither their changes nor their access times")
    func manyInodes() throws {
        var store = try open()
        let count = 150_000
        for _ in 0..<count {
            try store.transaction { transaction throws(Errno) in
                let id = try transaction.allocateInodeID()
                try transaction.insert(file(id))
            }
        }
        try store.commit(prepare: { () throws(Errno) in })
        func time(_ id: Int) -> Timestamp { Timestamp(nanoseconds: Int64(1000 + id)) }
        for id in 1...count {
            _ = try store.transaction { transaction throws(Errno) in
                try transaction.touch(InodeID(rawValue: UInt64(id)), accessed: time(id))
            }
        }
        for reopened in [false, true] {
            if reopened {
                try store.close()
                store = try open()
            }
            for id in 1...count {
                let inode = try store.transaction { transaction throws(Errno) in
                    try transaction.inode(InodeID(rawValue: UInt64(id)))
                }
                guard inode?.accessed == time(id) else {
                    Issue.record("inode \(id), reopened \(reopened): \(String(describing: inode))")
                    return
                }
            }
        }
        try store.close()
    }
}
