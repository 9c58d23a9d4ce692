import FileModel

/// How often a kernel was told of each inode less how often it forgot it.
///
/// Inode numbers are given in order, so the counts lie in blocks of 64 bytes: about two bytes an inode where a whole
/// tree was looked up. A dictionary of inodes would take 30, and stop everything for a second when it grows at ten
/// million.
///
/// Invariants
/// - A block without any count is not kept.
/// - A count that does not fit into its byte is `many` there, and in `large` in full.
package struct LookupTable {
    private static let many: UInt8 = .max
    private static let blockBits: UInt64 = 6

    private var blocks: [UInt64: SIMD64<UInt8>] = [:]
    private var large: [InodeID: UInt64] = [:]

    package init() {}

    package func holds(_ id: InodeID) -> Bool {
        guard let block = blocks[Self.block(of: id)] else { return false }
        return block[Self.place(of: id)] != 0
    }

    package mutating func add(_ id: InodeID) {
        let place = Self.place(of: id)
        let count = raise(&blocks[Self.block(of: id), default: SIMD64()], place)
        if count == Self.many { large[id, default: UInt64(Self.many) - 1] += 1 }
    }

    /// Takes `count` away. True when nothing is left.
    package mutating func remove(_ id: InodeID, count: UInt64) -> Bool {
        let key = Self.block(of: id)
        let place = Self.place(of: id)
        guard var block = blocks[key], block[place] != 0 else { return true }
        let held = block[place] == Self.many ? large[id] ?? UInt64(Self.many) : UInt64(block[place])
        let left = held > count ? held - count : 0
        large[id] = left >= UInt64(Self.many) ? left : nil
        block[place] = left >= UInt64(Self.many) ? Self.many : UInt8(left)
        blocks[key] = block == SIMD64() ? nil : block
        return left == 0
    }

    /// Answers the byte after the change.
    private func raise(_ block: inout SIMD64<UInt8>, _ place: Int) -> UInt8 {
        if block[place] != Self.many { block[place] += 1 }
        return block[place]
    }

    private static func block(of id: InodeID) -> UInt64 { id.rawValue >> blockBits }
    private static func place(of id: InodeID) -> Int { Int(id.rawValue & (1 << blockBits - 1)) }
}
