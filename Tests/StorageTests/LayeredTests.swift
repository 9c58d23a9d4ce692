import FileModel
import ObjectStorage
import Testing

/// A store that only tells what is asked of it.
private final class Asked: ObjectStore {
    let parallelPuts: Int
    private let background: Asked?
    private let errand: StoreErrand?

    init(parallelPuts: Int, background: Asked? = nil, errand: StoreErrand? = nil) {
        self.parallelPuts = parallelPuts
        self.background = background
        self.errand = errand
    }

    var inBackground: any ObjectStore { background ?? self }
    func on(_ errand: StoreErrand) -> any ObjectStore { Asked(parallelPuts: parallelPuts, errand: errand) }
    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {}
    func get(
        _ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) {}
    func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 {
        if errand?.isOver == true { throw .failed(.io, "over") }
        return UInt64(parallelPuts)
    }
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
        let errand = StoreErrand()
        let view = store.on(errand)
        #expect(try view.size(ObjectName(pack: old)) == 3 && view.size(ObjectName(pack: new)) == 8)
        errand.finish()
        for pack in [old, new] {
            #expect(throws: ObjectStoreError.self) { try view.size(ObjectName(pack: pack)) }
            #expect(try store.size(ObjectName(pack: pack)) > 0, "the end of an errand is nobody else's")
        }
    }
}
