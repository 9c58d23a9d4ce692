import Glibc

/// Loads on many files of 4 KiB.
struct SmallFiles {
    private let options: Options
    private let files: FileSet
    private let text = DockingText()
    private let buffer = UnsafeMutableRawPointer.allocate(byteCount: DockingText.blockSize, alignment: 4096)
    private let expected = UnsafeMutableRawPointer.allocate(byteCount: DockingText.blockSize, alignment: 4096)
    private let positions: [UInt32]

    /// Bytes of a block that name its file: enough to notice a file mistaken for another.
    private static let signature = 64

    init(_ options: Options, client: Int) {
        self.options = options
        files = FileSet(options, client: client)
        positions = files.positions()
    }

    var expectedOperations: Int { files.count }

    func prepare() throws(LoadFailure) {
        if options.load == .create { try files.makeDirectories() }
    }

    func run(_ recorder: inout Recorder) throws(LoadFailure) {
        switch options.load {
        case .create: try create(&recorder)
        case .read: try read(&recorder)
        case .stat: try status(&recorder)
        case .list: try list(&recorder)
        case .rename: try rename(&recorder)
        case .unlink: try unlink(&recorder)
        default: try verify(&recorder)
        }
    }

    private func create(_ recorder: inout Recorder) throws(LoadFailure) {
        for position in positions.map(Int.init) {
            text.fill(buffer, seed: files.seed, number: files.number(position))
            let path = files.path(position)
            recorder.begin()
            let descriptor = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0o644)
            guard descriptor >= 0 else { throw .system("open", path) }
            guard write(descriptor, buffer, DockingText.blockSize) == DockingText.blockSize else {
                throw .system("write", path)
            }
            guard close(descriptor) == 0 else { throw .system("close", path) }
            recorder.done(bytes: DockingText.blockSize)
        }
    }

    private func read(_ recorder: inout Recorder) throws(LoadFailure) {
        for position in positions.map(Int.init) {
            let path = files.path(position)
            try readWhole(path)
            recorder.done(bytes: DockingText.blockSize)
            text.stamp(expected, seed: files.seed, number: files.number(position), version: 0)
            guard memcmp(buffer + 15, expected + 15, 12) == 0, memcmp(buffer + 40, expected + 40, 12) == 0 else {
                throw LoadFailure("read \(String(cString: path)): another file's content")
            }
        }
    }

    private func readWhole(_ path: UnsafePointer<CChar>) throws(LoadFailure) {
        let descriptor = open(path, O_RDONLY)
        guard descriptor >= 0 else { throw .system("open", path) }
        let count = Glibc.read(descriptor, buffer, DockingText.blockSize)
        guard count == DockingText.blockSize else {
            throw count < 0 ? .system("read", path) : LoadFailure("read \(String(cString: path)): \(count) bytes")
        }
        guard close(descriptor) == 0 else { throw .system("close", path) }
    }

    private func status(_ recorder: inout Recorder) throws(LoadFailure) {
        var status = Glibc.stat()
        for position in positions.map(Int.init) {
            let path = files.path(position)
            guard lstat(path, &status) == 0 else { throw .system("lstat", path) }
            guard status.st_size == DockingText.blockSize else {
                throw LoadFailure("lstat \(String(cString: path)): \(status.st_size) bytes")
            }
            recorder.done()
        }
    }

    /// Each directory is read, and each name is looked at as it comes, as `ls -l` and `os.scandir` do.
    private func list(_ recorder: inout Recorder) throws(LoadFailure) {
        var seen = 0
        for directory in files.directories() {
            guard let stream = opendir(directory) else { throw .system("opendir", directory) }
            defer { closedir(stream) }
            while let entry = readdir(stream) {
                if entry.pointee.d_name.0 == 0x2E { continue }
                try withUnsafePointer(to: &entry.pointee.d_name) { (pointer) throws(LoadFailure) in
                    let name = UnsafeRawPointer(pointer).assumingMemoryBound(to: CChar.self)
                    var status = Glibc.stat()
                    guard fstatat(dirfd(stream), name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
                        throw .system("fstatat", name)
                    }
                }
                seen += 1
                recorder.done()
            }
        }
        // In shared directories each client sees the files of all.
        let wanted = options.isShared ? options.files : files.count
        guard seen == wanted else { throw LoadFailure("list: \(seen) names instead of \(wanted)") }
    }

    private func rename(_ recorder: inout Recorder) throws(LoadFailure) {
        for position in positions.map(Int.init) {
            let path = files.path(position)
            guard Glibc.rename(path, files.renamed(position)) == 0 else { throw .system("rename", path) }
            recorder.done()
        }
    }

    private func unlink(_ recorder: inout Recorder) throws(LoadFailure) {
        for position in positions.map(Int.init) {
            let path = files.path(position)
            guard Glibc.unlink(path) == 0 else { throw .system("unlink", path) }
            recorder.done()
        }
    }

    /// Every byte of every `stride`th file.
    private func verify(_ recorder: inout Recorder) throws(LoadFailure) {
        for position in stride(from: 0, to: files.count, by: options.stride) {
            let path = files.path(position)
            try readWhole(path)
            text.fill(expected, seed: files.seed, number: files.number(position))
            guard memcmp(buffer, expected, DockingText.blockSize) == 0 else {
                throw LoadFailure("verify \(String(cString: path)): wrong content")
            }
            recorder.done(bytes: DockingText.blockSize)
        }
    }
}
