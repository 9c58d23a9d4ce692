import FileModel
import Glibc

/// What lies in a volume's cache directory: a file for each pack's copy, named by its id, and `pins`, a line `ID BYTES` for
/// each pack that stays. A file's modification time is about when it was last used.
public enum CacheDirectory {
    public struct Copy: Equatable, Sendable {
        public var id: PackID
        /// On disk; the files have holes.
        public var bytes: Int
        /// Nanoseconds since 1970.
        public var lastUse: Int64
    }

    /// 27 bytes a pin: 40 TB of them.
    private static let pinsLimit = 64 << 20

    private static func pinsPath(_ directory: String) -> String { "\(directory)/pins" }

    /// The copies, the least recently used first. Their data is not looked at.
    public static func copies(in directory: String) throws(SystemFailure) -> [Copy] {
        var copies: [Copy] = []
        for name in try FileTree.names(in: directory) {
            var status = stat()
            guard let id = PackID(name), lstat("\(directory)/\(name)", &status) == 0,
                status.st_mode & S_IFMT == S_IFREG
            else { continue }
            copies.append(
                Copy(
                    id: id, bytes: Int(status.st_blocks) * 512,
                    lastUse: Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec)))
        }
        return copies.sorted { ($0.lastUse, $0.id) < ($1.lastUse, $1.id) }
    }

    /// The packs that stay, and their raw bytes. None where the file is not there. A line that cannot be read is passed
    /// over: no data is lost with it.
    public static func pins(in directory: String) throws(SystemFailure) -> [PackID: Int] {
        let bytes = try AtomicFile.read(pinsPath(directory), limit: pinsLimit) ?? []
        var pins: [PackID: Int] = [:]
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 2, let id = PackID(words[0]), let size = UInt32(words[1]) else { continue }
            pins[id] = Int(size)
        }
        return pins
    }

    public static func write(pins: [PackID: Int], in directory: String) throws(SystemFailure) {
        if pins.isEmpty, access(pinsPath(directory), F_OK) != 0 { return }
        let lines = pins.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)\n" }
        try AtomicFile.replace(pinsPath(directory), Array(lines.joined().utf8))
    }

    /// Removes copies of a volume that no server has open, and with `pinnedToo` the directory itself. Answers what went
    /// and what stays because it is pinned.
    public static func clear(
        _ directory: String, pinnedToo: Bool
    ) throws(SystemFailure) -> (packs: Int, bytes: UInt64, pinned: Int) {
        let pins = pinnedToo ? [:] : try pins(in: directory)
        let all = try copies(in: directory)
        let doomed = all.filter { pins[$0.id] == nil }
        for copy in doomed { unlink("\(directory)/\(copy.id)") }
        if doomed.count == all.count { FileTree.remove(directory) }
        return (doomed.count, doomed.reduce(0) { $0 + UInt64($1.bytes) }, all.count - doomed.count)
    }
}
