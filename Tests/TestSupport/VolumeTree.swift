import FileModel
import Glibc
import VFS

/// Our file system below FUSE, driven by paths as the kernel would drive it.
public struct VolumeTree: TestedTree {
    private let fileSystem: FileSystem
    private let caller: Caller
    private var session: Session { caller.session }

    public init(volume: OpenedVolume) { self.init(volume.fileSystem, volume.caller) }

    public init(_ fileSystem: FileSystem, _ caller: Caller) {
        self.fileSystem = fileSystem
        self.caller = caller
    }

    /// The inode a path stands for. The kernel's own walk: ENOENT, ENOTDIR. Each lookup is given back.
    private func find(_ path: String) throws(Errno) -> Inode {
        var inode = try fileSystem.attributes(of: .root)
        for part in path.split(separator: "/") {
            guard inode.isDirectory else { throw inode.kind == .symbolicLink ? .noEntry : .notDirectory }
            inode = try fileSystem.lookup(try FileName(String(part)), in: inode.id, session: session)
            fileSystem.forget(inode.id, count: 1, session: session)
        }
        return inode
    }

    private func place(_ path: String) throws(Errno) -> (InodeID, FileName) {
        let parts = path.split(separator: "/").map(String.init)
        let parent = try find(parts.dropLast().joined(separator: "/"))
        guard parent.isDirectory else { throw .notDirectory }
        return (parent.id, try FileName(parts.last ?? ""))
    }

    /// A file as open(2) with O_WRONLY or O_RDONLY finds it.
    private func file(_ path: String, writing: Bool) throws(Errno) -> InodeID {
        let inode = try find(path)
        if inode.kind == .symbolicLink { throw Errno(ELOOP) }
        if inode.isDirectory && writing { throw .isDirectory }
        return inode.id
    }

    public func perform(_ operation: Operation) -> Int32 {
        do throws(Errno) {
            if try !names(operation) { try data(operation) }
            return 0
        } catch {
            return error.rawValue
        }
    }

    /// False for an operation on data.
    private func names(_ operation: Operation) throws(Errno) -> Bool {
        switch operation {
        case .create(let path):
            let (parent, name) = try place(path)
            let new = NewInode(kind: .regular, permissions: 0o644)
            let inode = try fileSystem.create(name, in: parent, new, caller: caller)
            fileSystem.forget(inode.id, count: 1, session: session)
        case .makeDirectory(let path):
            let (parent, name) = try place(path)
            let new = NewInode(kind: .directory, permissions: 0o755)
            let inode = try fileSystem.create(name, in: parent, new, caller: caller)
            fileSystem.forget(inode.id, count: 1, session: session)
        case .remove(let path):
            let (parent, name) = try place(path)
            try fileSystem.unlink(name, in: parent, caller: caller)
        case .removeDirectory(let path):
            let (parent, name) = try place(path)
            try fileSystem.removeDirectory(name, in: parent, caller: caller)
        case .rename(let old, let new, let mode):
            let (oldParent, oldName) = try place(old)
            let (newParent, newName) = try place(new)
            // The kernel answers for a target above the source before it asks the file system.
            if new != old, old.hasPrefix(new + "/"), (try? find(old)) != nil {
                if mode == .keep { throw .alreadyExists }
                throw mode == .exchange ? .invalidArgument : .directoryNotEmpty
            }
            let names = RenameNames(oldParent: oldParent, oldName: oldName, newParent: newParent, newName: newName)
            try fileSystem.rename(names, mode: mode, caller: caller)
        case .link(let old, let new):
            let source = try find(old)
            let (parent, name) = try place(new)
            let inode = try fileSystem.link(source.id, as: name, in: parent, caller: caller)
            fileSystem.forget(inode.id, count: 1, session: session)
        case .symlink(let path, let target):
            let (parent, name) = try place(path)
            let new = NewInode(kind: .symbolicLink, permissions: 0o777, target: Array(target.utf8))
            let inode = try fileSystem.create(name, in: parent, new, caller: caller)
            fileSystem.forget(inode.id, count: 1, session: session)
        default: return false
        }
        return true
    }

    private func data(_ operation: Operation) throws(Errno) {
        switch operation {
        case .write(let path, let offset, let bytes):
            try write(bytes, try file(path, writing: true), UInt64(offset), appends: false)
        case .append(let path, let bytes):
            try write(bytes, try file(path, writing: true), 0, appends: true)
        case .truncate(let path, let size):
            var change = AttributeChange()
            change.size = UInt64(size)
            _ = try fileSystem.setAttributes(of: try file(path, writing: true), change, caller: caller)
        case .punch(let path, let offset, let length):
            try allocate(.punchHole, path, offset, length)
        case .zero(let path, let offset, let length):
            try allocate(.zero, path, offset, length)
        case .allocate(let path, let offset, let length):
            try allocate(.allocate, path, offset, length)
        case .copy(let from, let start, let to, let offset, let length):
            let source = try file(from, writing: false)
            if try fileSystem.attributes(of: source).isDirectory { throw .isDirectory }
            _ = try fileSystem.copyRange(
                from: source, at: UInt64(start), to: try file(to, writing: true), at: UInt64(offset),
                count: UInt64(length), caller: caller)
        case .setAttribute(let path, let value):
            let inode = try find(path)
            // user. attributes are for files and directories only, says the kernel.
            if inode.kind == .symbolicLink { throw .notPermitted }
            try fileSystem.setAttribute(
                Array("user.a".utf8), to: Array(value.utf8), of: inode.id, mode: .createOrReplace, caller: caller)
        case .changeMode(let path, let mode):
            var change = AttributeChange()
            change.permissions = mode
            _ = try fileSystem.setAttributes(of: try find(path).id, change, caller: caller)
        default: throw .notImplemented
        }
    }

    private func write(_ bytes: [UInt8], _ id: InodeID, _ offset: UInt64, appends: Bool) throws(Errno) {
        let refused: Errno? = bytes.withUnsafeBytes { raw in
            do throws(Errno) {
                try fileSystem.write(raw, to: id, at: offset, appends: appends, caller: caller)
                return nil
            } catch {
                return error
            }
        }
        if let refused { throw refused }
    }

    private func allocate(_ request: SpaceRequest, _ path: String, _ offset: Int, _ length: Int) throws(Errno) {
        try fileSystem.allocate(
            request, UInt64(offset)..<UInt64(offset + length), of: try file(path, writing: true), caller: caller)
    }

    public func picture() throws -> Picture {
        var picture: Picture = [:]
        try add(.root, "", to: &picture)
        return picture
    }

    private func add(_ directory: InodeID, _ prefix: String, to picture: inout Picture) throws {
        var entries: [ListedEntry] = []
        try fileSystem.list(directory, from: 0, batch: 3) { entry in
            entries.append(entry)
            return true
        }
        for entry in entries where entry.name != [0x2E] && entry.name != [0x2E, 0x2E] {
            let path = prefix + String(decoding: entry.name, as: UTF8.self)
            let inode = try fileSystem.attributes(of: entry.inode.id)
            picture[path] = try describe(inode, links: "\(inode.linkCount) ")
            if inode.isDirectory { try add(inode.id, path + "/", to: &picture) }
        }
    }

    private func describe(_ inode: Inode, links: String) throws -> String {
        let value = try? fileSystem.attribute(Array("user.a".utf8), of: inode.id, session: session)
        let content: String
        switch inode.kind {
        case .directory: content = "directory"
        case .symbolicLink: content = String(decoding: try fileSystem.readLink(inode.id), as: UTF8.self)
        default: content = checksum(try read(inode))
        }
        return ModelTree.line(
            inode.mode, links, inode.isDirectory ? 0 : Int(inode.size),
            value.map { String(decoding: $0, as: UTF8.self) },
            content)
    }

    /// What is in the trash, in the order of deletion, as `ModelTree` has it.
    public func addTrash(to picture: inout Picture) throws {
        var last: UInt64? = 0
        var number = 0
        while let after = last {
            let page = try fileSystem.trash(below: [], after: after)
            for item in page.items {
                let inode = try fileSystem.attributes(of: item.record.inode)
                picture["trash \(number)"] =
                    String(decoding: item.path, as: UTF8.self) + " " + (try describe(inode, links: ""))
                number += 1
            }
            last = page.next
        }
    }

    private func read(_ inode: Inode) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0xEE, count: Int(inode.size))
        var done = 0
        while done < bytes.count {
            let count = try bytes.withUnsafeMutableBytes { raw in
                try fileSystem.read(
                    inode.id, at: UInt64(done), into: UnsafeMutableRawBufferPointer(rebasing: raw[done...]),
                    session: session)
            }
            guard count > 0 else { throw Errno.io }
            done += count
        }
        return bytes
    }
}
