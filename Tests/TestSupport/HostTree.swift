import CLinux
import FileModel
import Glibc
import LinuxSystem
import VFS

/// The host's own file system: what our own is measured against.
public struct HostTree: TestedTree {
    public let root: String

    public init(root: String) { self.root = root }

    private func full(_ path: String) -> String { "\(root)/\(path)" }

    private func code(_ result: some BinaryInteger) -> Int32 { result < 0 ? errno : 0 }

    /// Opens an existing file for a data operation.
    private func withFile(_ path: String, _ flags: Int32, _ body: (Int32) -> Int32) -> Int32 {
        let number = open(full(path), flags | O_NOFOLLOW | O_CLOEXEC)
        guard number >= 0 else { return errno }
        defer { close(number) }
        return body(number)
    }

    public func perform(_ operation: Operation) -> Int32 {
        switch operation {
        case .create(let path):
            let number = open(full(path), O_CREAT | O_EXCL | O_WRONLY, 0o644)
            defer { if number >= 0 { close(number) } }
            return code(number)
        case .makeDirectory(let path): return code(mkdir(full(path), 0o755))
        case .remove(let path): return code(unlink(full(path)))
        case .removeDirectory(let path): return code(rmdir(full(path)))
        case .rename(let old, let new, let mode):
            let flags = mode == .keep ? BERTH_RENAME_NOREPLACE : mode == .exchange ? BERTH_RENAME_EXCHANGE : 0
            return code(berth_renameat2(AT_FDCWD, full(old), AT_FDCWD, full(new), UInt32(flags)))
        case .link(let old, let new): return code(Glibc.link(full(old), full(new)))
        case .symlink(let path, let target): return code(Glibc.symlink(target, full(path)))
        case .write(let path, let offset, let bytes):
            return withFile(path, O_WRONLY) { code(pwrite($0, bytes, bytes.count, off_t(offset))) }
        case .append(let path, let bytes):
            return withFile(path, O_WRONLY | O_APPEND) { code(Glibc.write($0, bytes, bytes.count)) }
        case .truncate(let path, let size): return withFile(path, O_WRONLY) { code(ftruncate($0, off_t(size))) }
        case .punch(let path, let offset, let length):
            let mode = Int32(BERTH_FALLOC_FL_PUNCH_HOLE | BERTH_FALLOC_FL_KEEP_SIZE)
            return withFile(path, O_WRONLY) { code(fallocate($0, mode, off_t(offset), off_t(length))) }
        case .zero(let path, let offset, let length):
            return withFile(path, O_WRONLY) {
                code(fallocate($0, Int32(BERTH_FALLOC_FL_ZERO_RANGE), off_t(offset), off_t(length)))
            }
        case .allocate(let path, let offset, let length):
            return withFile(path, O_WRONLY) { code(fallocate($0, 0, off_t(offset), off_t(length))) }
        case .copy(let source, let start, let target, let offset, let length):
            return copy(source, start, target, offset, length)
        case .setAttribute(let path, let value):
            return code(lsetxattr(full(path), "user.a", value, value.utf8.count, 0))
        case .changeMode(let path, let mode): return code(chmod(full(path), mode))
        }
    }

    /// Through a buffer: copy_file_range of the host shares whole blocks only.
    private func copy(_ source: String, _ start: Int, _ target: String, _ offset: Int, _ length: Int) -> Int32 {
        var bytes = [UInt8](repeating: 0, count: length)
        var count = 0
        let refused = withFile(source, O_RDONLY) { number in
            count = pread(number, &bytes, length, off_t(start))
            return code(count)
        }
        guard refused == 0 else { return refused }
        return withFile(target, O_WRONLY) { code(pwrite($0, bytes, count, off_t(offset))) }
    }

    public func picture() throws -> Picture {
        var picture: Picture = [:]
        try add("", to: &picture)
        return picture
    }

    private func add(_ directory: String, to picture: inout Picture) throws {
        for name in try LinuxSystem.FileTree.names(in: full(directory)) {
            let path = directory.isEmpty ? name : "\(directory)/\(name)"
            var status = stat()
            guard lstat(full(path), &status) == 0 else { throw Errno.current }
            var value = [UInt8](repeating: 0, count: 64)
            let count = lgetxattr(full(path), "user.a", &value, value.count)
            let attribute = count > 0 ? String(decoding: value[..<count], as: UTF8.self) : "-"
            let content: String
            switch status.st_mode & S_IFMT {
            case S_IFDIR: content = "directory"
            case S_IFLNK:
                var target = [CChar](repeating: 0, count: 4096)
                let length = readlink(full(path), &target, target.count)
                content = String(decoding: target[..<max(0, length)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
            default:
                content = checksum(try LinuxSystem.FileDescriptor.open(full(path), O_RDONLY).readAll(limit: 16 << 20))
            }
            picture[path] =
                "\(String(status.st_mode, radix: 8)) \(status.st_nlink) \(status.st_mode & S_IFMT == S_IFDIR ? 0 : status.st_size) \(attribute) \(content)"
            if status.st_mode & S_IFMT == S_IFDIR { try add(path, to: &picture) }
        }
    }
}

/// FNV-1a over words of eight bytes: enough to tell contents apart in a message.
func checksum(_ bytes: [UInt8]) -> String {
    var value: UInt64 = 0xCBF2_9CE4_8422_2325 ^ UInt64(bytes.count)
    func add(_ word: UInt64) {
        value = (value ^ word) &* 0x100_0000_01B3
        value ^= value >> 29
    }
    bytes.withUnsafeBytes { raw in
        let whole = raw.count / 8 * 8
        for offset in stride(from: 0, to: whole, by: 8) {
            add(raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        for byte in raw[whole...] { add(UInt64(byte)) }
    }
    return String(value, radix: 16)
}
