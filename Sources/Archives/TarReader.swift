import FileModel

/// Something that a tar archive holds.
public struct TarMember: Equatable, Sendable {
    public enum Kind: Equatable, Sendable {
        /// `size` bytes from `offset` of the archive.
        case file(offset: UInt64, size: UInt64)
        case directory
        case symbolicLink(target: [UInt8])
        /// Another name for an earlier member.
        case hardLink(to: [UInt8])
        case fifo
        /// What cannot be made of it, in words.
        case unsupported(String)
    }

    /// As the archive has it, slashes and dots included.
    public var name: [UInt8]
    public var kind: Kind
    /// The lower 12 bits.
    public var permissions: UInt32
    public var modified: Timestamp
    /// Extended attributes of the user's, as pax archives keep them.
    public var attributes: [String: [UInt8]]
}

/// Why an archive cannot be taken.
public enum TarFailure: Error, Equatable, Sendable {
    /// It ends in the middle, at that byte.
    case truncated(UInt64)
    /// No header where one should be.
    case damaged(UInt64, String)
    /// What `read` threw, in words.
    case unreadable(String)
}

extension TarFailure: CustomStringConvertible {
    public var description: String {
        switch self {
        case .truncated(let offset): "is truncated: it ends within byte \(offset) and has no end mark"
        case .damaged(let offset, let cause): "is damaged at byte \(offset): \(cause)"
        case .unreadable(let words): words
        }
    }
}

/// Reads the headers of an uncompressed tar archive, and none of its data: POSIX ustar and pax, GNU, and what was before.
///
/// Layout after POSIX.1-2017 (pax, "ustar Interchange Format") and the GNU tar manual ("Basic Tar Format"): blocks of 512
/// bytes, each member a header and its data, rounded up; two blocks of zeros at the end, of which one is asked for.
///
/// Invariants
/// - Each header was proved against its checksum.
/// - Every size fits into what is left of the archive.
public struct TarReader {
    /// Fills the buffer from an offset of the archive on. Never asked for more than there is.
    public typealias Read = (UInt64, UnsafeMutableRawBufferPointer) throws -> Void

    static let blockBytes = 512
    /// Of names and attributes of one member.
    private static let extraLimit: UInt64 = 1 << 20
    private static let firstWindow = 64 << 10
    private static let lastWindow = 4 << 20

    private let size: UInt64
    private let read: Read
    private var position: UInt64 = 0
    private var window: [UInt8] = []
    private var windowStart: UInt64 = 0
    private var windowBytes = firstWindow
    /// Of every member from here on.
    private var defaults: [String: [UInt8]] = [:]

    public init(size: UInt64, read: @escaping Read) {
        self.size = size
        self.read = read
    }

    /// The next member; nil at the end mark.
    public mutating func next() throws(TarFailure) -> TarMember? {
        var extra = Extra(records: defaults)
        while true {
            let start = position
            let block = try take(UInt64(Self.blockBytes))
            if block.allSatisfy({ $0 == 0 }) { return nil }
            let header = try TarHeader(block, at: start)
            switch header.type {
            case UInt8(ascii: "x"), UInt8(ascii: "X"):
                try extra.records.merge(records(header, start)) { _, new in new }
            case UInt8(ascii: "g"):
                try defaults.merge(records(header, start)) { _, new in new }
                extra.records.merge(defaults) { own, _ in own }
            case UInt8(ascii: "L"): extra.name = try text(header, start)
            case UInt8(ascii: "K"): extra.link = try text(header, start)
            // A volume's label, and names of a directory for incremental backups.
            case UInt8(ascii: "V"): try skip(header.size, start)
            default:
                return try member(header, extra, start)
            }
        }
    }

    // MARK: Members

    /// What stands before a member's own header.
    private struct Extra {
        var records: [String: [UInt8]]
        var name: [UInt8]?
        var link: [UInt8]?

        func number(_ key: String) -> UInt64? {
            records[key].flatMap { UInt64(String(decoding: $0, as: UTF8.self)) }
        }

        var isSparse: Bool { records.keys.contains { $0.startsWithBytes(of: "GNU.sparse.") } }

        var attributes: [String: [UInt8]] {
            let prefix = "SCHILY.xattr."
            return Dictionary(
                uniqueKeysWithValues: records.filter { $0.key.startsWithBytes(of: prefix + "user.") }
                    .map { (String($0.key.droppingBytes(first: prefix.utf8.count)), $0.value) })
        }
    }

    private mutating func member(
        _ header: TarHeader, _ extra: Extra, _ start: UInt64
    ) throws(TarFailure) -> TarMember {
        // GNU's sparse 1.0 hides the name behind one that it made up.
        let name = extra.records["GNU.sparse.name"] ?? extra.records["path"] ?? extra.name ?? header.name
        let link = extra.records["linkpath"] ?? extra.link ?? header.link
        if let text = extra.records["size"], extra.number("size") == nil {
            throw .damaged(start, "\"\(String(decoding: text, as: UTF8.self))\" is no size")
        }
        let size = extra.number("size") ?? header.size
        var member = TarMember(
            name: name, kind: .directory, permissions: header.permissions,
            modified: extra.records["mtime"].flatMap(Self.time) ?? header.modified, attributes: extra.attributes)
        switch header.type {
        case UInt8(ascii: "1"):
            // Some archives repeat the data; it is skipped.
            member.kind = .hardLink(to: link)
            try skip(header.isPOSIX ? size : 0, start)
        case UInt8(ascii: "2"): member.kind = .symbolicLink(target: link)
        case UInt8(ascii: "3"), UInt8(ascii: "4"): member.kind = .unsupported("it is a device")
        case UInt8(ascii: "5"): member.kind = .directory
        case UInt8(ascii: "6"): member.kind = .fifo
        case UInt8(ascii: "D"): try skip(size, start)
        case UInt8(ascii: "S"):
            member.kind = .unsupported("it is sparse; make the archive without --sparse")
            if header.hasMoreSparse { try skipSparseHeaders() }
            try skip(header.size, start)
        case UInt8(ascii: "M"):
            member.kind = .unsupported("it began in another archive")
            try skip(size, start)
        case UInt8(ascii: "0"), UInt8(ascii: "7"), 0:
            let offset = position
            try skip(size, start)
            if extra.isSparse {
                member.kind = .unsupported("it is sparse; make the archive without --sparse")
            } else if name.last == 0x2F && header.type != UInt8(ascii: "7") && !header.isPOSIX {
                // Before POSIX a directory was a file whose name ends with a slash.
                member.kind = .directory
            } else {
                member.kind = .file(offset: offset, size: size)
            }
        default:
            member.kind = .unsupported("it is of type \"\(String(UnicodeScalar(header.type)))\"")
            try skip(size, start)
        }
        return member
    }

    /// Old GNU sparse members have more blocks of their map behind the header.
    private mutating func skipSparseHeaders() throws(TarFailure) {
        while true {
            // The last but 8 byte of an extension says whether another follows (struct sparse_header of GNU's tar.h).
            if try take(UInt64(Self.blockBytes))[504] == 0 { return }
        }
    }

    // MARK: pax and GNU records

    private mutating func text(_ header: TarHeader, _ start: UInt64) throws(TarFailure) -> [UInt8] {
        Array(try body(header, start).prefix { $0 != 0 })
    }

    /// `LENGTH KEY=VALUE\n`, the length in decimal and of the whole.
    private mutating func records(_ header: TarHeader, _ start: UInt64) throws(TarFailure) -> [String: [UInt8]] {
        var rest = try body(header, start)[...]
        var found: [String: [UInt8]] = [:]
        while !rest.isEmpty {
            let digits = rest.prefix { $0 >= 0x30 && $0 <= 0x39 }
            guard digits.count < 10, let length = Int(String(decoding: digits, as: UTF8.self)),
                length > digits.count + 1, length <= rest.count, rest[rest.startIndex + digits.count] == 0x20,
                rest[rest.startIndex + length - 1] == 0x0A
            else { throw .damaged(start, "an extended header is none") }
            let line = rest[(rest.startIndex + digits.count + 1)..<(rest.startIndex + length - 1)]
            guard let equals = line.firstIndex(of: 0x3D) else {
                throw .damaged(start, "an extended header has no \"=\"")
            }
            found[String(decoding: line[..<equals], as: UTF8.self)] = Array(line[(equals + 1)...])
            rest = rest.dropFirst(length)
        }
        // An empty value takes a default back.
        return found.filter { !$0.value.isEmpty }
    }

    private mutating func body(_ header: TarHeader, _ start: UInt64) throws(TarFailure) -> [UInt8] {
        guard header.size <= Self.extraLimit else {
            throw .damaged(start, "an extended header of \(header.size) bytes")
        }
        let bytes = try take(header.size)
        try skip(0, start, from: header.size)
        return bytes
    }

    /// `1350244992.023960108`
    private static func time(_ value: [UInt8]) -> Timestamp? {
        let parts = String(decoding: value, as: UTF8.self).parts(at: ".")
        guard (1...2).contains(parts.count), let seconds = Int64(parts[0]) else { return nil }
        guard parts.count == 2, let fraction = Int64((parts[1] + "000000000").prefix(9)), fraction >= 0 else {
            return Timestamp(seconds: seconds, nanoseconds: 0)
        }
        return Timestamp(seconds: seconds, nanoseconds: parts[0].startsWithBytes(of: "-") ? -fraction : fraction)
    }

    // MARK: Bytes

    /// Steps over data and the rest of its last block. `from` bytes of it were taken already.
    private mutating func skip(_ count: UInt64, _ start: UInt64, from taken: UInt64 = 0) throws(TarFailure) {
        guard count <= size - position else { throw .truncated(size) }
        let used = taken + count
        let padding = (UInt64(Self.blockBytes) - used % UInt64(Self.blockBytes)) % UInt64(Self.blockBytes)
        // The very last block of an archive may be cut by who wrote it; then there is no end mark, and `next` says so.
        position += count + min(padding, size - position - count)
    }

    private mutating func take(_ count: UInt64) throws(TarFailure) -> [UInt8] {
        guard count <= size - position else { throw .truncated(size) }
        let end = windowStart + UInt64(window.count)
        if position < windowStart || position + count > end {
            // Near what was read before: many small members; else only this header is wanted.
            let isNear = !window.isEmpty && position >= windowStart && position <= end + UInt64(windowBytes)
            windowBytes = isNear ? min(windowBytes * 2, Self.lastWindow) : Self.firstWindow
            try fill(Int(max(count, min(UInt64(windowBytes), size - position))))
        }
        let from = Int(position - windowStart)
        position += count
        return Array(window[from..<from + Int(count)])
    }

    private mutating func fill(_ count: Int) throws(TarFailure) {
        var bytes = [UInt8](repeating: 0, count: count)
        do {
            try bytes.withUnsafeMutableBytes { try read(position, $0) }
        } catch {
            throw .unreadable("\(error)")
        }
        window = bytes
        windowStart = position
    }
}
