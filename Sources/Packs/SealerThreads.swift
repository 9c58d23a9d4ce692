import CLinux
import Glibc
import LinuxSystem

/// Threads that compress packs, and others that put them: a store far away answers late, and takes many at once.
// SAFETY: `threads` is touched by the owner alone.
final class SealerThreads: @unchecked Sendable {
    /// What is to be done with a pack. The threads call these.
    struct Work: Sendable {
        /// Makes the object of a sealed pack; nil where nothing of it was left to store. The pack is gone then.
        var compress: @Sendable (StagedPack) -> Result<[UInt8]?, Refusal>
        /// Puts it and records it.
        var send: @Sendable (StagedPack, [UInt8]) -> Refusal?
        /// Takes a line when the store begins to refuse packs, and one when it takes them again.
        var report: @Sendable (String) -> Void
    }

    /// Why a pack could not be stored.
    struct Refusal: Error {
        var cause: String
    }

    /// A quarter of what a request thread gets where cores are short; not less, or a full staging area would hold
    /// writers up on a busy node.
    private static let niceness: Int32 = 5

    private let sealer: Sealer
    private let work: Work
    private var threads: [WorkerThread] = []

    /// `senders` puts run at once, and `compressors` packs are compressed.
    init(_ sealer: Sealer, compressors: Int, senders: Int, _ work: Work) {
        self.sealer = sealer
        self.work = work
        threads = (0..<compressors).map { _ in WorkerThread(name: "berth-sealer") { [self] in compressAll() } }
        threads += (0..<senders).map { _ in WorkerThread(name: "berth-upload") { [self] in sendAll() } }
    }

    /// Waits for what is under way.
    func join() {
        for thread in threads { thread.join() }
        threads = []
    }

    private func compressAll() {
        // Requests first: sealing is work for moments when nobody asks for anything.
        setpriority(__priority_which_t(PRIO_PROCESS.rawValue), id_t(berth_gettid()), Self.niceness)
        while let job = sealer.nextToCompress() {
            job.pack.seal()
            switch work.compress(job.pack) {
            case .success(let object): sealer.compressed(job, object)
            case .failure(let refusal): report(sealer.failed(job, bytes: nil, refusal.cause), refusal)
            }
        }
    }

    private func sendAll() {
        setpriority(__priority_which_t(PRIO_PROCESS.rawValue), id_t(berth_gettid()), Self.niceness)
        while let (job, object) = sealer.nextToSend() {
            if let refusal = work.send(job.pack, object) {
                report(sealer.failed(job, bytes: object.count, refusal.cause), refusal)
            } else {
                report(sealer.sent(job, bytes: object.count), nil)
            }
        }
    }

    private func report(_ change: Sealer.Change?, _ refusal: Refusal?) {
        switch change {
        case .refused(let waiting):
            work.report(
                "the store takes no packs: \(refusal?.cause ?? ""); \(waiting) are kept in staging and tried again")
        case .recovered: work.report("the store takes packs again")
        case nil: break
        }
    }
}
