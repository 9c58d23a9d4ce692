import FileModel
import Glibc

/// One mount of a mount namespace, from `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
public struct MountInfo: Equatable, Sendable {
    public var identifier: UInt64
    public var parent: UInt64
    /// `major:minor`.
    public var device: String
    public var root: String
    public var mountpoint: String
    public var options: [String]
    /// `shared:N`, `master:N` and such; empty for a private mount.
    public var propagation: [String]
    public var fileSystem: String
    public var source: String
    public var superOptions: [String]

    /// Reads one line; nil where it is not of the documented form.
    public init?(line: some StringProtocol) {
        let words = String(line).words(at: " ").map(String.init)
        guard let dash = words.firstIndex(of: "-"), dash >= 6, words.count >= dash + 3,
            let identifier = UInt64(words[0]), let parent = UInt64(words[1])
        else { return nil }
        self.identifier = identifier
        self.parent = parent
        device = words[2]
        root = Self.unescape(words[3])
        mountpoint = Self.unescape(words[4])
        options = words[5].words(at: ",").map(String.init)
        propagation = Array(words[6..<dash])
        fileSystem = words[dash + 1]
        source = Self.unescape(words[dash + 2])
        superOptions = words.count > dash + 3 ? words[dash + 3].words(at: ",").map(String.init) : []
    }

    /// All mounts of a namespace, in the order they were made. `process` is a pid, or `self`.
    public static func all(process: String = "self") throws(SystemFailure) -> [MountInfo] {
        let path = "/proc/\(process)/mountinfo"
        guard let bytes = try AtomicFile.read(path, limit: 16 << 20) else {
            throw SystemFailure(path, "does not exist", fix: "mount /proc", errno: .noEntry, status: .unavailable)
        }
        return String(decoding: bytes, as: UTF8.self).words(at: "\n").compactMap { MountInfo(line: $0) }
    }

    /// The uppermost mount at exactly this path, which must be absolute and free of links.
    public static func at(_ path: String, in mounts: [MountInfo]) -> MountInfo? {
        mounts.last { $0.mountpoint.isBytes(of: path) }
    }

    /// The device of the uppermost mount at a path, in this namespace.
    public static func device(at path: String) -> String? { at(path, in: (try? all()) ?? [])?.device }

    /// The mount that a path free of links lies on.
    public static func covering(_ path: String, in mounts: [MountInfo]) -> MountInfo? {
        var best: MountInfo?
        for mount in mounts {
            let prefix = mount.mountpoint == "/" ? "/" : mount.mountpoint + "/"
            guard path.isBytes(of: mount.mountpoint) || path.startsWithBytes(of: prefix) else { continue }
            if mount.mountpoint.utf8.count >= best?.mountpoint.utf8.count ?? 0 { best = mount }
        }
        return best
    }

    /// Space, tab, newline and backslash are written as `\ooo`.
    static func unescape(_ text: String) -> String {
        guard text.utf8.contains(0x5C) else { return text }
        let bytes = Array(text.utf8)
        var result: [UInt8] = []
        var index = 0
        while index < bytes.count {
            let digits = bytes[index...].dropFirst().prefix(3)
            if bytes[index] == 0x5C, digits.count == 3, digits.allSatisfy({ (0x30...0x37).contains($0) }) {
                let value = digits.reduce(0) { $0 * 8 + Int($1 - 0x30) }
                result.append(UInt8(truncatingIfNeeded: value))
                index += 4
            } else {
                result.append(bytes[index])
                index += 1
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
