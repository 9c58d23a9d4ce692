import FileModel
import Glibc
import Synchronization
import TestSupport
import VFS

/// A clock that a test moves.
final class TestClock: Sendable {
    private let nanoseconds = Atomic<Int64>(1_700_000_000_000_000_000)

    /// Each look is a nanosecond later than the one before.
    @Sendable func now() -> Timestamp {
        Timestamp(nanoseconds: nanoseconds.wrappingAdd(1, ordering: .relaxed).newValue)
    }

    func pass(seconds: Int64) { nanoseconds.wrappingAdd(seconds * 1_000_000_000, ordering: .relaxed) }
}

extension OpenedVolume {
    private func names(_ path: String) throws -> [FileName] {
        try path.split(separator: "/").map { try FileName(String($0)) }
    }

    func id(_ path: String) throws -> InodeID {
        var id = InodeID.root
        for name in try names(path) {
            id = try fileSystem.lookup(name, in: id, session: session).id
            fileSystem.forget(id, count: 1, session: session)
        }
        return id
    }

    private func place(_ path: String) throws -> (InodeID, FileName) {
        let parts = path.split(separator: "/").map(String.init)
        return (try id(parts.dropLast().joined(separator: "/")), try FileName(parts.last ?? ""))
    }

    @discardableResult
    func directory(_ path: String, mode: UInt32 = 0o755) throws -> InodeID {
        let (parent, name) = try place(path)
        let inode = try fileSystem.create(
            name, in: parent, NewInode(kind: .directory, permissions: mode), caller: caller)
        fileSystem.forget(inode.id, count: 1, session: session)
        return inode.id
    }

    @discardableResult
    func file(_ path: String, _ bytes: [UInt8] = [], mode: UInt32 = 0o644) throws -> InodeID {
        let (parent, name) = try place(path)
        let inode = try fileSystem.create(name, in: parent, NewInode(kind: .regular, permissions: mode), caller: caller)
        fileSystem.forget(inode.id, count: 1, session: session)
        if !bytes.isEmpty { try write(bytes, to: inode.id) }
        return inode.id
    }

    func write(_ bytes: [UInt8], to id: InodeID, at offset: UInt64 = 0) throws {
        _ = try bytes.withUnsafeBytes {
            try fileSystem.write($0, to: id, at: offset, appends: false, caller: caller)
        }
    }

    func content(_ path: String) throws -> [UInt8] {
        let id = try id(path)
        var bytes = [UInt8](repeating: 0, count: Int(try fileSystem.attributes(of: id).size))
        let count = try bytes.withUnsafeMutableBytes { try fileSystem.read(id, at: 0, into: $0, session: session) }
        return Array(bytes[..<count])
    }

    func unlink(_ path: String) throws {
        let (parent, name) = try place(path)
        try fileSystem.unlink(name, in: parent, caller: caller)
    }

    func rmdir(_ path: String) throws {
        let (parent, name) = try place(path)
        try fileSystem.removeDirectory(name, in: parent, caller: caller)
    }

    func rename(_ old: String, _ new: String) throws {
        let (oldParent, oldName) = try place(old)
        let (newParent, newName) = try place(new)
        try fileSystem.rename(
            RenameNames(oldParent: oldParent, oldName: oldName, newParent: newParent, newName: newName),
            mode: .replace, caller: caller)
    }

    func link(_ old: String, _ new: String) throws {
        let (parent, name) = try place(new)
        let inode = try fileSystem.link(try id(old), as: name, in: parent, caller: caller)
        fileSystem.forget(inode.id, count: 1, session: session)
    }

    func truncate(_ path: String, _ size: UInt64) throws {
        var change = AttributeChange()
        change.size = size
        _ = try fileSystem.setAttributes(of: try id(path), change, caller: caller)
    }

    /// Everything below a path goes, and the path itself unless it is the root.
    func removeAll(_ path: String) throws {
        for (name, inode) in try list(path) {
            let inner = path.isEmpty ? name : "\(path)/\(name)"
            if inode.isDirectory { try removeAll(inner) } else { try unlink(inner) }
        }
        if !path.isEmpty { try rmdir(path) }
    }

    func list(_ path: String) throws -> [(String, Inode)] {
        var found: [(String, Inode)] = []
        try fileSystem.list(try id(path), from: 0, batch: 100) { entry in
            found.append((String(decoding: entry.name, as: UTF8.self), entry.inode))
            return true
        }
        return found.filter { $0.0 != "." && $0.0 != ".." }
    }

    func restore(
        _ path: String, _ choice: RestoreOrder.Choice = .latest, _ target: RestoreOrder.Target = .inPlace
    ) throws -> RestoreOutcome {
        try fileSystem.restore(RestoreOrder(path: try names(path), choice: choice, target: target))
    }

    /// Paths in the trash, in the order of deletion.
    func trashed(_ path: String = "") throws -> [String] {
        var found: [String] = []
        var last: UInt64? = 0
        while let after = last {
            let page = try fileSystem.trash(below: try names(path), after: after)
            found += page.items.map { String(decoding: $0.path, as: UTF8.self) }
            last = page.next
        }
        return found
    }
}
