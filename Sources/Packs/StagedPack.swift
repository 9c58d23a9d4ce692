import CLinux
import FileModel
import Glibc
import LinuxSystem

/// A pack that is not in the store yet: raw bytes in a file of the staging directory, and beside it the
/// list of runs that the object's record table will hold.
///
/// Invariants
/// - Bytes below `length` are handed out once, by `reserve`; who reserved them writes them.
/// - `isOpen` goes from true to false once. After it, and once `users` is 0, no byte changes any more.
/// - `users` counts writers from their reservation until their extent is recorded, so that nobody
///   takes a pack without extents for an empty one while an extent is on its way.
// SAFETY: every mutable member is guarded by `monitor`.
final class StagedPack: @unchecked Sendable {
    let id: PackID
    let rawPath: String
    let file: RawFile
    private let runsDescriptor: Int32
    private let monitor = Monitor()
    private var length: Int
    private var isOpen = true
    private var users = 0
    private var isDirty = false
    /// Stays: the kernel reports a failed write once, and which bytes were lost nobody can say.
    private var syncFailure: Errno?
    private var runs: [PackRun] = []
    private var writtenRuns = 0
    /// Bytes from here on were written since the last commit and belong to one inode only, so that they can
    /// be rewritten in place: a crash takes them back whole. A commit moves it to the end, and so does a clone.
    private var rewritableFrom: Int
    /// Those of `users` that write over bytes of before.
    private var rewriters = 0

    static func rawPath(_ directory: String, _ id: PackID) -> String { directory + "/\(id).raw" }
    static func runsPath(_ directory: String, _ id: PackID) -> String { directory + "/\(id).runs" }

    /// Makes a new staged pack, or takes up one that an earlier process left.
    init(_ id: PackID, in directory: String, isNew: Bool) throws(Errno) {
        self.id = id
        rawPath = Self.rawPath(directory, id)
        let flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | (isNew ? O_CREAT | O_EXCL : 0)
        let descriptor = open(rawPath, flags, 0o600)
        guard descriptor >= 0 else { throw .current }
        file = RawFile(owning: descriptor)
        runsDescriptor = open(Self.runsPath(directory, id), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        var status = Glibc.stat()
        guard runsDescriptor >= 0, fstat(descriptor, &status) == 0 else {
            let error = Errno.current
            if runsDescriptor >= 0 { close(runsDescriptor) }
            throw error
        }
        length = Int(status.st_size)
        rewritableFrom = length
        if !isNew { loadRuns() }
    }

    deinit { close(runsDescriptor) }

    var rawLength: Int { monitor.withLock { length } }

    // MARK: Writing

    /// Takes room for `count` bytes, or nil when the pack has none or is sealed. Call `release` after.
    func reserve(_ count: Int, for inode: InodeID, at fileOffset: UInt64) -> Int? {
        monitor.lock()
        defer { monitor.unlock() }
        guard isOpen, length + count <= PackFormat.maximumRawBytes else { return nil }
        let start = length
        length += count
        users += 1
        note(PackRun(inode: inode, fileOffset: fileOffset, rawOffset: UInt32(start), length: UInt32(count)))
        return start
    }

    private func note(_ run: PackRun) {
        if runs.count > writtenRuns, let last = runs.last, last.inode == run.inode,
            last.fileOffset + UInt64(last.length) == run.fileOffset, last.rawOffset + last.length == run.rawOffset
        {
            runs[runs.count - 1].length += run.length
        } else {
            runs.append(run)
        }
    }

    /// True when bytes at `offset` may be written again in place. Call `releaseRewrite` after if so.
    func retainForRewrite(at offset: Int) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        guard isOpen, offset >= rewritableFrom else { return false }
        users += 1
        rewriters += 1
        return true
    }

    func releaseRewrite() {
        monitor.lock()
        rewriters -= 1
        if rewriters == 0 { monitor.signalAll() }
        monitor.unlock()
        release()
    }

    func release() {
        monitor.lock()
        users -= 1
        isDirty = true
        if users == 0 && !isOpen { monitor.signalAll() }
        monitor.unlock()
    }

    /// From now on no byte that is in the pack is rewritten in place. Waits for those that are being rewritten;
    /// who does that takes no other lock meanwhile.
    func freezeWritten() {
        monitor.lock()
        rewritableFrom = length
        while rewriters > 0 { monitor.wait() }
        monitor.unlock()
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno) {
        try file.writeFully(at: offset, bytes)
    }

    /// Makes what was written before the call durable.
    func synchronize() throws(Errno) {
        monitor.lock()
        if let syncFailure {
            monitor.unlock()
            throw syncFailure
        }
        // A writer's extent may be recorded already, and the writer not yet gone: its bytes belong to the commit.
        let mayBeDirty = isDirty || users > 0
        isDirty = users > 0
        let pending = Array(runs[writtenRuns...])
        writtenRuns = runs.count
        monitor.unlock()
        guard mayBeDirty else { return }
        appendRuns(pending)
        guard fdatasync(file.descriptor) == 0 else {
            let error = Errno.current
            monitor.withLock { syncFailure = error }
            throw error
        }
    }

    // MARK: Sealing

    /// Takes no more writes. Waits for the writers that are under way.
    func seal() {
        monitor.lock()
        defer { monitor.unlock() }
        isOpen = false
        while users > 0 { monitor.wait() }
    }

    var allRuns: [PackRun] { monitor.withLock { runs } }

    // MARK: The list of runs beside the raw file
    // 24 bytes a run as in the object's record table. It serves only to make the pack describe itself, so it
    // is not synced: a crash of the machine may cost its end, never data.

    private func appendRuns(_ pending: [PackRun]) {
        guard !pending.isEmpty else { return }
        var writer = ByteWriter()
        for run in pending {
            writer.put(run.inode.rawValue)
            writer.put(run.fileOffset)
            writer.put(run.rawOffset)
            writer.put(run.length)
        }
        _ = writer.bytes.withUnsafeBytes { Glibc.write(runsDescriptor, $0.baseAddress, $0.count) }
    }

    private func loadRuns() {
        var status = Glibc.stat()
        guard fstat(runsDescriptor, &status) == 0, status.st_size > 0 else { return }
        let whole = Int(status.st_size) / PackFormat.recordBytes * PackFormat.recordBytes
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: whole, alignment: 8)
        defer { buffer.deallocate() }
        guard pread(runsDescriptor, buffer.baseAddress, whole, 0) == whole else { return }
        lseek(runsDescriptor, off_t(whole), SEEK_SET)
        var reader = ByteReader(UnsafeRawBufferPointer(buffer))
        while reader.position < whole {
            let run = PackRun(
                inode: InodeID(rawValue: reader.take(UInt64.self)), fileOffset: reader.take(UInt64.self),
                rawOffset: reader.take(UInt32.self), length: reader.take(UInt32.self))
            guard Int(run.rawOffset) + Int(run.length) <= length else { continue }
            runs.append(run)
        }
        writtenRuns = runs.count
    }
}
