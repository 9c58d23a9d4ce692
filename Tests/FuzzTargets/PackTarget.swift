import FileModel
import ObjectStorage
import Packs

/// An object of the store, as somebody else may have left it.
enum PackTarget {
    private static let id = PackID(epoch: 3, sequence: 7)

    /// A store with one object.
    private struct OneObject: ObjectStore {
        let bytes: [UInt8]

        func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) { throw .exists }
        func get(
            _ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
        ) throws(ObjectStoreError) {
            guard offset <= UInt64(bytes.count), buffer.count <= bytes.count - Int(offset) else { throw .short }
            buffer.copyBytes(from: bytes[Int(offset)..<Int(offset) + buffer.count])
        }
        func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 { UInt64(bytes.count) }
        func delete(_ name: ObjectName) throws(ObjectStoreError) {}
        func list() throws(ObjectStoreError) -> [ObjectName] { [ObjectName(pack: id)] }
        func capacity() -> (total: UInt64, free: UInt64)? { nil }
    }

    @Sendable static func run(_ bytes: [UInt8]) -> String? {
        let store = OneObject(bytes: bytes)
        let fromEnd = try? PackIndex(reading: id, from: store)
        let whole = bytes.withUnsafeBytes { try? PackIndex(decoding: id, $0) }
        guard fromEnd == whole else { return "read from its end, the object has other tables than read whole" }
        let far = whole?.runs.first { $0.fileOffset.addingReportingOverflow(UInt64($0.length)).overflow }
        if let far { return "the record table names bytes of \(far.inode) past the end of all files" }
        let record = PackRecord(
            id: id, state: .stored, rawLength: UInt64(whole?.rawLength ?? 0), storedLength: UInt64(bytes.count))
        var problems = Problems()
        let proved = PackChecker(store: store, stagingDirectory: "/nonexistent").check(
            record, rawEnd: record.rawLength, data: true, &problems)
        if whole == nil { return problems.count == 0 ? "an object without tables passes the check" : nil }
        return problems.count == 0 && proved != record.rawLength ? "the check proved \(proved) bytes only" : nil
    }

    /// With right checksums, which no mutation would find: what lies behind them must hold by itself.
    @Sendable static func runMended(_ bytes: [UInt8]) -> String? {
        guard bytes.count > 64 else { return run(bytes) }
        var mended = bytes
        let trailer = bytes.count - 64
        func number(_ offset: Int, _ length: Int) -> Int {
            mended[trailer + offset..<trailer + offset + length].reversed().reduce(0) { $0 << 8 | Int($1) }
        }
        let tables = number(40, 4) * 16 + number(44, 4) * 24
        if tables <= trailer { mend(&mended, trailer - tables..<trailer, trailer + 48) }
        mend(&mended, trailer..<trailer + 56, trailer + 56)
        return run(mended)
    }

    private static func mend(_ bytes: inout [UInt8], _ range: Range<Int>, _ position: Int) {
        let checksum = bytes[range].withUnsafeBytes { PackFormat.checksum($0) }
        for index in 0..<8 { bytes[position + index] = UInt8(truncatingIfNeeded: checksum >> (8 * index)) }
    }
}
