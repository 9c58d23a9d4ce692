import FileModel

/// Something that a foreign store holds.
public struct ForeignEntry: Sendable, Equatable {
    public enum Content: Sendable, Equatable {
        /// Data; `tag` is the object's, see `ForeignObject`.
        case object(size: UInt64, tag: String)
        case directory
        case symbolicLink(target: [UInt8])
        /// Another name for what was listed before, by its key.
        case hardLink(to: [UInt8])
        /// What no volume can take, and why.
        case other(String)
    }

    /// Below the store's URL.
    public var key: [UInt8]
    public var content: Content
    public var permissions: UInt32
    public var modified: Timestamp

    public init(key: [UInt8], content: Content, permissions: UInt32, modified: Timestamp) {
        self.key = key
        self.content = content
        self.permissions = permissions
        self.modified = modified
    }
}

/// Objects that somebody else writes, and that are only read here. All calls block and can come from any thread.
public protocol ForeignStore: Sendable {
    /// Fills `buffer` from `offset` on. The bytes are those of the very object that is asked for: one that has changed or
    /// is gone answers ESTALE, with its name.
    func read(
        _ object: ForeignObject, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError)
    /// What is there by exactly that key, or nil.
    func find(_ key: [UInt8]) throws(ObjectStoreError) -> ForeignEntry?
    /// Hands what lies below a prefix to `take`, some at a time, until it answers false. A directory comes before what is
    /// in it.
    func list(below prefix: [UInt8], _ take: ([ForeignEntry]) -> Bool) throws(ObjectStoreError)
    /// Makes sure that the object is still the one that was imported.
    func prove(_ object: ForeignObject, _ url: String) throws(ObjectStoreError)
    /// The same store for one errand, as `ObjectStore` has it.
    func on(_ errand: StoreErrand) -> any ForeignStore
}

extension ForeignStore {
    public func on(_ errand: StoreErrand) -> any ForeignStore { self }

    public func prove(_ object: ForeignObject, _ url: String) throws(ObjectStoreError) {
        guard let found = try find(object.key) else { throw .vanished(url, object.key) }
        guard case .object(let size, let tag) = found.content, size == object.size, tag == object.tag,
            found.modified == object.modified
        else { throw .changed(url, object.key) }
    }
}

extension ObjectStoreError {
    public static func vanished(_ url: String, _ key: [UInt8]) -> ObjectStoreError {
        .failed(.stale, "object \(name(url, key)) is gone since it was imported; bring it back, or remove its file")
    }

    public static func changed(_ url: String, _ key: [UInt8]) -> ObjectStoreError {
        .failed(.stale, "object \(name(url, key)) has changed since it was imported; import it again")
    }

    public static func name(_ url: String, _ key: [UInt8]) -> String {
        url + (url.endsWithBytes(of: "/") ? "" : "/") + String(decoding: key, as: UTF8.self)
    }
}
