import FUSEBridge
import FileModel
import Glibc
import LinuxSystem

/// A tree of files in memory behind one lock: the least a file system can do for each request.
// SAFETY: every member and every node is guarded by `monitor`; what leaves it is copied.
final class MemoryTree: Endpoint, @unchecked Sendable {
    private let monitor = Monitor()
    private var nodes: [UInt64: Node] = [:]
    private var last: UInt64 = 1

    override init() {
        let root = Node(number: 1, mode: S_IFDIR | 0o755, user: getuid(), group: getgid())
        root.lookups = 1
        nodes[1] = root
    }

    func lookup(_ name: Name, in parent: UInt64) throws(Errno) -> stat {
        try monitor.withLock { () throws(Errno) in
            guard let node = try directory(parent).child(name) else { throw .noEntry }
            node.lookups += 1
            return node.status
        }
    }

    func status(of number: UInt64) throws(Errno) -> stat {
        try monitor.withLock { () throws(Errno) in try node(number).status }
    }

    func change(_ number: UInt64, _ body: (Node) -> Void) throws(Errno) -> stat {
        try monitor.withLock { () throws(Errno) in
            let node = try node(number)
            body(node)
            return node.status
        }
    }

    func make(_ name: Name, in parent: UInt64, mode: mode_t, user: uid_t, group: gid_t) throws(Errno) -> stat {
        try monitor.withLock { () throws(Errno) in
            let directory = try directory(parent)
            guard directory.places[name] == nil else { throw .alreadyExists }
            last += 1
            let node = Node(number: last, mode: mode, user: user, group: group)
            node.lookups = 1
            nodes[last] = node
            directory.add(node, as: name)
            directory.touch()
            if node.isDirectory { directory.status.st_nlink += 1 }
            return node.status
        }
    }

    func remove(_ name: Name, from parent: UInt64, isDirectory: Bool) throws(Errno) {
        try monitor.withLock { () throws(Errno) in
            let directory = try directory(parent)
            guard let node = directory.child(name) else { throw .noEntry }
            guard node.isDirectory == isDirectory else { throw isDirectory ? .notDirectory : .isDirectory }
            guard node.places.isEmpty else { throw .directoryNotEmpty }
            _ = directory.remove(name)
            directory.touch()
            if isDirectory { directory.status.st_nlink -= 1 }
            unlinked(node)
        }
    }

    func rename(_ name: Name, from old: UInt64, to newName: Name, in new: UInt64) throws(Errno) {
        try monitor.withLock { () throws(Errno) in
            let source = try directory(old)
            let target = try directory(new)
            guard let node = source.child(name) else { throw .noEntry }
            if let replaced = target.child(newName) {
                guard replaced !== node else { return }
                guard replaced.places.isEmpty else { throw .directoryNotEmpty }
                _ = target.remove(newName)
                if replaced.isDirectory { target.status.st_nlink -= 1 }
                unlinked(replaced)
            }
            _ = source.remove(name)
            target.add(node, as: newName)
            if node.isDirectory {
                source.status.st_nlink -= 1
                target.status.st_nlink += 1
            }
            source.touch()
            target.touch()
        }
    }

    func forget(_ number: UInt64, count: UInt64) {
        monitor.withLock {
            guard let node = nodes[number] else { return }
            node.lookups -= min(count, node.lookups)
            if node.lookups == 0 && node.status.st_nlink == 0 { nodes[number] = nil }
        }
    }

    /// Bytes copied to `memory`.
    func read(_ number: UInt64, at offset: Int, into memory: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        try monitor.withLock { () throws(Errno) in
            let node = try node(number)
            guard offset < node.data.count else { return 0 }
            let count = min(memory.count, node.data.count - offset)
            node.data.withUnsafeBytes { memory.copyMemory(from: .init(rebasing: $0[offset..<(offset + count)])) }
            return count
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, to number: UInt64, at offset: Int) throws(Errno) {
        try monitor.withLock { () throws(Errno) in
            let node = try node(number)
            if offset > node.data.count { node.resize(offset) }
            let inside = min(bytes.count, node.data.count - offset)
            if inside > 0 {
                node.data.withUnsafeMutableBytes { $0[offset...].copyBytes(from: bytes.prefix(inside)) }
            }
            node.data.append(contentsOf: bytes.dropFirst(inside))
            node.noteSize()
            node.touch()
        }
    }

    /// Calls `body` with each entry from a place on until it answers false; an entry it took is known to the kernel.
    func list(
        _ number: UInt64, from start: Int, _ body: (_ name: Name, _ status: stat, _ next: Int) -> Bool
    ) throws(Errno) {
        try monitor.withLock { () throws(Errno) in
            let directory = try directory(number)
            for place in start..<max(start, directory.entries.count) {
                guard let entry = directory.entries[place] else { continue }
                guard body(entry.name, entry.node.status, place + 1) else { return }
                entry.node.lookups += 1
            }
        }
    }

    private func node(_ number: UInt64) throws(Errno) -> Node {
        guard let node = nodes[number] else { throw .stale }
        return node
    }

    private func directory(_ number: UInt64) throws(Errno) -> Node {
        let node = try node(number)
        guard node.isDirectory else { throw .notDirectory }
        return node
    }

    private func unlinked(_ node: Node) {
        node.status.st_nlink = 0
        if node.lookups == 0 { nodes[UInt64(node.status.st_ino)] = nil }
    }
}
