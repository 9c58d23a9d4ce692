import FileModel
import ObjectStorage
import Synchronization
import Testing

/// A store that only tells what is asked of it.
private final class Asked: ObjectStore {
    let abandoned = Atomic<Int>(0)
    let parallelPuts: Int
    private let background: Asked?

    init(parallelPuts: Int, background: Asked? = nil) {
        self.parallelPuts = parallelPuts
        self.background = background
    }

    var inBackground: any ObjectStore { background ?? self }
    func abandon(_ what: AbandonedRequests) { abandoned.store(what.rawValue, ordering: .relaxed) }
    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {}
    func get(
        _ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) {}
    func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 { UInt64(parallelPuts) }
    func delete(_ name: ObjectName) throws(ObjectStoreError) {}
    func list() throws(ObjectStoreError) -> [ObjectName] { [] }
    func capacity() -> (total: UInt64, free: UInt64)? { nil }
}

@Suite("the store of a clone")
struct LayeredTests {
    @Test("it takes as many puts as its own place, steps back where both do, and ends the requests of both")
    func asItsPlaces() throws {
        let (own, base) = (Asked(parallelPuts: 8, background: Asked(parallelPuts: 80)), Asked(parallelPuts: 3))
        let store = LayeredStore(own: own, bases: [.init(store: base, lastEpoch: 5)])
        #expect(store.parallelPuts == 8)
        let (old, new) = (PackID(epoch: 5, sequence: 1), PackID(epoch: 6, sequence: 1))
        #expect(try store.inBackground.size(ObjectName(pack: old)) == 3)
        #expect(try store.inBackground.size(ObjectName(pack: new)) == 80)
        store.abandon(.everything)
        #expect(own.abandoned.load(ordering: .relaxed) == AbandonedRequests.everything.rawValue)
        #expect(base.abandoned.load(ordering: .relaxed) == AbandonedRequests.everything.rawValue)
    }
}
