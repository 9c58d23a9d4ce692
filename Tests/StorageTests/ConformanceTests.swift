import FileModel
import ObjectStorage
import TestSupport
import Testing

/// What every store promises.
@Suite("every object store")
struct ConformanceTests {
    private let name = ObjectName(pack: PackID(epoch: 1, sequence: 2))
    private let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 / 3) }

    @Test("keeps an object whole, answers any range of it, and says where it ends", arguments: StoreKind.allCases)
    func ranges(kind: StoreKind) throws {
        let fresh = try FreshStore(kind)
        defer { withExtendedLifetime(fresh) {} }
        let store = fresh.store
        #expect(throws: ObjectStoreError.missing) { try store.size(name) }
        #expect(throws: ObjectStoreError.missing) { try store.get(name, 0, 10) }
        try store.put(name, bytes)
        #expect(try store.size(name) == 10_000)
        #expect(try store.get(name, 0, 10_000) == bytes)
        #expect(try store.get(name, 500, 100) == Array(bytes[500..<600]))
        #expect(try store.get(name, 9_999, 1) == [bytes[9_999]])
        #expect(try store.get(name, 5, 0) == [])
        #expect(throws: ObjectStoreError.short) { try store.get(name, 9_950, 100) }
        #expect(throws: ObjectStoreError.short) { try store.get(name, 10_000, 1) }
        #expect(throws: ObjectStoreError.short) { try store.get(name, 1 << 40, 1) }
    }

    @Test("answers the end of an object, and how long it is", arguments: StoreKind.allCases)
    func tails(kind: StoreKind) throws {
        let fresh = try FreshStore(kind)
        defer { withExtendedLifetime(fresh) {} }
        let store = fresh.store
        #expect(throws: ObjectStoreError.missing) { try store.tail(name, count: 10) }
        try store.put(name, bytes)
        #expect(try store.tail(name, count: 64) == ObjectTail(bytes: Array(bytes.suffix(64)), size: 10_000))
        #expect(try store.tail(name, count: 10_000) == ObjectTail(bytes: bytes, size: 10_000))
        #expect(try store.tail(name, count: 128 << 10) == ObjectTail(bytes: bytes, size: 10_000))
    }

    @Test("takes the same bytes under a name again, and no others", arguments: StoreKind.allCases)
    func once(kind: StoreKind) throws {
        let fresh = try FreshStore(kind)
        defer { withExtendedLifetime(fresh) {} }
        let store = fresh.store
        try store.put(name, bytes)
        try store.put(name, bytes)
        #expect(throws: ObjectStoreError.exists) { try store.put(name, [1, 2]) }
        #expect(throws: ObjectStoreError.exists) { try store.put(name, bytes.reversed()) }
        #expect(try store.get(name, 0, 10_000) == bytes)
    }

    @Test("takes objects of any size up to a pack's, the empty one included", arguments: StoreKind.allCases)
    func sizes(kind: StoreKind) throws {
        let fresh = try FreshStore(kind)
        defer { withExtendedLifetime(fresh) {} }
        let store = fresh.store
        for (number, size) in [0, 1, 65_536, 17 << 20].enumerated() {
            let name = ObjectName(pack: PackID(epoch: 9, sequence: UInt32(number)))
            let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
            try store.put(name, bytes)
            #expect(try store.size(name) == UInt64(size))
            #expect(try store.get(name, 0, size) == bytes)
        }
    }

    @Test("lists every object of its own, past a page, and forgets what is removed", arguments: StoreKind.allCases)
    func listing(kind: StoreKind) async throws {
        let fresh = try FreshStore(kind)
        defer { withExtendedLifetime(fresh) {} }
        let store = fresh.store
        #expect(try store.list().isEmpty)
        let names = (0..<1_105).map { ObjectName(pack: PackID(epoch: UInt32($0 % 3), sequence: UInt32($0))) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for part in 0..<8 {
                group.addTask {
                    for name in names.indices where name % 8 == part { try store.put(names[name], [1]) }
                }
            }
            try await group.waitForAll()
        }
        #expect(try Set(store.list()) == Set(names) && store.list().count == names.count)
        for name in names.dropFirst() { try store.delete(name) }
        try store.delete(names[3])
        #expect(try store.list() == [names[0]])
    }

    @Test("serves many threads at once", arguments: StoreKind.allCases)
    func threads(kind: StoreKind) async throws {
        let fresh = try FreshStore(kind)
        defer { withExtendedLifetime(fresh) {} }
        let store = fresh.store
        let bytes = bytes
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<32 {
                group.addTask {
                    let name = ObjectName(pack: PackID(epoch: 5, sequence: UInt32(number)))
                    try store.put(name, bytes)
                    guard try store.get(name, UInt64(number), 50) == Array(bytes[number..<number + 50]) else {
                        throw TestFailure("other bytes")
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try store.list().count == 32)
    }

    @Test(
        "names cannot leave a store", arguments: ["", "/a", "a/", "../a", "a/../b", "a//b", ".a", "a/.b", "a b", "ü"])
    func names(name: String) {
        #expect(ObjectName(name) == nil)
    }
}
