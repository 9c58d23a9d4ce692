/// What a listing says of an object.
public struct ObjectInfo: Equatable, Sendable {
    public var name: ObjectName
    /// Bytes.
    public var size: UInt64
    /// When the store got it, by the store's clock, in seconds since 1970; nil where it does not say.
    public var modified: Int64?

    public init(name: ObjectName, size: UInt64, modified: Int64?) {
        self.name = name
        self.size = size
        self.modified = modified
    }
}

extension ObjectStore {
    /// For stores that do not know ages.
    public func objects() throws(ObjectStoreError) -> [ObjectInfo] {
        var found: [ObjectInfo] = []
        for name in try list() { found.append(ObjectInfo(name: name, size: try size(name), modified: nil)) }
        return found
    }

    /// For stores in which a put that never ended leaves nothing.
    public func sweep(olderThan seconds: Int64) throws(ObjectStoreError) -> Int { 0 }
}
