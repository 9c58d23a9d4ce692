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
/// - Bytes below `written` are in the file as they should be. Those from there on may be in `buffer` alone, where there
///   is one; a pack without a buffer is always written through.
/// - `underWay` holds the offset of every write from its reservation until its bytes are copied: what is written out
///   meanwhile from there on is written out again.
/// - `users` counts writers from their reservation until their extent is recorded, so that nobody
///   takes a pack without extents for an empty one while an extent is on its way.
// SAFETY: every mutable member is guarded by `monitor`.
final class StagedPack: @unchecked Sendable {
    let id: PackID
    let rawPath: String
    private var file: RawFile
    private let runsDescriptor: Int32
    private let monitor = Monitor()
    /// Held while bytes are written out: one thread at a time.
    private let writingOut = Monitor()
    private var buffer: PackBuffer?
    private var written: Int
    private var underWay: [Int] = []
    private var length: Int
    private var isOpen = true
    private var users = 0
    private var isDirty = false
    /// Stays until `renew`: the kernel reports a failed write once, and which bytes were lost nobody can say.
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
    /// There, and durable, before the pack's object can be in the store: it takes no more bytes then, whoever takes it up.
    static func sealedPath(_ directory: String, _ id: PackID) -> String { directory + "/\(id).sealed" }

    /// Makes a new staged pack, or takes up one that an earlier process left. The bytes of a new one with a buffer are
    /// written out by `synchronize`.
    init(_ id: PackID, in directory: String, isNew: Bool, buffer: PackBuffer? = nil) throws(Errno) {
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
            if runsDescriptor >= 0 { Glibc.close(runsDescriptor) }
            throw error
        }
        length = Int(status.st_size)
        rewritableFrom = length
        written = length
        // Room for what gathers in memory is set aside first: where there is none, or the quota has none, bytes are
        // written at once, and it is the writer who hears of it.
        self.buffer = buffer != nil && file.setAside(PackFormat.maximumRawBytes) ? buffer : nil
        self.buffer?.belong(to: id)
        if !isNew {
            // The process that was killed may have written what is in the page cache alone.
            isDirty = true
            loadRuns()
        }
    }

    deinit { Glibc.close(runsDescriptor) }

    var rawLength: Int { monitor.withLock { length } }

    // MARK: Writing

    /// Takes room for `count` bytes, or nil when the pack has none or is sealed. Call `release` after.
    func reserve(_ count: Int, for inode: InodeID, at fileOffset: UInt64) -> Int? {
        monitor.lock()
        defer { monitor.unlock() }
        guard isOpen, length + count <= PackFormat.maximumRawBytes else { return nil }
        let start = length
        length += count
        buffer?.note(length: length)
        users += 1
        underWay.append(start)
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
    func retainForRewrite(at offset: Int, _ count: Int) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        // Past the end is only what damaged metadata says.
        guard isOpen, offset >= rewritableFrom, offset <= length, count <= length - offset else { return false }
        users += 1
        rewriters += 1
        written = min(written, offset)
        underWay.append(offset)
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

    /// Puts bytes where `reserve` or `retainForRewrite` gave room. Call it once for each.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno) {
        let (buffer, file) = monitor.withLock { (self.buffer, self.file) }
        defer {
            monitor.lock()
            if let index = underWay.firstIndex(of: offset) { underWay.remove(at: index) }
            monitor.unlock()
        }
        guard let buffer else { return try file.writeFully(at: offset, bytes) }
        buffer.copy(bytes, to: offset)
    }

    /// Fills `buffer` with bytes from `offset` on.
    func read(
        at offset: Int, into target: UnsafeMutableRawBufferPointer, _ beforeWaiting: () -> Void
    ) throws(PackReadFailure) {
        let (buffer, file, length) = monitor.withLock { (self.buffer, self.file, self.length) }
        guard offset <= length, target.count <= length - offset else {
            throw .damage(.inconsistent("a read past the end"))
        }
        if let buffer {
            target.copyMemory(from: buffer.bytes(offset..<offset + target.count))
        } else {
            try file.read(at: offset, into: target, beforeWaiting)
        }
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
        let file = self.file
        monitor.unlock()
        guard mayBeDirty else { return }
        appendRuns(pending)
        do throws(Errno) {
            try writeOut()
            guard fdatasync(file.descriptor) == 0 else { throw .current }
        } catch {
            monitor.withLock { syncFailure = error }
            throw error
        }
    }

    /// Writes what only the buffer holds into the file, and lets go of the buffer of a pack that takes no more.
    private func writeOut() throws(Errno) {
        try writingOut.withLock { () throws(Errno) in
            monitor.lock()
            let (buffer, file) = (self.buffer, self.file)
            let range = written..<length
            // Rewrites that begin while the bytes are written out move it back.
            written = underWay.min().map { min($0, length) } ?? length
            monitor.unlock()
            guard let buffer else { return }
            do throws(Errno) {
                if !range.isEmpty { try file.writeFully(at: range.lowerBound, buffer.bytes(range)) }
            } catch {
                monitor.withLock { written = min(written, range.lowerBound) }
                throw error
            }
            monitor.lock()
            if !isOpen && users == 0 && written == length { self.buffer = nil }
            monitor.unlock()
        }
    }

    // MARK: Sealing

    /// Takes no more writes.
    func close() {
        monitor.withLock {
            isOpen = false
            // The next `synchronize` lets go of the buffer.
            isDirty = isDirty || buffer != nil
        }
    }

    /// As `close`, and waits for the writers that are under way.
    func seal() {
        monitor.lock()
        defer { monitor.unlock() }
        isOpen = false
        while users > 0 { monitor.wait() }
    }

    var allRuns: [PackRun] { monitor.withLock { runs } }

    /// Lets go of room that was set aside and not used. Call it when nothing is being written.
    func giveBackRoom() { monitor.withLock { file }.giveBack() }

    /// All raw bytes of a sealed pack, from the file.
    func sealedBytes() throws -> UnsafeMutableRawBufferPointer {
        try writeOut()
        giveBackRoom()
        let file = monitor.withLock { self.file }
        let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: rawLength, alignment: 4096)
        let available = min(file.size, raw.count)
        do {
            try file.readFully(at: 0, into: UnsafeMutableRawBufferPointer(rebasing: raw[..<available]))
        } catch {
            raw.deallocate()
            throw error
        }
        // Room that was reserved by a write that failed may lie past the file's end: it reads as zeros.
        UnsafeMutableRawBufferPointer(rebasing: raw[available...]).initializeMemory(as: UInt8.self, repeating: 0)
        return raw
    }

    // MARK: After a fault of the disk

    /// Where bytes may not have reached the disk: writes all of them into a new file in the place of the old one, durably.
    /// A second sync of the old one would succeed and have written nothing. The pack takes no more then.
    ///
    /// Where the old one cannot be read it stays: what commits name of it was synced before the failure, and reads of the
    /// rest fail by themselves.
    func renew(in directory: String) throws(Errno) {
        monitor.lock()
        let hasFailed = syncFailure != nil
        isOpen = isOpen && !hasFailed
        // Who is still writing would write into the old file, and might be recorded after all.
        while hasFailed && users > 0 { monitor.wait() }
        let (old, buffer, count) = (file, self.buffer, length)
        monitor.unlock()
        guard hasFailed else { return }
        let name = rawPath + ".new"
        unlink(name)
        let descriptor = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw .current }
        let new = RawFile(owning: descriptor)
        do throws(Errno) {
            if let buffer {
                try new.writeFully(at: 0, buffer.bytes(0..<count))
            } else {
                guard try new.copy(old, count: count) else {
                    unlink(name)
                    return monitor.withLock { syncFailure = nil }
                }
            }
            guard fdatasync(descriptor) == 0, rename(name, rawPath) == 0 else { throw .current }
        } catch {
            unlink(name)
            throw error
        }
        try AtomicFile.synchronizeDirectory(directory)
        monitor.lock()
        file = new
        written = count
        self.buffer = nil
        syncFailure = nil
        monitor.unlock()
    }

    // MARK: The list of runs beside the raw file
    // 24 bytes a run as in the object's record table. It serves only to make the pack describe itself, so it
    // is not synced: a crash of the machine may cost its end, never data.

    private func appendRuns(_ pending: [PackRun]) {
        guard !pending.isEmpty else { return }
        var writer = ByteWriter()
        for run in pending { run.put(into: &writer) }
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
            if let run = PackRun(&reader, rawLength: UInt64(length)) { runs.append(run) }
        }
        writtenRuns = runs.count
    }
}
