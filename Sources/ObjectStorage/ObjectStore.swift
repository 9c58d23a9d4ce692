import FileModel

/// The name of an object: parts of `[A-Za-z0-9._-]` joined by '/', never starting with a dot.
public struct ObjectName: Hashable, Sendable, CustomStringConvertible {
    public let description: String

    /// Nil for a name that could leave the store.
    public init?(_ text: String) {
        let parts = text.utf8.split(separator: 0x2F, omittingEmptySubsequences: false)
        func isAllowed(_ byte: UInt8) -> Bool {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
            default: false
            }
        }
        guard !parts.isEmpty, text.utf8.count <= 1024,
            parts.allSatisfy({ $0.first.map { $0 != 0x2E } ?? false && $0.allSatisfy(isAllowed) })
        else { return nil }
        description = text
    }

    /// Where a pack lies: `packs/<epoch>/<id>`, so that no directory grows past one writer's packs.
    public init(pack: PackID) {
        let id = pack.description
        description = "packs/" + id.prefix(8) + "/" + id
    }
}

/// Why a store refused or failed.
public enum ObjectStoreError: Error, Equatable, Sendable {
    /// There is no object of that name.
    case missing
    /// Another object has that name. Objects are put once.
    case exists
    /// The object ends before the range that was asked for.
    case short
    /// Everything else, in one line that names the object, the cause and the fix.
    case failed(Errno, String)
}

extension ObjectStoreError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .missing: "the object is not in the store"
        case .exists: "the store holds another object of that name"
        case .short: "the object is shorter than it should be"
        case .failed(_, let words): words
        }
    }
}

/// A place for immutable objects: a directory or a bucket. All calls block and can come from any thread.
public protocol ObjectStore: Sendable {
    /// Stores an object whole or not at all; durable when it returns. The same bytes under the same name
    /// again are no error, because a put whose reply was lost is repeated.
    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError)
    /// Reads exactly `range` of the object into `buffer`, which has that size.
    func get(
        _ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError)
    /// Bytes of the object.
    func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64
    /// The object's last bytes, `count` or all of it. One request where the store can.
    func tail(_ name: ObjectName, count: Int) throws(ObjectStoreError) -> ObjectTail
    /// Removes the object; one that is not there is no error.
    func delete(_ name: ObjectName) throws(ObjectStoreError)
    /// Every object's name, in no order.
    func list() throws(ObjectStoreError) -> [ObjectName]
    /// Every object with its length and age, in no order.
    func objects() throws(ObjectStoreError) -> [ObjectInfo]
    /// Removes what puts that never ended left behind, where it has not changed for so many seconds. Answers how many.
    func sweep(olderThan seconds: Int64) throws(ObjectStoreError) -> Int
    /// Room, where the store can tell: bytes in all and bytes free.
    func capacity() -> (total: UInt64, free: UInt64)?
    /// How many puts at once it takes gladly.
    var parallelPuts: Int { get }
    /// The same store for what nobody waits for: it steps back behind the rest.
    var inBackground: any ObjectStore { get }
    /// The same store for one errand, with which its requests end. What a local disk does in no time is not ended.
    func on(_ errand: StoreErrand) -> any ObjectStore
}

extension ObjectStore {
    public var parallelPuts: Int { 1 }
    public var inBackground: any ObjectStore { self }
    public func on(_ errand: StoreErrand) -> any ObjectStore { self }
}
