import Control
import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

/// The client's end of an export, asked by a server that is in somebody else's hands.
@Suite("Export trees")
struct ExportTreeTests {
    /// A directory, and a tree in it that another thread serves.
    private func served(_ directory: String) throws -> RemoteExportTree {
        let pair = try UnixSocket.pair()
        let other = try LinuxSystem.FileDescriptor.copy(of: pair.second.rawValue)
        let top = try LinuxSystem.FileDescriptor.open(directory, O_RDONLY | O_DIRECTORY)
        let service = Hands(ExportTreeService(pair.takeFirst(), top: top))
        _ = WorkerThread(name: "export") { service.service.run() }
        return RemoteExportTree(other)
    }

    // SAFETY: one thread uses it.
    private final class Hands: @unchecked Sendable {
        let service: ExportTreeService

        init(_ service: consuming ExportTreeService) {
            self.service = service
        }
    }

    private func errno(_ body: () throws -> Void) -> Errno? {
        do {
            try body()
            return nil
        } catch {
            return error as? Errno
        }
    }

    @Test("files, directories, links and fifos are made where the walk is, and what is there already is told")
    func making() throws {
        let place = TemporaryDirectory()
        let tree = try served(place.path)
        let name = try FileName("d")
        let file = try FileName("f")
        let isNew = try tree.enter(name).isNew
        #expect(isNew)
        guard case .made(let made) = try tree.create(file) else { throw TestFailure("not made") }
        try made.write(Array("x".utf8))
        guard case .exists(let entry) = try tree.create(file) else { throw TestFailure("made twice") }
        #expect(entry.size == 1 && entry.kind == S_IFREG)
        try tree.link([name, file], as: try FileName("g"))
        #expect(try tree.status(try FileName("g"))?.inode == entry.inode)
        try tree.symbolicLink(try FileName("s"), target: Array("f".utf8), times: [timespec(), timespec()])
        let hasFifo = try tree.fifo(try FileName("p")) != nil
        #expect(hasFifo)
        try tree.leave()
        #expect(try tree.status(at: [name, file])?.inode == entry.inode)
        #expect(try tree.status(file) == nil)
    }

    @Test("a name of several parts, a planted link and a path through one lead nowhere")
    func hostile() throws {
        let place = TemporaryDirectory()
        mkdir("\(place.path)/out", 0o700)
        mkdir("\(place.path)/secret", 0o700)
        _ = try LinuxSystem.FileDescriptor.open("\(place.path)/secret/key", O_WRONLY | O_CREAT)
        let tree = try served("\(place.path)/out")
        for text in ["../secret", "..", ".", "a/b", ""] {
            let name = FileName(trusted: Array(text.utf8))
            #expect(errno { _ = try tree.enter(name) } == .invalidArgument, "\(text)")
            #expect(errno { _ = try tree.create(name) } == .invalidArgument, "\(text)")
            #expect(errno { try tree.remove(name) } == .invalidArgument, "\(text)")
        }
        let link = try FileName("link")
        let key = try FileName("key")
        try tree.symbolicLink(link, target: Array("../secret".utf8), times: [timespec(), timespec()])
        #expect(errno { _ = try tree.enter(link) } == .notDirectory)
        #expect(errno { try tree.link([link, key], as: try FileName("stolen")) } == .noEntry)
        #expect(try tree.status(at: [link, key]) == nil)
        #expect(errno { try tree.leave() } == .invalidArgument)
        #expect(access("\(place.path)/out/stolen", F_OK) != 0)
    }
}
