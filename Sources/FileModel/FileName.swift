/// The name of a directory entry: any bytes but NUL and '/', 1 to 255 of them. Never a String, which
/// would compare by Unicode equivalence and merge names that POSIX keeps apart.
public struct FileName: Hashable, Sendable {
    public let bytes: [UInt8]

    /// NAME_MAX of Linux file systems, in bytes.
    public static let maximumLength = 255

    /// Checks what every verb must check of a name. Answers ENAMETOOLONG past 255 bytes, EINVAL for
    /// the rest.
    public init(_ bytes: some Collection<UInt8>) throws(Errno) {
        guard bytes.count <= Self.maximumLength else { throw .nameTooLong }
        try self.init([UInt8](bytes))
    }

    /// As above, without a copy: a name is made for most requests.
    public init(_ bytes: [UInt8]) throws(Errno) {
        guard bytes.count <= Self.maximumLength else { throw .nameTooLong }
        let isDots = bytes.count <= 2 && bytes.allSatisfy { $0 == 0x2E }
        guard !isDots, !bytes.contains(where: { $0 == 0 || $0 == 0x2F }) else { throw .invalidArgument }
        self.bytes = bytes
    }

    public init(_ text: String) throws(Errno) {
        try self.init(Array(text.utf8))
    }

    /// For bytes this process stored itself after checking them.
    @inlinable
    public init(trusted bytes: [UInt8]) {
        self.bytes = bytes
    }
}

extension FileName: Comparable {
    /// Byte order, as SQLite compares BLOBs.
    public static func < (left: FileName, right: FileName) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}

extension FileName: CustomStringConvertible {
    /// For messages only: invalid UTF-8 is replaced.
    public var description: String { String(decoding: bytes, as: UTF8.self) }
}
