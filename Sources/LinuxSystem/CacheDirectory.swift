import FileModel
import Glibc

/// What lies in a volume's cache directory: a file for each pack's copy, named by its id; `pins`, a line `ID BYTES` for
/// each pack that stays; and `warmed`, a line `ID` for each that somebody asked for, where that matters. A file's modification time is about when it was last used.
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

    private static let pinsName = "pins"
    private static let warmedName = "warmed"

    /// Nil where it is not there.
    private static func held(_ directory: String) throws(SystemFailure) -> HeldDirectory? {
        do {
            return try TrustedPath.open(directory)
        } catch {
            if error.errno == .noEntry { return nil }
            throw error
        }
    }

    /// The copies, the least recently used first. Their data is not looked at.
    public static func copies(in directory: String) throws(SystemFailure) -> [Copy] {
        guard let held = try held(directory) else { return [] }
        return try copies(in: held)
    }

    public static func copies(in directory: HeldDirectory) throws(SystemFailure) -> [Copy] {
        var copies: [Copy] = []
        let names = try explaining(directory.path, "cannot be listed") { () throws(Errno) in try directory.names() }
        for name in names {
            guard let id = PackID(name), let status = directory.status(of: name), status.st_mode & S_IFMT == S_IFREG
            else { continue }
            copies.append(
                Copy(
                    id: id, bytes: Int(status.st_blocks) * 512,
                    lastUse: Timestamp(
                        seconds: Int64(status.st_mtim.tv_sec), nanoseconds: Int64(status.st_mtim.tv_nsec)
                    ).nanoseconds))
        }
        return copies.sorted { ($0.lastUse, $0.id) < ($1.lastUse, $1.id) }
    }

    /// The packs that stay, and their raw bytes. None where the file is not there, or is not ours. A line that cannot be read
    /// is passed over: no data is lost with it.
    public static func pins(in directory: String) throws(SystemFailure) -> [PackID: Int] {
        guard let held = try held(directory) else { return [:] }
        return try pins(in: held)
    }

    public static func pins(in directory: HeldDirectory) throws(SystemFailure) -> [PackID: Int] {
        var pins: [PackID: Int] = [:]
        for words in try lines(of: pinsName, in: directory) {
            guard words.count == 2, let id = PackID(words[0]), let size = UInt32(words[1]) else { continue }
            pins[id] = Int(size)
        }
        return pins
    }

    /// Packs that somebody asked for, here or not.
    public static func warmed(in directory: HeldDirectory) throws(SystemFailure) -> Set<PackID> {
        Set(try lines(of: warmedName, in: directory).compactMap { $0.first.flatMap { PackID($0) } })
    }

    public static func write(warmed: Set<PackID>, in directory: HeldDirectory) throws(SystemFailure) {
        let lines = warmed.sorted().map { "\($0)\n" }
        try explaining("\(directory.path)/\(warmedName)", "cannot be written", status: .cannotCreate) {
            () throws(Errno) in try directory.replace(warmedName, Array(lines.joined().utf8))
        }
    }

    /// The words of each line of a file of ours; none where it is not there, or is not ours.
    private static func lines(
        of name: String, in directory: HeldDirectory
    ) throws(SystemFailure) -> [[Substring]] {
        let bytes: [UInt8]
        do {
            let file = try directory.openOwn(name, O_RDONLY)
            bytes = try file.readAll(limit: pinsLimit)
        } catch let intruder as HeldDirectory.Intruder {
            guard case .failed(let errno) = intruder, errno != .noEntry else { return [] }
            throw SystemFailure("\(directory.path)/\(name)", "cannot be read", errno)
        } catch {
            throw SystemFailure("\(directory.path)/\(name)", "cannot be read", error as? Errno ?? .io)
        }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map { $0.split(separator: " ") }
    }

    public static func write(pins: [PackID: Int], in directory: HeldDirectory) throws(SystemFailure) {
        if pins.isEmpty, directory.status(of: pinsName) == nil { return }
        let lines = pins.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)\n" }
        try explaining("\(directory.path)/\(pinsName)", "cannot be written", status: .cannotCreate) {
            () throws(Errno) in try directory.replace(pinsName, Array(lines.joined().utf8))
        }
    }

    /// Removes copies of a volume that no server has open, and with `pinnedToo` the directory itself. Answers what went
    /// and what stays because it is pinned.
    public static func clear(
        _ directory: String, pinnedToo: Bool
    ) throws(SystemFailure) -> (packs: Int, bytes: UInt64, pinned: Int) {
        guard let held = try held(directory) else { return (0, 0, 0) }
        let pins = pinnedToo ? [:] : try pins(in: held)
        let all = try copies(in: held)
        let doomed = all.filter { pins[$0.id] == nil }
        for copy in doomed { held.unlink("\(copy.id)") }
        if doomed.count == all.count {
            held.removeContents()
            rmdir(directory)
        }
        return (doomed.count, doomed.reduce(0) { $0 + UInt64($1.bytes) }, all.count - doomed.count)
    }
}
