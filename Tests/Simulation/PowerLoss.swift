import FileModel
import Glibc
import LinuxSystem
import TestSupport

/// A power failure: of each file and each name that was not synchronized any part is lost.
///
/// What `disk` shows now and what `durable` holds (see disk.c) are mixed: names one by one, bytes by sectors.
struct PowerLoss {
    private static let sectorBytes = 512

    let disk: String
    let durable: String
    var generator: SeededGenerator

    /// What a name stands for.
    private struct Target: Equatable {
        var isDirectory: Bool
        var inode: UInt64
    }

    mutating func strike() throws {
        let result = disk + ".after"
        try make(result)
        try merge(disk, try inode(disk), into: result)
        FileTree.remove(disk)
        guard rename(result, disk) == 0 else { throw Errno.current }
        FileTree.remove(durable)
        try settle()
    }

    /// All that is on the disk is safe.
    func settle() throws {
        try make(durable)
        try settle(disk)
    }

    private func make(_ path: String) throws(Errno) {
        guard mkdir(path, 0o700) == 0 else { throw .current }
    }

    private func inode(_ path: String) throws(Errno) -> UInt64 {
        var status = Glibc.stat()
        guard lstat(path, &status) == 0 else { throw .current }
        return UInt64(status.st_ino)
    }

    private func settle(_ directory: String) throws {
        let record = "\(durable)/d\(try inode(directory))"
        try make(record)
        for (name, target) in try current(directory) {
            let word = "\(target.isDirectory ? "d" : "f")\(target.inode)"
            guard symlink(word, "\(record)/\(name)") == 0 else { throw Errno.current }
            if target.isDirectory {
                try settle("\(directory)/\(name)")
            } else {
                try write(try read("\(directory)/\(name)"), to: "\(durable)/\(word)")
            }
        }
    }

    private func current(_ directory: String) throws -> [String: Target] {
        var found: [String: Target] = [:]
        for name in try FileTree.names(in: directory) {
            var status = Glibc.stat()
            guard lstat("\(directory)/\(name)", &status) == 0 else { throw Errno.current }
            found[name] = Target(isDirectory: status.st_mode & S_IFMT == S_IFDIR, inode: UInt64(status.st_ino))
        }
        return found
    }

    private func synchronized(_ inode: UInt64) throws -> [String: Target] {
        let record = "\(durable)/d\(inode)"
        guard access(record, F_OK) == 0 else { return [:] }
        var found: [String: Target] = [:]
        for name in try FileTree.names(in: record) {
            var word = [CChar](repeating: 0, count: 32)
            let count = readlink("\(record)/\(name)", &word, word.count)
            guard count > 1,
                let inode = UInt64(String(decoding: word[1..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self))
            else { continue }
            found[name] = Target(isDirectory: word[0] == CChar(bitPattern: UInt8(ascii: "d")), inode: inode)
        }
        return found
    }

    private mutating func merge(_ path: String?, _ inode: UInt64, into result: String) throws {
        let now = try path.map { try current($0) } ?? [:]
        let safe = try synchronized(inode)
        for name in Set(now.keys).union(safe.keys).sorted() {
            let isNow = now[name] == safe[name] || Bool.random(using: &generator)
            guard let target = isNow ? now[name] : safe[name] else { continue }
            let source = isNow ? path.map { "\($0)/\(name)" } : nil
            if target.isDirectory {
                try make("\(result)/\(name)")
                try merge(source, target.inode, into: "\(result)/\(name)")
            } else {
                try write(try mix(source, target.inode), to: "\(result)/\(name)")
            }
        }
    }

    /// Of each sector the old or the new bytes; of the two sizes one.
    private mutating func mix(_ path: String?, _ inode: UInt64) throws -> [UInt8] {
        let record = "\(durable)/f\(inode)"
        let old = access(record, F_OK) == 0 ? try read(record) : []
        guard let path else { return old }
        let new = try read(path)
        var mixed = Array(old.prefix(Bool.random(using: &generator) ? new.count : old.count))
        if mixed.count < new.count && (old.count == new.count || Bool.random(using: &generator)) {
            mixed += [UInt8](repeating: 0, count: new.count - mixed.count)
        }
        // All, none, or any of what was not synchronized.
        let share = [0, 1, 2, 2].randomElement(using: &generator) ?? 0
        for start in stride(from: 0, to: min(mixed.count, new.count), by: Self.sectorBytes) {
            let end = min(start + Self.sectorBytes, mixed.count, new.count)
            let isTaken = share == 1 || (share == 2 && Bool.random(using: &generator))
            if isTaken { mixed.replaceSubrange(start..<end, with: new[start..<end]) }
        }
        return mixed
    }

    private func read(_ path: String) throws(Errno) -> [UInt8] {
        try FileDescriptor.open(path, O_RDONLY).readAll(limit: 64 << 20)
    }

    private func write(_ bytes: [UInt8], to path: String) throws(Errno) {
        try FileDescriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600).write(bytes)
    }
}
