/// A dump of a volume's metadata: lines of text, each ended by a newline, in the order of the tables' keys.
///
///     berth-dump VERSION SCHEMA             the first line; SCHEMA is the schema's version
///     table NAME COLUMN…                    rows of this table follow
///     VALUE VALUE…                          one row
///     end ROWS CHECKSUM                     the last line
///
/// Fields are separated by tabs. A value is a decimal number; `~` for NULL; `=` and text; `:` and bytes. In text and bytes
/// each byte below 0x20, 0x7F and '%' is written as `%XX`; others stand for themselves. CHECKSUM is FNV-1a, 64 bits, in
/// hexadecimal, over every byte before the last line. So a dump can be cut, compared, compressed and sent by any tool.
enum DumpFormat {
    static let version = 1
    static let mark = "berth-dump"
    static let tab: UInt8 = 0x09
    static let newline: UInt8 = 0x0A
    static let null: UInt8 = 0x7E
    static let text: UInt8 = 0x3D
    static let blob: UInt8 = 0x3A
    static let percent: UInt8 = 0x25
    /// A name of 255 bytes, an attribute's value of 64 KiB, three letters a byte, and some.
    static let lineLimit = 1 << 20

    static func header(schema: Int) -> String { "\(mark)\t\(version)\t\(schema)\n" }

    static func isPlain(_ byte: UInt8) -> Bool { byte >= 0x20 && byte != 0x7F && byte != percent }
}

/// FNV-1a over 64 bits (RFC 9923): its state is one number, so that a load can go on where it stopped.
struct RunningChecksum: Equatable {
    var state: UInt64 = 0xCBF2_9CE4_8422_2325

    mutating func add(_ bytes: UnsafeRawBufferPointer) {
        for byte in bytes { state = (state ^ UInt64(byte)) &* 0x100_0000_01B3 }
    }

    var text: String {
        let digits = String(state, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// Why a dump could not be written or read, in one line without the file's name.
public struct DumpFailure: Error, CustomStringConvertible, Sendable {
    public let description: String

    init(_ description: String) {
        self.description = description
    }
}
