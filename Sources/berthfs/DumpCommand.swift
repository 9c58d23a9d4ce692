import ArgumentParser
import FileModel
import Glibc
import LinuxSystem
import SQLiteMetadata
import Volumes

/// Writes a volume's metadata as text.
struct DumpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dump", abstract: "Write a volume's metadata as lines of text.", shouldDisplay: false)

    @Argument(help: "The volume.")
    var name: String

    @Option(name: .shortAndLong, help: "The file to write; standard output without it.")
    var output: String?

    @Flag(help: "Go on with a file that an earlier dump left unfinished.")
    var resume = false

    func run() throws {
        try berthfs.run { () throws(SystemFailure) in
            let site = SitePaths(environment: ProcessEnvironment.current())
            let paths = site.volume(try VolumeRegistry(paths: site).record(try VolumeName(name)).name)
            var look = try MetadataLook.take(paths, site, purpose: "dump", again: resume)
            guard access(look.path, F_OK) == 0 else {
                throw SystemFailure(
                    "volume \"\(paths.name)\"", "was never used: there is no metadata to dump", status: .noInput)
            }
            var target = try DumpTarget(output, resume: resume)
            let rows: UInt64
            do {
                rows = try MetadataDump.write(path: look.path) { try target.take($0) }
                try target.finish()
            } catch let failure as SystemFailure {
                throw failure
            } catch {
                throw SystemFailure("volume \"\(paths.name)\"", "\(error)", status: .dataError)
            }
            look.remove()
            if output != nil { print("\(paths.name): \(rows) rows") }
        }
    }
}

/// Where a dump goes. The same volume dumps to the same bytes, so what a file has already is compared, and not written
/// again.
private struct DumpTarget: ~Copyable {
    private let path: String
    private let descriptor: FileDescriptor
    /// Bytes that the file has and that were not compared yet.
    private var present: Int

    init(_ output: String?, resume: Bool) throws(SystemFailure) {
        path = output ?? "standard output"
        do throws(Errno) {
            descriptor = try Self.open(output, resume)
        } catch {
            throw SystemFailure(
                output ?? "standard output", "cannot be written", error,
                fix: error == .alreadyExists ? "use another file, or go on with it: --resume" : nil)
        }
        var status = stat()
        present = output != nil && fstat(descriptor.rawValue, &status) == 0 ? Int(status.st_size) : 0
    }

    private static func open(_ output: String?, _ resume: Bool) throws(Errno) -> FileDescriptor {
        guard let output else { return try FileDescriptor.copy(of: STDOUT_FILENO) }
        // With O_EXCL no link is followed. What is there already must be a file of ours.
        if resume {
            do throws(Errno) {
                return try OutputFile.reopen(output, O_RDWR)
            } catch {
                guard error == .noEntry else { throw error }
            }
        }
        return try FileDescriptor.open(output, O_RDWR | O_CREAT | O_EXCL)
    }

    mutating func take(_ bytes: [UInt8]) throws(SystemFailure) {
        let known = min(present, bytes.count)
        if known > 0 {
            var found = [UInt8](repeating: 0, count: known)
            var done = 0
            while done < known {
                let count = found.withUnsafeMutableBytes {
                    Glibc.read(descriptor.rawValue, $0.baseAddress.map { $0 + done }, known - done)
                }
                guard count > 0 else { throw SystemFailure(path, "cannot be read", .current) }
                done += count
            }
            guard found.elementsEqual(bytes[..<known]) else {
                throw SystemFailure(
                    path, "is no part of this dump: the volume was changed since",
                    fix: "remove the file, and dump anew",
                    status: .dataError)
            }
            present -= known
        }
        do {
            try descriptor.write(Array(bytes[known...]))
        } catch {
            throw SystemFailure(path, "cannot be written", error)
        }
    }

    /// A file is durable then. Standard output may be a pipe.
    borrowing func finish() throws(SystemFailure) {
        guard present == 0 else {
            throw SystemFailure(
                path, "is longer than this dump", fix: "remove the file, and dump anew", status: .dataError)
        }
        guard fsync(descriptor.rawValue) == 0 || errno == EINVAL || errno == EROFS else {
            throw SystemFailure(path, "cannot be made durable", .current)
        }
    }
}
