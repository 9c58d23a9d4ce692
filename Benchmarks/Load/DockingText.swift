import Glibc

/// Text as a docking campaign leaves it, in blocks of 4 KiB: a line that names the block, then atoms with their
/// coordinates. A block follows from its seed and number alone, so that what was written can be checked; no two
/// blocks are the same, and zstd-1 makes one about four times smaller.
struct DockingText {
    static let blockSize = 4096
    private static let lineSize = 80
    private static let headerSize = 96

    private let template: [UInt8]
    /// The numbers 0 to 999 as three digits and a byte that is not used.
    private let digits: [UInt32]

    init() {
        var text = Array("REMARK  ligand 000000000000 of campaign 000000000000 version 0 ".utf8)
        text += [UInt8](repeating: 0x2E, count: Self.headerSize - text.count - 1) + [0x0A]
        let elements = ["C ", "C ", "A ", "N ", "C ", "OA", "HD", "C ", "A ", "S "]
        for line in 0..<((Self.blockSize - Self.headerSize) / Self.lineSize) {
            let number = String(line + 1)
            let padding = String(repeating: " ", count: 5 - number.utf8.count)
            let element = elements[line % elements.count]
            // The columns of PDBQT.
            text += Array("ATOM  \(padding)\(number) \(element)   LIG A   1       0.000   0.000   0.000".utf8)
            text += Array("  1.00  0.00     0.000 \(element)\n".utf8)
        }
        template = text
        digits = (0..<1000).map { number in
            let parts = [number / 100, number / 10 % 10, number % 10].map { UInt32(0x30 + $0) }
            return parts[0] | parts[1] << 8 | parts[2] << 16
        }
        precondition(template.count == Self.blockSize)
    }

    /// Writes block `number` of the campaign `seed` to 4 KiB of memory.
    @inline(__always)
    func fill(_ memory: UnsafeMutableRawPointer, seed: UInt64, number: UInt64) {
        UnsafeMutableRawBufferPointer(start: memory, count: Self.blockSize).copyBytes(from: template)
        var state = (seed &* 0x9E37_79B9_7F4A_7C15) ^ (number &* 0xD1B5_4A32_D192_ED03) | 1
        digits.withUnsafeBufferPointer { digits in
            var line = memory + Self.headerSize
            let end = memory + Self.blockSize
            while line < end {
                state ^= state << 13
                state ^= state >> 7
                state ^= state << 17
                put(line + 35, digits, state)
                put(line + 43, digits, state >> 10)
                put(line + 51, digits, state >> 20)
                // Charges come from a short list, as atom types do.
                put(line + 73, digits, (state >> 30) & 31)
                // Units of the coordinates.
                line.storeBytes(of: 0x30 + UInt8((state >> 40) & 7), toByteOffset: 33, as: UInt8.self)
                line.storeBytes(of: 0x30 + UInt8((state >> 43) & 7), toByteOffset: 41, as: UInt8.self)
                line.storeBytes(of: 0x30 + UInt8((state >> 46) & 7), toByteOffset: 49, as: UInt8.self)
                line += Self.lineSize
            }
        }
        stamp(memory, seed: seed, number: number, version: 0)
    }

    /// Rewrites the line that names the block, and nothing else.
    func stamp(_ memory: UnsafeMutableRawPointer, seed: UInt64, number: UInt64, version: UInt8) {
        Decimal.put(number, at: memory + 15, width: 12)
        Decimal.put(seed, at: memory + 40, width: 12)
        memory.storeBytes(of: 0x30 + version, toByteOffset: 61, as: UInt8.self)
    }

    @inline(__always)
    private func put(_ place: UnsafeMutableRawPointer, _ digits: UnsafeBufferPointer<UInt32>, _ bits: UInt64) {
        let index = Int(((bits & 1023) * 1000) >> 10)
        let text = digits[index]
        place.storeBytes(of: UInt16(truncatingIfNeeded: text), as: UInt16.self)
        place.storeBytes(of: UInt8(truncatingIfNeeded: text >> 16), toByteOffset: 2, as: UInt8.self)
    }
}

/// Decimal numbers written in place: building a String for each file would cost as much as a cached stat.
enum Decimal {
    @inline(__always)
    static func put(_ value: UInt64, at place: UnsafeMutableRawPointer, width: Int) {
        var rest = value
        for index in stride(from: width - 1, through: 0, by: -1) {
            place.storeBytes(of: UInt8(0x30 + rest % 10), toByteOffset: index, as: UInt8.self)
            rest /= 10
        }
    }
}
