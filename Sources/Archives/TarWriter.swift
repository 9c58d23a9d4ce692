import FileModel

/// Makes the headers of a POSIX pax archive. The data between them is the caller's, padded with `padding`.
public enum TarWriter {
    /// What goes into a header.
    public struct Header: Sendable {
        public enum Kind: UInt8, Sendable {
            case file = 0x30
            case hardLink = 0x31
            case symbolicLink = 0x32
            case characterDevice = 0x33
            case blockDevice = 0x34
            case directory = 0x35
            case fifo = 0x36
        }

        public var name: [UInt8]
        public var kind: Kind
        public var permissions: UInt32
        public var userID: UInt32
        public var groupID: UInt32
        /// Bytes of data that follow.
        public var size: UInt64
        public var modified: Timestamp
        public var link: [UInt8] = []
        public var device: (major: UInt32, minor: UInt32) = (0, 0)
        /// More records of the extended header, such as `SCHILY.xattr.user.x`.
        public var records: [(key: String, value: [UInt8])] = []

        public init(
            name: [UInt8], kind: Kind, permissions: UInt32, userID: UInt32, groupID: UInt32, size: UInt64,
            modified: Timestamp
        ) {
            self.name = name
            self.kind = kind
            self.permissions = permissions
            self.userID = userID
            self.groupID = groupID
            self.size = size
            self.modified = modified
        }
    }

    /// Two blocks of zeros.
    public static let end = [UInt8](repeating: 0, count: 1024)

    private static let nameBytes = 100
    /// What 11 octal digits hold.
    private static let octalLimit: UInt64 = 1 << 33
    private static let ownerLimit: UInt32 = 1 << 21

    /// Bytes of zeros after so many of data.
    public static func padding(_ size: UInt64) -> Int { Int((512 - size % 512) % 512) }

    /// The header, after an extended one where it does not say it all.
    public static func encode(_ header: Header) -> [UInt8] {
        var records = header.records
        if header.name.count > nameBytes { records.append(("path", header.name)) }
        if header.link.count > nameBytes { records.append(("linkpath", header.link)) }
        if header.size >= octalLimit { records.append(("size", Array("\(header.size)".utf8))) }
        if header.userID >= ownerLimit { records.append(("uid", Array("\(header.userID)".utf8))) }
        if header.groupID >= ownerLimit { records.append(("gid", Array("\(header.groupID)".utf8))) }
        let seconds = header.modified.seconds
        let nanoseconds = header.modified.nanosecondsOfSecond
        if nanoseconds != 0 || seconds < 0 || seconds >= Int64(octalLimit) {
            records.append(("mtime", Array(time(header.modified).utf8)))
        }
        guard !records.isEmpty else { return block(header, type: header.kind.rawValue) }
        let body = records.flatMap { record($0.key, $0.value) }
        var extended = header
        extended.name = Array("PaxHeaders/".utf8) + header.name.suffix(80)
        extended.size = UInt64(body.count)
        extended.link = []
        return block(extended, type: UInt8(ascii: "x")) + body
            + [UInt8](repeating: 0, count: padding(UInt64(body.count)))
            + block(header, type: header.kind.rawValue)
    }

    private static func block(_ header: Header, type: UInt8) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ bytes: some Collection<UInt8>, at offset: Int) {
            for (index, byte) in bytes.enumerated() { block[offset + index] = byte }
        }
        func octal(_ value: UInt64, _ digits: Int, at offset: Int) {
            let text = String(value, radix: 8)
            put((String(repeating: "0", count: max(0, digits - text.count)) + text).utf8, at: offset)
        }
        put(header.name.prefix(nameBytes), at: 0)
        octal(UInt64(header.permissions), 7, at: 100)
        octal(UInt64(header.userID < ownerLimit ? header.userID : 0), 7, at: 108)
        octal(UInt64(header.groupID < ownerLimit ? header.groupID : 0), 7, at: 116)
        octal(header.size < octalLimit ? header.size : 0, 11, at: 124)
        let seconds = header.modified.seconds
        octal(seconds >= 0 && seconds < Int64(octalLimit) ? UInt64(seconds) : 0, 11, at: 136)
        block[156] = type
        put(header.link.prefix(nameBytes), at: 157)
        put("ustar\u{0}00".utf8, at: 257)
        octal(UInt64(header.device.major), 7, at: 329)
        octal(UInt64(header.device.minor), 7, at: 337)
        put("        ".utf8, at: 148)
        octal(block.reduce(0) { $0 + UInt64($1) }, 6, at: 148)
        block[154] = 0
        return block
    }

    /// `LENGTH KEY=VALUE\n`; the length counts itself.
    private static func record(_ key: String, _ value: [UInt8]) -> [UInt8] {
        let rest = Array(" \(key)=".utf8) + value + [0x0A]
        var length = rest.count + 1
        while String(length).utf8.count + rest.count != length { length = String(length).utf8.count + rest.count }
        return Array(String(length).utf8) + rest
    }

    /// Seconds with nine digits behind the point; towards zero for times before 1970, as pax has them.
    private static func time(_ time: Timestamp) -> String {
        let isNegative = time.nanoseconds < 0
        let magnitude = time.nanoseconds.magnitude
        let fraction = String(magnitude % 1_000_000_000)
        return (isNegative ? "-" : "") + "\(magnitude / 1_000_000_000)."
            + String(repeating: "0", count: 9 - fraction.count) + fraction
    }
}
