import Glibc
import LinuxSystem
import SQLiteMetadata

/// A dump of a volume's metadata, as somebody may have edited it.
enum DumpTarget {
    @Sendable static func run(_ bytes: [UInt8]) -> String? {
        ScratchFile.use { path in
            do {
                try load(bytes, path)
            } catch {
                return nil
            }
            // What was taken is a database: whatever is in it can be checked, opened, and dumped again.
            _ = try? MetadataChecker.check(path: path)
            do {
                try SQLiteMetadataStore(path: path).close()
            } catch {
                return nil
            }
            do {
                var dump: [UInt8] = []
                _ = try MetadataDump.write(path: path) { dump += $0 }
                return try ScratchFile.use { other in
                    try load(dump, other)
                    return nil
                }
            } catch {
                return "what was loaded cannot be dumped and loaded again: \(error)"
            }
        }
    }

    /// With a last line that proves the others, which no mutation would find.
    @Sendable static func runMended(_ bytes: [UInt8]) -> String? {
        var lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false).map { Array($0) }
        if lines.last?.isEmpty == true { lines.removeLast() }
        if lines.count > 1 { lines.removeLast() }
        let isRow = { (line: [UInt8]) in !line.starts(with: Array("table\t".utf8)) }
        let rows = lines.dropFirst().count(where: isRow)
        var mended = Array(lines.joined(separator: [0x0A])) + [0x0A]
        let sum = mended.reduce(UInt64(0xCBF2_9CE4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
        let digits = String(sum, radix: 16)
        mended += Array("end\t\(rows)\t\(String(repeating: "0", count: 16 - digits.count))\(digits)\n".utf8)
        return run(mended)
    }

    private static func load(_ bytes: [UInt8], _ path: String) throws {
        let load = try MetadataLoad(path: path)
        // In two pieces, as a pipe may bring it.
        let half = bytes.count / 2
        try bytes[..<half].withUnsafeBytes { try load.add($0) }
        try bytes[half...].withUnsafeBytes { try load.add($0) }
        try load.finish()
    }
}

/// A file's path in memory, for one run.
enum ScratchFile {
    private static let suffixes = ["", "-wal", "-shm", "-journal"]

    static func use(_ body: (String) throws -> String?) rethrows -> String? {
        let path = "/dev/shm/berth-fuzz-\(getpid())-\(UInt64.random(in: .min ... .max))"
        defer { for suffix in suffixes { unlink(path + suffix) } }
        return try body(path)
    }
}
