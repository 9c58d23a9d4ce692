import Glibc

/// The bytes of a file's name, as a key.
struct Name: Hashable {
    let bytes: [UInt8]

    init(_ text: UnsafePointer<CChar>?) {
        bytes = text.map { [UInt8](UnsafeRawBufferPointer(start: $0, count: strlen($0))) } ?? []
    }
}

/// A file or a directory.
final class Node {
    struct Entry {
        let name: Name
        let node: Node
    }

    var status: stat
    /// How often the kernel knows it.
    var lookups: UInt64 = 0
    var data: [UInt8] = []
    /// Of a directory: where each name is in `entries`.
    var places: [Name: Int] = [:]
    /// In order of creation. What is gone leaves a hole, so that a listing's offsets stay what they were.
    var entries: [Entry?] = []

    init(number: UInt64, mode: mode_t, user: uid_t, group: gid_t) {
        status = stat()
        status.st_ino = UInt(number)
        status.st_mode = mode
        status.st_nlink = mode & S_IFMT == S_IFDIR ? 2 : 1
        status.st_uid = user
        status.st_gid = group
        status.st_blksize = 128 << 10
        clock_gettime(CLOCK_REALTIME_COARSE, &status.st_mtim)
        status.st_ctim = status.st_mtim
        status.st_atim = status.st_mtim
    }

    var isDirectory: Bool { status.st_mode & S_IFMT == S_IFDIR }

    func child(_ name: Name) -> Node? { places[name].flatMap { entries[$0]?.node } }

    func add(_ node: Node, as name: Name) {
        places[name] = entries.count
        entries.append(Entry(name: name, node: node))
    }

    func remove(_ name: Name) -> Node? {
        guard let place = places.removeValue(forKey: name) else { return nil }
        let node = entries[place]?.node
        entries[place] = nil
        if places.isEmpty { entries.removeAll() }
        return node
    }

    func touch() {
        clock_gettime(CLOCK_REALTIME_COARSE, &status.st_mtim)
        status.st_ctim = status.st_mtim
    }

    func resize(_ size: Int) {
        if size < data.count {
            data.removeLast(data.count - size)
        } else {
            data.append(contentsOf: repeatElement(0, count: size - data.count))
        }
        noteSize()
    }

    func noteSize() {
        status.st_size = off_t(data.count)
        status.st_blocks = blkcnt_t((data.count + 511) / 512)
    }
}
