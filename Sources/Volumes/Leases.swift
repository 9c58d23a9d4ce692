import FileModel
import Glibc
import LinuxSystem

/// Notes that a container is being made with certain volumes: from the moment a hook has mounted them until the
/// container's own namespace shows them, nothing else says that they are in use.
///
/// A lease is a file, `<runtime>/leases/TOKEN`, with one line: the engine's process, when that started, and the
/// volumes' names. It counts while that process runs, and not longer than `lifetime`.
public struct Leases: Sendable {
    /// From a hook to the runtime's mounts takes milliseconds; a machine that swaps may need a while.
    private static let lifetime = 120
    /// Containers being made at one time.
    private static let maximumLeases = 4096

    private struct Lease {
        var holder: ProcessIdentity
        var volumes: [String]
    }

    private let directory: String

    public init(_ paths: SitePaths) {
        directory = paths.leases
    }

    /// Makes a lease. Returns its file.
    public func take(_ holder: ProcessIdentity, _ volumes: [VolumeName]) throws(SystemFailure) -> String {
        let path = "\(directory)/\(holder.processID)-\(UInt64.random(in: .min ... .max))"
        let line = "\(holder.processID) \(holder.startedAt) \(volumes.map(\.description).joined(separator: " "))\n"
        try explaining(path, "cannot be written") { () throws(Errno) in
            let file = try FileDescriptor.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW)
            do throws(Errno) {
                try file.write(Array(line.utf8))
            } catch {
                unlink(path)
                throw error
            }
        }
        return path
    }

    /// Whether a path is a lease of this directory, and not something an annotation made up.
    public func isLease(_ path: String) -> Bool {
        guard path.hasPrefix("\(directory)/") else { return false }
        let name = path.dropFirst(directory.count + 1)
        return !name.isEmpty && name.utf8.allSatisfy { (0x30...0x39).contains($0) || $0 == UInt8(ascii: "-") }
    }

    /// Whether a path is a lease that this process holds.
    public func isHeld(_ path: String, by holder: ProcessIdentity) -> Bool {
        isLease(path) && read(path)?.holder == holder
    }

    /// The volumes a lease names, and its end.
    public func end(_ path: String) -> [VolumeName] {
        let volumes = read(path)?.volumes ?? []
        unlink(path)
        return volumes.compactMap { try? VolumeName($0) }
    }

    /// Whether somebody is making a container with this volume.
    public func hold(_ volume: VolumeName) -> Bool {
        living().contains { $0.volumes.contains(volume.description) }
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
            guard let lease = read(path), lease.holder.isRunning, age <= Self.lifetime else {
                // One that is being written is still empty.
                if age > 1 { unlink(path) }
                return nil
            }
            return lease
        }
    }

    private func read(_ path: String) -> Lease? {
        guard let bytes = (try? AtomicFile.read(path, limit: 8192)) ?? nil else { return nil }
        let words = String(decoding: bytes.prefix { $0 != 0x0A }, as: UTF8.self).split(separator: " ").map(String.init)
        guard bytes.last == 0x0A, words.count > 2, let process = Int32(words[0]), let start = UInt64(words[1]) else {
            return nil
        }
        return Lease(
            holder: ProcessIdentity(processID: process, startedAt: start), volumes: Array(words.dropFirst(2)))
    }
}
