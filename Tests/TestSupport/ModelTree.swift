import FileModel
import Glibc
import VFS

/// What a tree is after operations, as a value: the specification in a few pages. A test holds it against the host's file
/// system; a simulation holds a volume against it.
public struct ModelTree: TestedTree {
    struct Node {
        enum Content {
            case directory([String: Int])
            case file([UInt8])
            case link(String)
        }

        var content: Content
        var mode: UInt32
        var links = 1
        var attribute: String?

        var entries: [String: Int]? {
            if case .directory(let entries) = content { entries } else { nil }
        }
        var bytes: [UInt8]? {
            if case .file(let bytes) = content { bytes } else { nil }
        }
    }

    /// An entry: where it is, and its name there.
    typealias Place = (directory: Int, name: String)

    var nodes: [Int: Node] = [0: Node(content: .directory([:]), mode: 0o755)]
    var next = 1
    /// What lost its last name and is kept, in the order of deletion.
    var trash: [Trashed] = []
    let keepsTrash: Bool
    /// What a file held before it was truncated to nothing is kept, too. Only for trees without hard links.
    let keepsTruncated: Bool
    /// Of the whole volume, in words.
    public var quota: String?

    public init(keepsTrash: Bool = false, keepsTruncated: Bool = false) {
        self.keepsTrash = keepsTrash
        self.keepsTruncated = keepsTruncated
    }

    public mutating func perform(_ operation: Operation) -> Int32 {
        do throws(Errno) {
            if try !names(operation) { try data(operation) }
            return 0
        } catch {
            return error.rawValue
        }
    }

    // MARK: Paths

    func node(_ id: Int) throws(Errno) -> Node {
        guard let node = nodes[id] else { throw .noEntry }
        return node
    }

    func find(_ path: some StringProtocol) throws(Errno) -> Int {
        var id = 0
        for part in path.split(separator: "/") {
            guard let entries = try node(id).entries else { throw .notDirectory }
            guard let next = entries[String(part)] else { throw .noEntry }
            id = next
        }
        return id
    }

    /// A path's directory and its last part.
    func place(_ path: String) throws(Errno) -> Place {
        let parts = path.split(separator: "/")
        let directory = try find(parts.dropLast().joined(separator: "/"))
        guard try node(directory).entries != nil else { throw .notDirectory }
        return (directory, String(parts.last ?? ""))
    }

    func child(_ place: Place) throws(Errno) -> Int? {
        try node(place.directory).entries?[place.name]
    }

    /// A file as open(2) for writing finds it.
    private func file(_ path: String) throws(Errno) -> (id: Int, bytes: [UInt8]) {
        let id = try find(path)
        guard let bytes = try node(id).bytes else { throw .isDirectory }
        return (id, bytes)
    }

    // MARK: Names

    mutating func setEntry(_ place: Place, _ id: Int?) {
        guard var entries = nodes[place.directory]?.entries else { return }
        entries[place.name] = id
        nodes[place.directory]?.content = .directory(entries)
    }

    mutating func make(_ path: String, _ content: Node.Content, _ mode: UInt32) throws(Errno) {
        let place = try place(path)
        guard try child(place) == nil else { throw .alreadyExists }
        nodes[next] = Node(content: content, mode: mode)
        setEntry(place, next)
        next += 1
    }

    private mutating func names(_ operation: Operation) throws(Errno) -> Bool {
        switch operation {
        case .create(let path): try make(path, .file([]), 0o644)
        case .makeDirectory(let path): try make(path, .directory([:]), 0o755)
        case .symlink(let path, let target): try make(path, .link(target), 0o777)
        case .remove(let path):
            let place = try place(path)
            guard let id = try child(place) else { throw .noEntry }
            guard try node(id).entries == nil else { throw .isDirectory }
            setEntry(place, nil)
            dropLink(id, at: place)
        case .removeDirectory(let path):
            let place = try place(path)
            guard let id = try child(place) else { throw .noEntry }
            guard let entries = try node(id).entries else { throw .notDirectory }
            guard entries.isEmpty else { throw .directoryNotEmpty }
            setEntry(place, nil)
            dropLink(id, at: place)
        case .link(let old, let new):
            let id = try find(old)
            let place = try place(new)
            guard try child(place) == nil else { throw .alreadyExists }
            guard try node(id).entries == nil else { throw .notPermitted }
            nodes[id]?.links += 1
            setEntry(place, id)
        case .rename(let old, let new, let mode): try rename(old, new, mode)
        default: return false
        }
        return true
    }

    private mutating func rename(_ old: String, _ new: String, _ mode: RenameMode) throws(Errno) {
        let from = try place(old)
        let to = try place(new)
        guard let id = try child(from) else { throw .noEntry }
        let target = try child(to)
        if mode == .keep && target != nil { throw .alreadyExists }
        if mode == .exchange && target == nil { throw .noEntry }
        if new.hasPrefix(old + "/") { throw .invalidArgument }
        if old.hasPrefix(new + "/") { throw mode == .exchange ? .invalidArgument : .directoryNotEmpty }
        if id == target { return }
        if mode == .exchange {
            setEntry(from, target)
            setEntry(to, id)
            return
        }
        if let target {
            let isDirectory = try node(id).entries != nil
            if let entries = try node(target).entries {
                guard isDirectory else { throw .isDirectory }
                guard entries.isEmpty else { throw .directoryNotEmpty }
            } else if isDirectory {
                throw .notDirectory
            }
            dropLink(target, at: to)
        }
        setEntry(from, nil)
        setEntry(to, id)
    }

    // MARK: Data

    private mutating func change(_ path: String, _ body: (inout [UInt8]) -> Void) throws(Errno) {
        var (id, bytes) = try file(path)
        body(&bytes)
        nodes[id]?.content = .file(bytes)
    }

    private static func put(_ new: some Collection<UInt8>, at offset: Int, _ bytes: inout [UInt8]) {
        guard !new.isEmpty else { return }
        extend(&bytes, to: offset + new.count)
        bytes.replaceSubrange(offset..<offset + new.count, with: new)
    }

    private static func extend(_ bytes: inout [UInt8], to size: Int) {
        if bytes.count < size { bytes += [UInt8](repeating: 0, count: size - bytes.count) }
    }

    private static func clear(_ bytes: inout [UInt8], _ offset: Int, _ length: Int) {
        let range = min(offset, bytes.count)..<min(offset + length, bytes.count)
        bytes.replaceSubrange(range, with: repeatElement(0, count: range.count))
    }

    private mutating func data(_ operation: Operation) throws(Errno) {
        switch operation {
        case .write(let path, let offset, let new): try change(path) { Self.put(new, at: offset, &$0) }
        case .append(let path, let new): try change(path) { $0 += new }
        case .truncate(let path, let size):
            if size == 0 { try keepContent(of: path) }
            try change(path) { bytes in
                Self.extend(&bytes, to: size)
                bytes.removeLast(bytes.count - size)
            }
        case .punch(let path, let offset, let length): try change(path) { Self.clear(&$0, offset, length) }
        case .zero(let path, let offset, let length):
            try change(path) { bytes in
                Self.extend(&bytes, to: offset + length)
                Self.clear(&bytes, offset, length)
            }
        case .allocate(let path, let offset, let length): try change(path) { Self.extend(&$0, to: offset + length) }
        case .copy(let source, let start, let target, let offset, let length):
            let bytes = try file(source).bytes
            let part = bytes[min(start, bytes.count)..<min(start + length, bytes.count)]
            try change(target) { Self.put(part, at: offset, &$0) }
        case .setAttribute(let path, let value): nodes[try find(path)]?.attribute = value
        case .changeMode(let path, let mode): nodes[try find(path)]?.mode = mode
        default: throw .notImplemented
        }
    }

    // MARK: The picture

    /// Without what programs do not see.
    public func pictureOfTree() -> Picture {
        var picture: Picture = [:]
        add(0, "", to: &picture)
        return picture
    }

    public func picture() -> Picture {
        var picture = pictureOfTree()
        addTrash(to: &picture)
        if let quota { picture["quota"] = quota }
        return picture
    }

    private func add(_ directory: Int, _ prefix: String, to picture: inout Picture) {
        for (name, id) in nodes[directory]?.entries ?? [:] {
            guard let node = nodes[id] else { continue }
            let path = prefix + name
            let (type, size, content, links) = describe(node)
            picture[path] = Self.line(type | node.mode, "\(links) ", size, node.attribute, content)
            if node.entries != nil { add(id, path + "/", to: &picture) }
        }
    }

    static func line(_ mode: UInt32, _ links: String, _ size: Int, _ attribute: String?, _ content: String) -> String {
        "\(String(mode, radix: 8)) \(links)\(size) \(attribute ?? "-") \(content)"
    }

    func describe(_ node: Node) -> (type: UInt32, size: Int, content: String, links: Int) {
        switch node.content {
        case .file(let bytes): (0o100000, bytes.count, checksum(bytes), node.links)
        case .link(let target): (0o120000, target.utf8.count, target, node.links)
        case .directory(let entries):
            (0o040000, 0, "directory", 2 + entries.values.count { nodes[$0]?.entries != nil })
        }
    }
}
