import FileModel

/// The store of a clone: its own place, and those of the volumes whose packs it shares, which are only read.
///
/// Invariants
/// - A pack's epoch says whose it is: writers of the clone begin above every epoch of its bases.
/// - Nothing is put, deleted or listed anywhere but in its own place.
public struct LayeredStore: ObjectStore {
    /// Another volume's place, and the last epoch whose packs lie there.
    public struct Base: Sendable {
        public var store: any ObjectStore
        public var lastEpoch: UInt32

        public init(store: any ObjectStore, lastEpoch: UInt32) {
            self.store = store
            self.lastEpoch = lastEpoch
        }
    }

    private let own: any ObjectStore
    /// By rising epoch.
    private let bases: [Base]

    public init(own: any ObjectStore, bases: [Base]) {
        self.own = own
        self.bases = bases.sorted { $0.lastEpoch < $1.lastEpoch }
    }

    private func store(of name: ObjectName) -> any ObjectStore {
        guard let last = name.description.words(at: "/").last, let pack = PackID(last),
            let base = bases.first(where: { pack.epoch <= $0.lastEpoch })
        else { return own }
        return base.store
    }

    public func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        try own.put(name, bytes)
    }

    public func get(
        _ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) {
        try store(of: name).get(name, at: offset, into: buffer)
    }

    public func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 { try store(of: name).size(name) }

    public func tail(_ name: ObjectName, count: Int) throws(ObjectStoreError) -> ObjectTail {
        try store(of: name).tail(name, count: count)
    }

    public func delete(_ name: ObjectName) throws(ObjectStoreError) { try own.delete(name) }
    public func list() throws(ObjectStoreError) -> [ObjectName] { try own.list() }
    public func objects() throws(ObjectStoreError) -> [ObjectInfo] { try own.objects() }

    public func sweep(olderThan seconds: Int64) throws(ObjectStoreError) -> Int {
        try own.sweep(olderThan: seconds)
    }

    public func capacity() -> (total: UInt64, free: UInt64)? { own.capacity() }

    public var parallelPuts: Int { own.parallelPuts }

    public var inBackground: any ObjectStore {
        LayeredStore(
            own: own.inBackground,
            bases: bases.map { Base(store: $0.store.inBackground, lastEpoch: $0.lastEpoch) })
    }

    public func on(_ errand: StoreErrand) -> any ObjectStore {
        LayeredStore(
            own: own.on(errand), bases: bases.map { Base(store: $0.store.on(errand), lastEpoch: $0.lastEpoch) })
    }
}
