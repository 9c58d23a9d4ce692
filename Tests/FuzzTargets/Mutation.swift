import LinuxSystem

/// Small damage to a known input, as a fuzzer does it.
public enum Mutation {
    /// Where arithmetic goes wrong.
    private static let edges: [UInt64] = [
        0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, .max >> 1, .max - 1, .max,
    ]

    public static func of(_ corpus: [[UInt8]], using generator: inout some RandomNumberGenerator) -> [UInt8] {
        var bytes = corpus.randomElement(using: &generator) ?? []
        for _ in 0..<Int.random(in: 1...6, using: &generator) { change(&bytes, corpus, &generator) }
        return bytes
    }

    private static func change(
        _ bytes: inout [UInt8], _ corpus: [[UInt8]], _ generator: inout some RandomNumberGenerator
    ) {
        let position = Int.random(in: 0...bytes.count, using: &generator)
        switch Int.random(in: 0..<8, using: &generator) {
        case 0 where position < bytes.count: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 1 where position < bytes.count: bytes[position] = .random(in: 0...255, using: &generator)
        case 2: bytes.insert(.random(in: 0...255, using: &generator), at: position)
        case 3:
            bytes.removeSubrange(position..<min(bytes.count, position + Int.random(in: 0...9, using: &generator)))
        case 4: bytes = Array(bytes[..<position])
        case 5:
            let number = edges.randomElement(using: &generator) ?? 0
            let length = [1, 2, 4, 8].randomElement(using: &generator) ?? 1
            for index in 0..<min(length, bytes.count - position) {
                bytes[position + index] = UInt8(truncatingIfNeeded: number >> (8 * UInt64(index)))
            }
        case 6:
            let digits = Array(String(edges.randomElement(using: &generator) ?? 0).utf8)
            bytes.replaceSubrange(position..<min(bytes.count, position + 1), with: digits)
        default:
            let other = corpus.randomElement(using: &generator) ?? []
            let start = Int.random(in: 0...other.count, using: &generator)
            let count = Int.random(in: 0...40, using: &generator)
            bytes.insert(contentsOf: other[start...].prefix(count), at: position)
        }
    }
}

extension FuzzTarget {
    private static let corpora = "/" + #filePath.split(separator: "/").dropLast(2).joined(separator: "/") + "/Corpora"

    /// What the tree knows of inputs to it.
    public func corpus() throws -> [[UInt8]] {
        try corpusPaths().map { try AtomicFile.read($0) ?? [] }
    }

    /// The files of the corpus.
    public func corpusPaths() throws -> [String] {
        let directory = "\(Self.corpora)/\(name)"
        return try FileTree.names(in: directory).sorted().map { "\(directory)/\($0)" }
    }
}
