import FileModel

/// The fields of one header block.
struct TarHeader {
    var name: [UInt8]
    var link: [UInt8]
    var size: UInt64
    var permissions: UInt32
    var modified: Timestamp
    var type: UInt8
    /// ustar or pax: links have no data but what their size says.
    var isPOSIX: Bool
    /// An old GNU sparse member whose map goes on behind the header.
    var hasMoreSparse: Bool

    private static let checksumField = 148..<156

    init(_ block: [UInt8], at offset: UInt64) throws(TarFailure) {
        let sums = Self.sums(block)
        guard let sum = Self.octal(block[Self.checksumField]), sum == sums.0 || sum == sums.1 else {
            throw .damaged(offset, "there is no header")
        }
        guard let size = Self.number(block[124..<136]), size <= UInt64(Int64.max) else {
            throw .damaged(offset, "a header without a size")
        }
        self.size = size
        type = block[156]
        // "ustar\0" of POSIX, "ustar " of GNU.
        isPOSIX = block[257..<263].elementsEqual(Array("ustar\0".utf8))
        let ownName = Array(block[0..<100].prefix { $0 != 0 })
        let prefix = isPOSIX ? Array(block[345..<500].prefix { $0 != 0 }) : []
        name = prefix.isEmpty ? ownName : prefix + [0x2F] + ownName
        link = Array(block[157..<257].prefix { $0 != 0 })
        permissions = UInt32(truncatingIfNeeded: Self.number(block[100..<108]) ?? 0o644) & 0o7777
        modified = Timestamp(seconds: Self.signedNumber(block[136..<148]), nanoseconds: 0)
        hasMoreSparse = block[482] != 0
    }

    /// The sum of all bytes, with spaces for the sum itself; and of signed characters, as some old programs have it.
    private static func sums(_ block: [UInt8]) -> (UInt64, UInt64) {
        var unsigned = 0
        var high = 0
        for byte in block {
            unsigned += Int(byte)
            high += Int(byte >> 7)
        }
        for byte in block[checksumField] {
            unsigned += 0x20 - Int(byte)
            high -= Int(byte >> 7)
        }
        return (UInt64(clamping: unsigned), UInt64(clamping: unsigned - high * 256))
    }

    /// Octal digits between spaces and a NUL or a space; nil for anything else. Empty is 0.
    private static func octal(_ field: ArraySlice<UInt8>) -> UInt64? {
        var value: UInt64 = 0
        let text = field.drop { $0 == 0x20 }
        for byte in text {
            if byte == 0 || byte == 0x20 { break }
            guard byte >= 0x30, byte <= 0x37 else { return nil }
            value = value << 3 | UInt64(byte - 0x30)
        }
        return value
    }

    /// Octal, or GNU's base 256, whose first bit is set.
    private static func number(_ field: ArraySlice<UInt8>) -> UInt64? {
        guard let first = field.first, first & 0x80 != 0 else { return octal(field) }
        guard first == 0x80 else { return nil }
        var value: UInt64 = 0
        for byte in field.dropFirst() {
            guard value < 1 << 56 else { return nil }
            value = value << 8 | UInt64(byte)
        }
        return value
    }

    /// A time may be before 1970: then it is base 256 and negative. What 64 bits do not hold is the nearest that they do.
    private static func signedNumber(_ field: ArraySlice<UInt8>) -> Int64 {
        guard let first = field.first, first & 0x80 != 0 else { return octal(field).map { Int64(clamping: $0) } ?? 0 }
        // The first bit marks the base, the next is the sign.
        let isNegative = first & 0x40 != 0
        let high = isNegative ? first : first & 0x3F
        let filler: UInt8 = isNegative ? 0xFF : 0
        let low = field.suffix(8)
        let value = Int64(bitPattern: low.reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
        let fits = high == filler && field.dropFirst().dropLast(8).allSatisfy { $0 == filler }
        guard fits, (value < 0) == isNegative else { return isNegative ? .min : .max }
        return value
    }
}
