import CLinux
import FileModel
import Glibc

/// Makes directories to mount at appear in this process's own mount namespace, whether the host has them or not.
///
/// A directory that is there is used as it is. One that is missing below a directory the user may write is made: a
/// program must go on finding its new files beside it. Any other gets its parent rebuilt: a small tmpfs, read-only at
/// the end, with every entry of the parent bound into it and the new directory beside them. The root directory is
/// rebuilt as a new root.
public struct PrivateTree {
    /// What is to be rebuilt: a directory without links, and paths to make below it.
    private var rebuilt: [String: [String]] = [:]
    /// Entries that could not be bound, for a warning.
    public private(set) var missing: [String] = []

    public init() {}

    /// Prepares the paths, all at once. Returns where each now is, in the same order, without links.
    public mutating func prepare(_ paths: [String]) throws(SystemFailure) -> [String] {
        var targets: [String] = []
        for path in paths { targets.append(try plan(path)) }
        if let additions = rebuilt.removeValue(forKey: "/") { try rebuildRoot(additions) }
        // Parents first: what is bound into a rebuilt parent can still be rebuilt there.
        for directory in rebuilt.keys.sorted() { try rebuild(directory, adding: rebuilt[directory] ?? []) }
        return targets
    }

    private mutating func plan(_ path: String) throws(SystemFailure) -> String {
        if let real = Self.real(path) {
            var status = stat()
            // One that cannot be examined is somebody's mount, and can be mounted over.
            if stat(real, &status) == 0, status.st_mode & S_IFMT != S_IFDIR {
                throw SystemFailure("path \(path)", "is not a directory here", errno: .notDirectory, status: .usage)
            }
            return real
        }
        let (parent, rest) = try existingParent(of: path)
        let target = parent == "/" ? "/\(rest)" : "\(parent)/\(rest)"
        if parent != "/", access(parent, W_OK) == 0 {
            try makeDirectories(rest, below: parent)
        } else {
            rebuilt[parent, default: []].append(rest)
        }
        return target
    }

    /// The nearest parent that is there, without links, and what is missing below it.
    private func existingParent(of path: String) throws(SystemFailure) -> (parent: String, rest: String) {
        var parts = path.words(at: "/").map(String.init)
        var rest: [String] = []
        while let last = parts.popLast() {
            let whole = "/" + (parts + [last]).joined(separator: "/")
            var status = stat()
            if lstat(whole, &status) == 0, status.st_mode & S_IFMT == S_IFLNK {
                throw SystemFailure("path \(path)", "goes through \(whole), a link to nowhere", status: .noInput)
            }
            rest.insert(last, at: 0)
            if let parent = Self.real("/" + parts.joined(separator: "/")) {
                return (parent, rest.joined(separator: "/"))
            }
            guard errno == ENOENT else { throw SystemFailure("path \(path)", "cannot be reached", .current) }
        }
        throw SystemFailure("path \(path)", "cannot be reached", .noEntry)
    }

    private static func real(_ path: String) -> String? {
        guard let found = realpath(path, nil) else { return nil }
        defer { free(found) }
        return String(cString: found)
    }

    private func makeDirectories(_ rest: String, below parent: String) throws(SystemFailure) {
        var path = parent
        for part in rest.words(at: "/") {
            path += path == "/" ? part : "/\(part)"
            guard mkdir(path, 0o755) == 0 || errno == EEXIST else {
                throw SystemFailure("path \(path)", "cannot be made", .current, status: .cannotCreate)
            }
        }
    }

    // MARK: - Rebuilding

    private mutating func rebuild(_ directory: String, adding paths: [String]) throws(SystemFailure) {
        // The descriptor goes on naming what the tmpfs covers.
        let original = try Self.opened(directory)
        try Self.mountEmpty(at: directory)
        try fill(directory, from: "/proc/self/fd/\(original.rawValue)", named: directory)
        for path in paths { try makeDirectories(path, below: directory) }
        try Self.close(directory)
    }

    /// Makes a tmpfs the root and binds the old root's entries into it, as container runtimes do: pivot_root(2).
    private mutating func rebuildRoot(_ paths: [String]) throws(SystemFailure) {
        // Any directory that is there: it is covered for a moment only.
        let candidates: [String] = ["/tmp", "/var/tmp", "/run", "/usr"]
        let stage = candidates.first { access($0, F_OK) == 0 } ?? "/usr"
        let old = ".berth-host-\(getpid())"
        try Self.mountEmpty(at: stage)
        guard chdir(stage) == 0, mkdir(old, 0o700) == 0, berth_pivot_root(".", old) == 0, chdir("/") == 0 else {
            throw SystemFailure("a root directory of its own", "cannot be made", .current, status: .unavailable)
        }
        try fill("", from: "/\(old)", named: "")
        for path in paths { try makeDirectories(path, below: "/") }
        guard umount2("/\(old)", Int32(MNT_DETACH)) == 0, rmdir("/\(old)") == 0 else {
            throw SystemFailure("the old root directory", "cannot be left", .current, status: .unavailable)
        }
        try Self.close("/")
    }

    private static func opened(_ directory: String) throws(SystemFailure) -> FileDescriptor {
        try explaining(directory, "cannot be opened") { () throws(Errno) in
            try FileDescriptor.open(directory, Int32(BERTH_O_PATH) | O_DIRECTORY)
        }
    }

    private static func mountEmpty(at directory: String) throws(SystemFailure) {
        guard mount("tmpfs", directory, "tmpfs", KernelMount.untrusted, "mode=0755") == 0 else {
            throw SystemFailure(directory, "cannot be rebuilt: no tmpfs", .current, status: .unavailable)
        }
    }

    /// A program that writes there must hear that it cannot, and not lose what it wrote.
    private static func close(_ directory: String) throws(SystemFailure) {
        let flags = UInt(MS_REMOUNT) | UInt(MS_BIND) | UInt(MS_RDONLY) | KernelMount.untrusted
        guard mount(nil, directory, nil, flags, nil) == 0 else {
            throw SystemFailure(directory, "cannot be made read-only", .current, status: .unavailable)
        }
    }

    /// Makes every entry of the original appear in `directory`: links as links, all else bound with what is mounted
    /// below it.
    private mutating func fill(
        _ directory: String, from source: String, named name: String
    ) throws(SystemFailure) {
        let entries: [String]
        do {
            entries = try FileTree.names(in: source)
        } catch {
            throw SystemFailure(
                name.isEmpty ? "/" : name, "cannot be listed, so nothing can be mounted beside what is in it", .current,
                fix: "ask for the directory to be made, or give the volume another path")
        }
        for entry in entries where !entry.startsWithBytes(of: ".berth-host-") {
            guard !Self.appear("\(source)/\(entry)", at: "\(directory)/\(entry)") else { continue }
            missing.append("\(name)/\(entry): \(Errno.current)")
        }
    }

    private static func appear(_ source: String, at target: String) -> Bool {
        var status = stat()
        let kind = lstat(source, &status) == 0 ? status.st_mode & S_IFMT : S_IFDIR
        if kind == S_IFLNK {
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = readlink(source, &buffer, buffer.count)
            guard count >= 0, count < buffer.count else { return false }
            return symlink(String(decoding: buffer[..<count], as: UTF8.self), target) == 0
        }
        if kind == S_IFDIR {
            guard mkdir(target, 0o755) == 0 else { return false }
        } else {
            let file = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            guard file >= 0 else { return false }
            Glibc.close(file)
        }
        return mount(source, target, nil, UInt(MS_BIND) | UInt(MS_REC), nil) == 0
    }
}
