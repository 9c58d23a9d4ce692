import FileModel
import LinuxSystem
import ObjectStorage
import Packs
import Synchronization
import TestSupport
import Testing

@Suite("sealing")
struct SealingTests {
    /// A ledger that says of every pack that bytes of it are named.
    private final class Ledger: PackLedger {
        func packRecord(_ id: PackID) throws(Errno) -> PackRecord? {
            var record = PackRecord(id: id, state: .staged)
            record.liveBytes = 1
            return record
        }
        func packStored(_ id: PackID, rawLength: UInt64, storedLength: UInt64) throws(Errno) {}
        func packRemoved(_ id: PackID) throws(Errno) {}
    }

    @Test("closing waits for a store that fails no longer than it was told, says why, and keeps the data in staging")
    func boundedClose() throws {
        let directory = TemporaryDirectory()
        let store = MemoryStore()
        store.lostReplies.store(.max, ordering: .relaxed)
        let reports = Mutex<[String]>([])
        let packs = try PackStore(
            PackStoreConfiguration(
                stagingDirectory: "\(directory.path)/staging", cacheDirectory: "\(directory.path)/cache",
                cacheLimit: 1 << 30, compression: .none, epoch: 1), store: store)
        try packs.start(Ledger(), report: { line in reports.withLock { $0.append(line) } })
        let bytes = [UInt8](repeating: 7, count: 2 << 20)
        try bytes.withUnsafeBytes {
            try packs.append($0, of: InodeID(rawValue: 2), at: 0, beforeWaiting: {}) { _, _ throws(Errno) in }
        }
        let start = ContinuousClock.now
        // The tries that fail within this time wake whoever waits; none of them may prolong it.
        #expect(packs.close(seconds: 4)?.contains("the reply was lost") == true)
        #expect(start.duration(to: .now) < .seconds(8))
        #expect(reports.withLock { $0.count } == 1)
        #expect(try FileTree.names(in: "\(directory.path)/staging").contains { $0.hasSuffix(".raw") })
    }
}
