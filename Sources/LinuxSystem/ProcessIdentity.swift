import CLinux
import FileModel
import Glibc

/// A process that cannot be taken for a later one with the same number: its pid and when it started.
public struct ProcessIdentity: Hashable, Sendable {
    public var processID: Int32
    /// Clock ticks after boot; field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    public var startedAt: UInt64

    public init(processID: Int32, startedAt: UInt64) {
        self.processID = processID
        self.startedAt = startedAt
    }

    /// The process with this number now; nil where there is none.
    public init?(of processID: Int32) {
        guard let bytes = (try? AtomicFile.read("/proc/\(processID)/stat")) ?? nil,
            // The second field is the program's name in parentheses, and may hold anything.
            let end = bytes.lastIndex(of: UInt8(ascii: ")"))
        else { return nil }
        let fields = String(decoding: bytes[(end + 1)...], as: UTF8.self).words(at: " ")
        guard fields.count > 19, let startedAt = UInt64(fields[19]) else { return nil }
        // A zombie has no namespaces and no files any more.
        guard fields[0] != "Z", fields[0] != "X" else { return nil }
        self.init(processID: processID, startedAt: startedAt)
    }

    public var isRunning: Bool { ProcessIdentity(of: processID) == self }
}

/// What `/proc` tells of other processes of this user. Of strangers it tells nothing, which is no error.
public enum ProcessTable {
    /// Every process of this pid namespace.
    public static func all() -> [Int32] {
        ((try? FileTree.names(in: "/proc")) ?? []).compactMap { Int32($0) }
    }

    /// The inode that names a namespace (`user` or `mnt`) of a process; nil where it may not be read.
    public static func namespace(_ kind: String, of process: String) -> UInt64? {
        var status = Glibc.stat()
        guard stat("/proc/\(process)/ns/\(kind)", &status) == 0 else { return nil }
        return UInt64(status.st_ino)
    }

    /// The environment a process was started with; empty where it may not be read.
    public static func environment(of process: Int32) -> [String: String] {
        let bytes = (try? AtomicFile.read("/proc/\(process)/environ", limit: 4 << 20)) ?? nil
        var result: [String: String] = [:]
        for entry in (bytes ?? []).split(separator: 0) {
            guard let equals = entry.firstIndex(of: UInt8(ascii: "=")) else { continue }
            let name = String(decoding: entry[..<equals], as: UTF8.self)
            result[name] = String(decoding: entry[(equals + 1)...], as: UTF8.self)
        }
        return result
    }

    /// A copy of another process's descriptor, for whoever may trace it (pidfd_getfd(2)).
    public static func descriptor(_ number: Int32, of process: Int32) throws(Errno) -> FileDescriptor {
        let handle = berth_pidfd_open(process)
        guard handle >= 0 else { throw .current }
        let pidfd = FileDescriptor(owning: handle)
        let copy = berth_pidfd_getfd(pidfd.rawValue, number)
        guard copy >= 0 else { throw .current }
        return FileDescriptor(owning: copy)
    }

    /// The program's name, at most 15 bytes.
    public static func name(of process: Int32) -> String? {
        guard let bytes = (try? AtomicFile.read("/proc/\(process)/comm")) ?? nil else { return nil }
        return String(decoding: bytes.prefix { $0 != 0x0A }, as: UTF8.self)
    }

    /// How many files of the given mounts (`mnt_id` of proc_pid_fdinfo(5)) a process holds open.
    public static func openFiles(of process: Int32, onMounts mounts: Set<UInt64>) -> Int {
        let directory = "/proc/\(process)/fdinfo"
        return ((try? FileTree.names(in: directory)) ?? []).count { number in
            guard let bytes = (try? AtomicFile.read("\(directory)/\(number)")) ?? nil else { return false }
            let line = String(decoding: bytes, as: UTF8.self).words(at: "\n").first {
                $0.startsWithBytes(of: "mnt_id:")
            }
            guard let identifier = line?.words(at: "\t").last.flatMap({ UInt64($0) }) else { return false }
            return mounts.contains(identifier)
        }
    }

    /// Whether a process has anything of a device (`major:minor`): an open file, its working or root directory, its program, a
    /// mapping; wherever that is mounted, or whether at all.
    public static func uses(_ process: Int32, device: String) -> Bool {
        let own = "/proc/\(process)"
        let places =
            ["cwd", "root", "exe"].map { "\(own)/\($0)" }
            + ((try? FileTree.names(in: "\(own)/fd")) ?? []).map { "\(own)/fd/\($0)" }
        return places.contains { self.device(of: $0) == device } || mappedFiles(of: process, onDevice: device) > 0
    }

    private static func device(of path: String) -> String? {
        var (major, minor): (UInt32, UInt32) = (0, 0)
        return berth_device_of(path, &major, &minor) == 0 ? "\(major):\(minor)" : nil
    }

    /// How many files of a device (`major:minor`) a process has mapped.
    public static func mappedFiles(of process: Int32, onDevice device: String) -> Int {
        guard let bytes = (try? AtomicFile.read("/proc/\(process)/maps", limit: 16 << 20)) ?? nil else { return 0 }
        let parts = device.words(at: ":").compactMap { UInt32($0) }
        guard parts.count == 2 else { return 0 }
        var inodes: Set<Substring> = []
        for line in String(decoding: bytes, as: UTF8.self).words(at: "\n") {
            let words = line.split(separator: " ", maxSplits: 5)
            guard words.count >= 5 else { continue }
            let place = words[3].words(at: ":").compactMap { UInt32($0, radix: 16) }
            if place == parts { inodes.insert(words[4]) }
        }
        return inodes.count
    }
}
