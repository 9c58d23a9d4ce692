import ArgumentParser
import FileModel
import Glibc
import LinuxSystem
import SQLiteMetadata
import Volumes

/// Gives a new volume the metadata of a dump.
struct LoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load", abstract: "Give a new volume the metadata of a dump.", shouldDisplay: false)

    private static let pieceBytes = 1 << 20

    @Argument(help: "The volume.")
    var name: String

    @Argument(help: "The dump; - for standard input.")
    var file: String

    @Option(help: "A source that the dump names and that may be opened. May be given more than once.")
    var trustSource: [String] = []

    func run() throws {
        try berthfs.run { () throws(SystemFailure) in
            let site = SitePaths(environment: ProcessEnvironment.current())
            let registry = VolumeRegistry(paths: site)
            let record = try registry.record(try VolumeName(name))
            let trusted = try trustSource.map { text throws(SystemFailure) in try SourceEntry(text: text) }
            let paths = site.volume(record.name)
            let lock = try VolumeLock.take(paths)
            guard access(paths.database, F_OK) != 0 else {
                throw SystemFailure(
                    "volume \"\(name)\"", "has metadata already", fix: "load into a volume that was never mounted",
                    errno: .alreadyExists, status: .cannotCreate)
            }
            let target = "\(paths.directory)/load.db"
            try load(to: target)
            let lost = try OpenVolume.passOver(target, snapshots: paths.snapshots)
            // Before there are metadata: a dump is somebody's word, the list the user's.
            try registry.replaceSources(try VolumeName(name), trusted)
            let sources = try VolumeRecord.sources(in: target)
            // Of a database that was there before.
            unlink(paths.copiedMark)
            guard rename(target, paths.database) == 0 else {
                throw SystemFailure(paths.database, "cannot be made", .current)
            }
            try explaining(paths.directory, "cannot be made durable") { () throws(Errno) in
                try AtomicFile.synchronizeDirectory(paths.directory)
            }
            _ = lock
            if !lost.isEmpty {
                print("\(name): without its snapshots, which no dump has: \(lost.joined(separator: ", "))")
            }
            let closed = SourceTrust(try registry.record(try VolumeName(name))).closed(of: sources)
            for line in Recovery.lines(ofClosed: closed, volume: name) { print(line) }
            print("\(name): loaded; prove it with: berth volume check \(name)")
        }
    }

    private func load(to target: String) throws(SystemFailure) {
        let input: FileDescriptor
        do {
            input =
                file == "-" ? try FileDescriptor.copy(of: STDIN_FILENO) : try FileDescriptor.open(file, O_RDONLY)
        } catch {
            throw SystemFailure(file, "cannot be opened", error, status: .noInput)
        }
        do {
            let load = try MetadataLoad(path: target)
            var skipped = load.taken
            let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.pieceBytes, alignment: 16)
            defer { piece.deallocate() }
            while true {
                let count = Glibc.read(input.rawValue, piece.baseAddress, piece.count)
                if count < 0 && errno == EINTR { continue }
                guard count >= 0 else { throw SystemFailure(file, "cannot be read", .current, status: .noInput) }
                if count == 0 { break }
                // What an earlier load has taken.
                let start = Int(min(skipped, UInt64(count)))
                skipped -= UInt64(start)
                try load.add(UnsafeRawBufferPointer(rebasing: piece[start..<count]))
            }
            try load.finish()
        } catch let failure as SystemFailure {
            throw failure
        } catch {
            // A dump that is wrong is wrong the next time, too: nothing is kept of it.
            for suffix in ["", "-wal", "-shm", "-journal"] { unlink(target + suffix) }
            throw SystemFailure("dump \(file)", "\(error)", status: .dataError)
        }
    }
}
