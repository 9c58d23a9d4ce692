import FileModel

/// A volume's own key for what it keeps of packs in its cache: tables that prove a copy are taken from the copy where this
/// volume sealed them, and else from the store. Who can write into the cache and does not know the key cannot make a copy of
/// other bytes with tables that fit.
///
/// SipHash-2-4 (Aumasson and Bernstein, 2012), 64 bits.
public struct CopySeal: Equatable, Sendable {
    private let key: (low: UInt64, high: UInt64)

    public static func == (one: CopySeal, other: CopySeal) -> Bool { one.key == other.key }

    /// For callers without a volume: it keeps nobody out.
    public static let unkeyed = CopySeal(key: (0, 0))

    private init(key: (UInt64, UInt64)) {
        self.key = (low: key.0, high: key.1)
    }

    /// A new key.
    public static func random() -> CopySeal {
        CopySeal(key: (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max)))
    }

    /// 16 bytes, as `bytes` gives them; nil for anything else.
    public init?(bytes: [UInt8]) {
        guard bytes.count == Self.keyBytes else { return nil }
        self.init(
            key: bytes.withUnsafeBytes { bytes -> (UInt64, UInt64) in
                var reader = ByteReader(bytes)
                return (reader.take(UInt64.self), reader.take(UInt64.self))
            })
    }

    public static let keyBytes = 16

    public var bytes: [UInt8] {
        var writer = ByteWriter()
        writer.put(key.low)
        writer.put(key.high)
        return writer.bytes
    }

    /// What only who knows the key can say of these bytes.
    func tag(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var state = SipState(key.low, key.high)
        var position = 0
        while position + 8 <= bytes.count {
            state.take(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self)))
            position += 8
        }
        var last = UInt64(bytes.count & 0xFF) << 56
        for (place, byte) in bytes[position...].enumerated() { last |= UInt64(byte) << UInt64(8 * place) }
        state.take(last)
        return state.finish()
    }
}

/// The four words of SipHash.
private struct SipState {
    private var v0: UInt64
    private var v1: UInt64
    private var v2: UInt64
    private var v3: UInt64

    init(_ low: UInt64, _ high: UInt64) {
        v0 = low ^ 0x736F_6D65_7073_6575
        v1 = high ^ 0x646F_7261_6E64_6F6D
        v2 = low ^ 0x6C79_6765_6E65_7261
        v3 = high ^ 0x7465_6462_7974_6573
    }

    mutating func take(_ word: UInt64) {
        v3 ^= word
        mix()
        mix()
        v0 ^= word
    }

    mutating func finish() -> UInt64 {
        v2 ^= 0xFF
        for _ in 0..<4 { mix() }
        return v0 ^ v1 ^ v2 ^ v3
    }

    private mutating func mix() {
        v0 &+= v1
        v2 &+= v3
        v1 = Self.rotate(v1, 13) ^ v0
        v3 = Self.rotate(v3, 16) ^ v2
        v0 = Self.rotate(v0, 32)
        v2 &+= v1
        v0 &+= v3
        v1 = Self.rotate(v1, 17) ^ v2
        v3 = Self.rotate(v3, 21) ^ v0
        v2 = Self.rotate(v2, 32)
    }

    private static func rotate(_ word: UInt64, _ count: UInt64) -> UInt64 { word << count | word >> (64 - count) }
}
