import CSQLite
import FileModel
import Glibc
import LinuxSystem
import Metadata

/// The way back after a fault of the disk: see decision 0067.
extension SQLiteMetadataStore {
    public var remedy: FaultRemedy? { lock.withLock { current.fault?.remedy } }

    public func fail(_ cause: String) {
        // Over one that would pass: the volume is somebody else's for good.
        lock.withLock { current.fault = MetadataFault(cause: cause, remedy: .newMount) }
    }

    public func reopen() throws(Errno) -> Set<InodeID> {
        lock.lock()
        defer { lock.unlock() }
        guard !isClosed, current.fault?.remedy == .reopening else { throw .io }
        // Reads go on with the connection that is there until the disk takes writes.
        if !isAway {
            // It fails where pages could not be read: they are read anew by another connection.
            try? settleFault()
            try probe()
            try rewriteLog()
        }
        let old = current
        do {
            try replaceConnection()
        } catch {
            throw .io
        }
        // What was given out in no commit, too.
        current.nextInode = max(current.nextInode, old.nextInode)
        current.nextTrash = max(current.nextTrash, old.nextTrash)
        current.nextAccount = max(current.nextAccount, old.nextAccount)
        current.nextForeign = max(try current.nextForeignNumber(), old.nextForeign ?? 0)
        current.isCounterDirty = true
        // What it held and no commit has is told to be lost.
        current.log = old.log
        do { current.log?.begin(generation: try Self.generation(connection)) } catch { throw .io }
        defer { lostChanges = [] }
        return lostChanges
    }

    /// Goes back to the last good commit, once, so that what can be read is read and is right: SQLite may have taken
    /// back a part of what the caches hold. Nothing can be changed from then on, until `reopen`.
    func settleFault() throws(Errno) {
        guard !isSettled else { return }
        lostChanges.formUnion(current.toldInodes)
        do {
            // Where SQLite has rolled back by itself there is no transaction to end.
            if sqlite3_get_autocommit(connection.handle) == 0 { try connection.execute("ROLLBACK") }
            try connection.execute("PRAGMA query_only = ON")
            try current.reload()
        } catch {
            throw .io
        }
        // The bodies in it were acknowledged; what comes now knows nothing of them.
        current.log?.truncate()
        try requireSoundReads()
        isSettled = true
    }

    /// Under the lock: what a body has changed in the caches after the fault is in nobody's hands, and not lost.
    func takeBackRefused() throws(Errno) {
        let lost = lostChanges
        isSettled = false
        try settleFault()
        lostChanges = lost
    }

    /// Under the lock: answers EIO where a page of the database could not be read since the last look.
    @inline(__always)
    func requireSoundReads() throws(Errno) {
        guard MappedReads.failures != readFailures else { return }
        readFailures = MappedReads.failures
        current.fault = MetadataFault(cause: "the database cannot be read: \(Errno.io)", remedy: .reopening)
        isSettled = false
        throw .io
    }

    /// Whether the disk makes a file and keeps its bytes.
    private func probe() throws(Errno) {
        let name = path + "-probe"
        defer { unlink(name) }
        let file = try FileDescriptor.open(name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW)
        let page = [UInt8](repeating: 0, count: 4096)
        let written = page.withUnsafeBytes { write(file.rawValue, $0.baseAddress, $0.count) }
        guard written == page.count, fdatasync(file.rawValue) == 0 else { throw written < 0 ? .current : .io }
    }

    /// Writes the log over itself and syncs it. After a sync that failed the kernel holds its bytes as if they were on the
    /// disk: a second sync would write nothing and succeed. What a checkpoint takes from a log that is not on the disk
    /// would be damage after a power failure.
    private func rewriteLog() throws(Errno) {
        let size = log.size
        let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { chunk.deallocate() }
        var offset = 0
        while offset < size {
            let count = pread(log.descriptor, chunk.baseAddress, min(chunk.count, size - offset), off_t(offset))
            guard count > 0 else { throw count == 0 ? .io : .current }
            try writeWhole(UnsafeRawBufferPointer(rebasing: chunk[..<count]), to: log.descriptor, at: offset)
            offset += count
        }
        guard log.synchronize() else { throw .current }
    }

    /// Closes the connection and opens another one, which reads what the disk has.
    private func replaceConnection() throws(SQLiteFailure) {
        let expected = logLength.frames
        if !isAway { berth_sqlite_keep_log(connection.handle, 1) }
        isAway = true
        connection.close()
        let opened = try Self.connect(path, keepsLog: true)
        var found: Int32 = 0
        // Its own pages in the file may have been lost, too: all that the log has is written into it again.
        let code = sqlite3_wal_checkpoint_v2(opened.handle, nil, SQLITE_CHECKPOINT_PASSIVE, &found, nil)
        guard code == SQLITE_OK else { throw opened.failure(code) }
        try Self.configure(opened)
        log = try FileDescriptorBox(path + "-wal")
        logLength.frames = found
        logLength.follow(opened)
        let transaction = try SQLiteTransaction(connection: opened)
        (connection, current) = (opened, transaction)
        readFailures = MappedReads.failures
        isAway = false
        guard found >= expected else {
            // Programs were shown what those commits held: only a new mount may show less.
            current.fault = MetadataFault(
                cause: "the disk lost commits that it had taken; what is shown is what it has", remedy: .newMount)
            try opened.execute("PRAGMA query_only = ON")
            throw SQLiteFailure(code: SQLITE_IOERR, message: "commits are missing")
        }
        try opened.execute("BEGIN IMMEDIATE")
        berth_sqlite_keep_log(opened.handle, 0)
        isSettled = false
    }
}
