/// The end of an object.
public struct ObjectTail: Equatable, Sendable {
    public var bytes: [UInt8]
    /// Of the whole object, bytes.
    public var size: UInt64

    public init(bytes: [UInt8], size: UInt64) {
        self.bytes = bytes
        self.size = size
    }
}

extension ObjectStore {
    /// In two requests, for stores whose requests cost nothing.
    public func tail(_ name: ObjectName, count: Int) throws(ObjectStoreError) -> ObjectTail {
        let size = try size(name)
        let length = Int(min(size, UInt64(count)))
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: length, alignment: 16)
        defer { buffer.deallocate() }
        try get(name, at: size - UInt64(length), into: buffer)
        return ObjectTail(bytes: Array(buffer), size: size)
    }
}
