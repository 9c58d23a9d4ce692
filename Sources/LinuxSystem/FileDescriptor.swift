import CLinux
import FileModel
import Glibc

/// Owns an open file descriptor and closes it at the end of its life.
public struct FileDescriptor: ~Copyable, Sendable {
    /// The number, for a system call; it stays owned here.
    public let rawValue: Int32

    /// Takes ownership of an open descriptor.
    public init(owning rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// Hands the descriptor to the caller, who closes it.
    public consuming func take() -> Int32 {
        let number = rawValue
        discard self
        return number
    }

    deinit {
        close(rawValue)
    }
}

extension FileDescriptor {
    /// Opens a path, close-on-exec.
    public static func open(_ path: String, _ flags: Int32, mode: mode_t = 0o600) throws(Errno) -> FileDescriptor {
        while true {
            let number = Glibc.open(path, flags | O_CLOEXEC, mode)
            if number >= 0 { return FileDescriptor(owning: number) }
            if errno != EINTR { throw .current }
        }
    }

    /// A second descriptor for a number that stays somebody else's, such as standard input's.
    public static func copy(of number: Int32) throws(Errno) -> FileDescriptor {
        let copy = berth_duplicate_from(number, 3)
        guard copy >= 0 else { throw .current }
        return FileDescriptor(owning: copy)
    }

    /// Both ends of a pipe, close-on-exec.
    public static func pipe() throws(Errno) -> Pair {
        var ends: [Int32] = [-1, -1]
        guard pipe2(&ends, O_CLOEXEC) == 0 else { throw .current }
        return Pair(first: FileDescriptor(owning: ends[0]), second: FileDescriptor(owning: ends[1]))
    }

    /// Two descriptors that belong together: a pipe's read and write ends, or a pair of sockets.
    public struct Pair: ~Copyable {
        public let first: FileDescriptor
        public let second: FileDescriptor

        /// Keeps the first and closes the second.
        public consuming func takeFirst() -> FileDescriptor { first }
    }
}

extension FileDescriptor {
    /// Writes all bytes.
    public borrowing func write(_ bytes: [UInt8]) throws(Errno) {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.write(rawValue, $0.baseAddress.map { $0 + done }, $0.count - done)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .current }
            done += count
        }
    }

    /// Reads to the end, at most `limit` bytes. Answers EFBIG where there is more.
    public borrowing func readAll(limit: Int) throws(Errno) -> [UInt8] {
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = buffer.withUnsafeMutableBytes { Glibc.read(rawValue, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .current }
            if count == 0 { return result }
            guard result.count + count <= limit else { throw .fileTooLarge }
            result.append(contentsOf: buffer[..<count])
        }
    }

    /// Waits until there is something to read (or the other end is gone). False when time ran out.
    public borrowing func waitReadable(until deadline: Deadline) throws(Errno) -> Bool {
        try wait(for: Int16(POLLIN), until: deadline)
    }

    /// Waits until a write would not block. False when time ran out.
    public borrowing func waitWritable(until deadline: Deadline) throws(Errno) -> Bool {
        try wait(for: Int16(POLLOUT), until: deadline)
    }

    private borrowing func wait(for events: Int16, until deadline: Deadline) throws(Errno) -> Bool {
        while true {
            var entry = pollfd(fd: rawValue, events: events, revents: 0)
            let count = poll(&entry, 1, deadline.remainingMilliseconds)
            if count > 0 { return true }
            if count == 0 { return false }
            if errno != EINTR { throw .current }
        }
    }
}
