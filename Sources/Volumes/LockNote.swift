import Glibc
import LinuxSystem

/// What the file of a volume's lock says: who holds it, where, and a number that grows while the holder lives.
///
///     serving 4711              or `closing` from the moment a server has begun to end, `closed` where nobody holds it
///     /run/user/1000/berth/…    the socket the server listens on; empty where there is none
///     started 123456            when the process began: field 22 of its /proc/PID/stat
///     host node17
///     boot 6f6f6f6f-…
///     beat 00000000000000000042
///
/// Programs before decision 0077 wrote the first two lines only, or the first. Lines of words that are unknown are
/// passed over.
public struct LockNote: Equatable, Sendable {
    public enum State: String, Sendable {
        case serving
        case closing
        case closed
    }

    /// Longer than any: a path is 4096 bytes at most.
    public static let byteLimit = 16_384

    public var state: State
    public var processID: Int32
    /// Nil for programs before decision 0077.
    public var startedAt: UInt64?
    /// Where the holder listens; nil where it does not.
    public var socket: String?
    /// Nil for programs before decision 0077.
    public var node: NodeIdentity?
    /// Differs from what it was a moment ago while the holder lives (`VolumeLock.beatInterval`).
    public var beat: UInt64

    public init(
        state: State, processID: Int32, startedAt: UInt64? = nil, socket: String? = nil, node: NodeIdentity? = nil,
        beat: UInt64 = 0
    ) {
        self.state = state
        self.processID = processID
        self.startedAt = startedAt
        self.socket = socket
        self.node = node
        self.beat = beat
    }

    /// Nil where the bytes are no note: of a lock file that is new, or of which only a part was written.
    public init?(decoding bytes: [UInt8]) {
        guard bytes.count <= Self.byteLimit else { return nil }
        var lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        let words = lines[0].split(separator: " ")
        guard words.count == 2, let state = State(rawValue: String(words[0])), let processID = Int32(words[1]),
            processID > 0
        else { return nil }
        self.init(state: state, processID: processID)
        lines.removeFirst()
        if let first = lines.first {
            socket = first.isEmpty ? nil : first
            lines.removeFirst()
        }
        var host: String?
        var boot: String?
        for line in lines {
            guard let space = line.firstIndex(of: " ") else { continue }
            let value = String(line[line.index(after: space)...])
            switch line[..<space] {
            case "started": startedAt = UInt64(value)
            case "host": host = value
            case "boot": boot = value
            case "beat": beat = UInt64(value) ?? 0
            default: break
            }
        }
        if let boot { node = NodeIdentity(host: host ?? "", boot: boot) }
    }

    /// The note in a lock file; nil where there is none, or no such file. Opened anew each time: on NFS that is when
    /// the client asks the server for a newer content (nfs(5), close-to-open).
    public init?(at path: String) {
        guard let bytes = (try? AtomicFile.read(path, limit: Self.byteLimit)) ?? nil else { return nil }
        self.init(decoding: bytes)
    }

    public var encoded: [UInt8] {
        // A line is a line, whatever somebody has named a directory or a machine.
        func line(_ text: String) -> String { text.unicodeScalars.contains { $0.value < 0x20 } ? "" : text }
        var text = "\(state.rawValue) \(processID)\n\(line(socket ?? ""))\n"
        if let startedAt { text += "started \(startedAt)\n" }
        if let node { text += "host \(line(node.host))\nboot \(line(node.boot))\n" }
        // As long as every other one: the file is overwritten in place, and never half as long in between.
        let digits = String(beat)
        text += "beat \(String(repeating: "0", count: 20 - digits.utf8.count))\(digits)\n"
        return Array(text.utf8)
    }

    /// The holder, where it is a process of this boot: only then its number means anything here. Nil for programs
    /// before decision 0077, too.
    public func holder(on node: NodeIdentity) -> ProcessIdentity? {
        guard state != .closed, let startedAt, !node.boot.isEmpty, self.node?.boot == node.boot else { return nil }
        return ProcessIdentity(processID: processID, startedAt: startedAt)
    }

    /// Whether its process lives here: only then does its socket mean anything. Of a note of a program before decision 0077
    /// only the process's number is known.
    public func isOfLivingProcess(on node: NodeIdentity) -> Bool {
        let isAlive = kill(processID, 0) == 0 || errno == EPERM
        if let holder = holder(on: node) {
            // Where `/proc` hides what is not dumpable, the number alone must do.
            return ProcessIdentity(of: processID).map { $0 == holder } ?? isAlive
        }
        return self.node == nil && isAlive
    }

    /// Whether it was written on another machine, or before this one was started last. Nobody can tell of a program
    /// before decision 0077, and of a machine without boot_id: then the lock alone decides, as before.
    public func isForeign(to node: NodeIdentity) -> Bool {
        guard let boot = self.node?.boot, !boot.isEmpty, !node.boot.isEmpty else { return false }
        return boot != node.boot
    }
}
