import Control
import FileModel
import Glibc
import LinuxSystem
import VFS

/// Imports and exports of a volume, each a thread that its client asks about.
///
/// Invariants
/// - A job whose client has gone silent ends at its next step.
// SAFETY: every mutable member is guarded by `monitor`.
final class Transfers: @unchecked Sendable {
    private struct Job {
        var progress: TransferProgress
        var lastAsked = ContinuousClock.now
    }

    private static let jobLimit = 4
    private static let silence = Duration.seconds(30)

    private let volume: String
    private let fileSystem: FileSystem
    private let stores: ForeignStores
    /// Whether this process may make files where a user wants an export.
    private let makesFiles: Bool
    private let monitor = Monitor()
    private var jobs: [Int: Job] = [:]
    private var lastJob = 0

    init(volume: String, fileSystem: FileSystem, stores: ForeignStores, makesFiles: Bool) {
        self.makesFiles = makesFiles
        self.volume = volume
        self.fileSystem = fileSystem
        self.stores = stores
    }

    /// Whether the server is needed though it may have no session.
    var isBusy: Bool { monitor.withLock { jobs.values.contains { !$0.progress.isOver } } }

    func start(_ order: ImportOrder) throws(SystemFailure) -> TransferProgress {
        let place = try names(order.place)
        let job = ImportJob(order: order, place: place, fileSystem: fileSystem, stores: stores)
        return try start { step throws(SystemFailure) in try job.run(step) }
    }

    func start(_ order: ExportOrder, _ passed: consuming FileDescriptor?) throws(SystemFailure) -> TransferProgress {
        guard let descriptor = passed.take() else {
            throw SystemFailure("export", "came without a descriptor", status: .dataError)
        }
        let place = try names(order.place)
        let target = TargetDescriptor(descriptor)
        guard order.isArchive || makesFiles || target.isSocket else {
            throw SystemFailure(
                "export", "was asked by an older `berth`, and this server makes no files itself",
                fix: "use the `berth` that is installed now", status: .unavailable)
        }
        let job = ExportJob(volume: volume, order: order, place: place, fileSystem: fileSystem, target: target)
        return try start { step throws(SystemFailure) in try job.run(step) }
    }

    private func names(_ path: [UInt8]) throws(SystemFailure) -> [FileName] {
        do {
            return try path.split(separator: 0x2F).map { part throws(Errno) in try FileName(Array(part)) }
        } catch {
            throw SystemFailure("\(volume):/\(String(decoding: path, as: UTF8.self))", "names no path", error)
        }
    }

    private func start(
        _ body: @escaping @Sendable (TransferStep) throws(SystemFailure) -> Void
    ) throws(SystemFailure) -> TransferProgress {
        monitor.lock()
        defer { monitor.unlock() }
        jobs = jobs.filter { !$0.value.progress.isOver || $0.value.lastAsked.duration(to: .now) < Self.silence }
        let running = jobs.values.count { !$0.progress.isOver }
        guard running < Self.jobLimit else {
            throw SystemFailure(
                "volume \"\(volume)\"", "has \(running) imports and exports under way", fix: "wait for one of them",
                errno: .busy, status: .temporaryFailure)
        }
        lastJob += 1
        let number = lastJob
        jobs[number] = Job(progress: TransferProgress(job: number))
        _ = WorkerThread(name: "berth-transfer") { self.run(number, body) }
        return TransferProgress(job: number)
    }

    private func run(_ number: Int, _ body: (TransferStep) throws(SystemFailure) -> Void) {
        var failure: SystemFailure?
        do throws(SystemFailure) {
            try body(TransferStep { change throws(SystemFailure) in try self.note(number, change) })
        } catch {
            failure = error
        }
        monitor.lock()
        defer { monitor.unlock() }
        jobs[number]?.progress.failure = failure?.message
        if let failure { jobs[number]?.progress.status = failure.status }
        jobs[number]?.progress.isOver = true
    }

    private func note(_ number: Int, _ change: (inout TransferProgress) -> Void) throws(SystemFailure) {
        monitor.lock()
        defer { monitor.unlock() }
        guard var job = jobs[number] else { return }
        change(&job.progress)
        jobs[number] = job
        guard job.lastAsked.duration(to: .now) < Self.silence else {
            throw SystemFailure("volume \"\(volume)\"", "its client is gone", status: .temporaryFailure)
        }
    }

    func progress(_ number: Int) throws(SystemFailure) -> TransferProgress {
        monitor.lock()
        defer { monitor.unlock() }
        guard let job = jobs[number] else {
            throw SystemFailure("volume \"\(volume)\"", "has no job \(number)", fix: "start it again", status: .noInput)
        }
        jobs[number]?.lastAsked = .now
        return job.progress
    }
}

/// What a job does after each step: it says how far it is, and ends where nobody wants it any more.
struct TransferStep {
    let note: ((inout TransferProgress) -> Void) throws(SystemFailure) -> Void

    init(_ note: @escaping ((inout TransferProgress) -> Void) throws(SystemFailure) -> Void) {
        self.note = note
    }
}

/// A descriptor that a job owns.
final class TargetDescriptor: Sendable {
    let descriptor: FileDescriptor

    init(_ descriptor: consuming FileDescriptor) {
        self.descriptor = descriptor
    }

    var number: Int32 { descriptor.rawValue }

    /// The directory that it is, or that its other end makes files in.
    func tree() throws(SystemFailure) -> any ExportTree {
        let copy = try explaining("export", "its target cannot be used") { () throws(Errno) in
            try FileDescriptor.copy(of: number)
        }
        return isSocket ? RemoteExportTree(copy) : LocalExportTree(copy)
    }

    var isSocket: Bool {
        var status = stat()
        return fstat(number, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
    }
}
