import FileModel
import Glibc

/// How a background process tells the one that started it that it serves: one line on a descriptor it
/// was given as `--ready-fd N`, either `ready` or `error CODE message`.
public struct ReadinessReporter: ~Copyable {
    private let descriptor: FileDescriptor?

    /// Nil where nobody waits: nothing is then reported.
    public init(descriptor number: Int32?) {
        if let number { setCloseOnExec(number) }
        descriptor = number.map { FileDescriptor(owning: $0) }
    }

    /// Says that the process serves, and hangs up.
    public consuming func ready() {
        send("ready\n")
    }

    /// Says why it never will, and hangs up.
    public consuming func failed(_ failure: SystemFailure) {
        send("error \(failure.status.rawValue) \(failure.message)\n")
    }

    private borrowing func send(_ line: String) {
        // A starter that stopped waiting must not end us.
        signal(SIGPIPE, SIG_IGN)
        switch descriptor {
        case .some(let descriptor): try? descriptor.write(Array(line.utf8))
        case .none: break
        }
    }
}

/// The starter's end of a readiness pipe.
public struct ReadinessPipe: ~Copyable {
    private let reader: FileDescriptor
    private let writer: FileDescriptor

    public init() throws(SystemFailure) {
        do {
            let pair = try FileDescriptor.pipe()
            reader = pair.first
            writer = pair.second
        } catch {
            throw SystemFailure("a pipe", "cannot be made", error)
        }
    }

    /// What to hand the child, for a `Command.Remap`.
    public var childEnd: Int32 { writer.rawValue }

    /// Waits for the child's line; call it after the child was started. `name` is the child, for messages,
    /// and `log` where its own last words are.
    public consuming func wait(for name: String, log: String, timeout: Duration) throws(SystemFailure) {
        // Ours must be closed, or a child that died would never look so.
        let reader = closeWriter()
        let deadline = Deadline(after: timeout)
        var line: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while !line.contains(0x0A), line.count < 65536 {
            guard (try? reader.waitReadable(until: deadline)) == true else {
                throw SystemFailure(
                    name, "did not become ready within \(timeout)", fix: "see \(log)", errno: Errno(ETIMEDOUT),
                    status: .temporaryFailure)
            }
            let count = read(reader.rawValue, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            line += buffer[..<count]
        }
        let text = String(decoding: line.prefix { $0 != 0x0A }, as: UTF8.self)
        if text == "ready" { return }
        let words = text.split(separator: " ", maxSplits: 2).map(String.init)
        guard words.count == 3, words[0] == "error", let code = Int32(words[1]) else {
            throw SystemFailure(name, "ended before it was ready", fix: "see \(log)", status: .unavailable)
        }
        throw SystemFailure(name, words[2], status: ExitStatus(rawValue: code) ?? .unavailable)
    }

    private consuming func closeWriter() -> FileDescriptor { reader }
}

private func setCloseOnExec(_ number: Int32) {
    _ = fcntl(number, F_SETFD, FD_CLOEXEC)
}
