import FileModel
import Glibc
import LinuxSystem

/// A container that got volumes by an annotation, as the hook knows it.
public struct LeasedContainer: Equatable, Sendable, Encodable {
    /// The engine's id, 64 hexadecimal digits.
    public var id: String
    /// Nil where the engine's storage tells none.
    public var name: String?
    public var image: String?
    /// Where the engine will write the pid of the container's first process.
    var pidFile: String?

    private enum CodingKeys: String, CodingKey {
        case id, name, image
    }

    public init(id: String, name: String?, image: String?, pidFile: String?) {
        self.id = id
        self.name = name
        self.image = image
        self.pidFile = pidFile
    }

    /// For people: as much of the id as podman shows, then name and image.
    public var line: String {
        [String(id.prefix(12)), name, image.map { "of image \($0)" }].compactMap { $0 }.joined(separator: " ")
    }
}

/// Notes that a container is being made, or runs, with certain volumes: from the moment a hook has mounted them until the
/// container's own namespace shows them, nothing else says that they are in use; and nothing else says later that it was
/// an annotation that brought them.
///
/// A lease is a file, `<runtime>/leases/TOKEN`. Its first line is the engine's process, when that started, and the volumes'
/// names; then there may be `container ID`, `name NAME`, `image NAME` and `pidfile PATH`. It holds the volumes while the
/// engine's process runs, and not longer than `lifetime`; it stays while the container's first process runs.
public struct Leases: Sendable {
    /// From a hook to the runtime's mounts takes milliseconds; a machine that swaps may need a while.
    private static let lifetime = 120
    /// Containers being made or running at one time.
    private static let maximumLeases = 4096

    private struct Lease {
        var holder: ProcessIdentity
        var volumes: [String]
        var container: LeasedContainer?
        /// The engine has not yet said that the container runs, so that its namespace may not show the volumes.
        var isBeingMade = false
    }

    private let directory: String

    public init(_ paths: SitePaths) {
        directory = paths.leases
    }

    /// Makes a lease. Returns its file.
    public func take(
        _ holder: ProcessIdentity, _ volumes: [VolumeName], for container: LeasedContainer? = nil
    ) throws(SystemFailure) -> String {
        let path = "\(directory)/\(holder.processID)-\(UInt64.random(in: .min ... .max))"
        var lines = ["\(holder.processID) \(holder.startedAt) \(volumes.map(\.description).joined(separator: " "))"]
        if let container {
            let words = [
                ("container", container.id), ("name", container.name), ("image", container.image),
                ("pidfile", container.pidFile),
            ]
            lines += words.compactMap { key, value in value.map { "\(key) \(PrintableText.escaped($0))" } }
        }
        let text = lines.map { $0 + "\n" }.joined()
        try explaining(path, "cannot be written") { () throws(Errno) in
            let file = try FileDescriptor.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW)
            do throws(Errno) {
                try file.write(Array(text.utf8))
            } catch {
                unlink(path)
                throw error
            }
        }
        return path
    }

    /// Whether a path is a lease of this directory, and not something an annotation made up.
    public func isLease(_ path: String) -> Bool {
        guard path.startsWithBytes(of: "\(directory)/") else { return false }
        let name = path.utf8.dropFirst(directory.utf8.count + 1)
        return !name.isEmpty && name.count < 64
            && name.allSatisfy { (0x30...0x39).contains($0) || $0 == UInt8(ascii: "-") }
    }

    /// Whether a path is a lease that this process holds for a container of this id, or for one that has none that is known.
    public func isHeld(_ path: String, by holder: ProcessIdentity, for container: String?) -> Bool {
        guard isLease(path), let lease = read(path) else { return false }
        return lease.holder == holder && lease.container?.id == container
    }

    /// The volumes of the lease that a hook took for this very container; nil where the path is anything else.
    public func volumes(_ path: String, ofContainer id: String) -> [VolumeName]? {
        guard isLease(path), let lease = read(path), let container = lease.container, container.id.isBytes(of: id)
        else {
            return nil
        }
        return lease.volumes.compactMap { try? VolumeName($0) }
    }

    /// Ends a lease of this directory.
    public func end(_ path: String) {
        if isLease(path) { unlink(path) }
    }

    /// Whether somebody is making a container with this volume. One that runs holds it by its namespace.
    public func hold(_ volume: VolumeName) -> Bool {
        living().contains { $0.isBeingMade && $0.volumes.contains(volume.description) }
    }

    /// The containers that have this volume by an annotation, as far as their engine's storage told who they are.
    public func containers(with volume: VolumeName) -> [LeasedContainer] {
        living().filter { $0.volumes.contains(volume.description) }.compactMap(\.container).sorted { $0.id < $1.id }
    }

    /// Removes the leases that count no more.
    public func sweep() { _ = living() }

    private func living() -> [Lease] {
        let names = ((try? FileTree.names(in: directory)) ?? []).prefix(Self.maximumLeases)
        return names.compactMap { name in
            let path = "\(directory)/\(name)"
            var status = stat()
            guard lstat(path, &status) == 0 else { return nil }
            let age = time(nil) - status.st_mtim.tv_sec
            guard var lease = read(path) else {
                // One that is being written is still empty.
                if age > 1 { unlink(path) }
                return nil
            }
            lease.isBeingMade = lease.holder.isRunning && age <= Self.lifetime
            guard lease.isBeingMade || Self.isRunning(lease) else {
                if age > 1 { unlink(path) }
                return nil
            }
            return lease
        }
    }

    /// Whether the container's first process is there. It began after the engine's did: a pid that is used again is not it.
    private static func isRunning(_ lease: Lease) -> Bool {
        guard let file = lease.container?.pidFile, let bytes = (try? AtomicFile.read(file, limit: 64)) ?? nil,
            let process = Int32(String(decoding: bytes.prefix { $0 != 0x0A }, as: UTF8.self)),
            let identity = ProcessIdentity(of: process)
        else { return false }
        return identity.startedAt >= lease.holder.startedAt
    }

    private func read(_ path: String) -> Lease? {
        guard let bytes = (try? AtomicFile.read(path, limit: 16384)) ?? nil, bytes.last == 0x0A else { return nil }
        let lines = String(decoding: bytes, as: UTF8.self).words(at: "\n")
        let words = lines.first?.words(at: " ").map(String.init) ?? []
        guard words.count > 2, let process = Int32(words[0]), let start = UInt64(words[1]) else { return nil }
        var lease = Lease(
            holder: ProcessIdentity(processID: process, startedAt: start), volumes: Array(words.dropFirst(2)))
        var details: [String: String] = [:]
        for line in lines.dropFirst() {
            let parts = line.parts(at: " ", atMost: 1)
            if parts.count == 2 { details[String(parts[0])] = String(parts[1]) }
        }
        if let id = details["container"] {
            lease.container = LeasedContainer(
                id: id, name: details["name"], image: details["image"], pidFile: details["pidfile"])
        }
        return lease
    }
}
