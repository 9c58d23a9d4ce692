import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing
import VFS

@Suite("the cache below FUSE")
struct CacheTests {
    @Test("data is read without the cache: its directory was removed, or nothing can be made in it")
    func withoutCache() throws {
        let directory = TemporaryDirectory()
        let content = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 / 1000) }
        var volume = try OpenedVolume(directory.path)
        let new = NewInode(kind: .regular, permissions: 0o644)
        let id = try volume.fileSystem.create(try FileName("f"), in: .root, new, caller: volume.caller).id
        for start in stride(from: 0, to: content.count, by: 100_000) {
            _ = try content[start..<start + 100_000].withUnsafeBytes {
                try volume.fileSystem.write($0, to: id, at: UInt64(start), appends: false, caller: volume.caller)
            }
        }
        #expect(volume.packs.flush(seconds: 20) == nil)
        try volume.close()

        func check() throws {
            var bytes = [UInt8](repeating: 0, count: 1_500_000)
            let read = try bytes.withUnsafeMutableBytes {
                try volume.fileSystem.read(id, at: 777_777, into: $0, session: volume.session)
            }
            #expect(read == bytes.count && bytes == Array(content[777_777..<2_277_777]))
        }
        for epoch in UInt32(2)...3 {
            volume = try OpenedVolume(directory.path, epoch: epoch)
            FileTree.remove("\(directory.path)/cache")
            // The second time a file in the place of the directory.
            if epoch == 3 { _ = try FileDescriptor.open("\(directory.path)/cache", O_CREAT | O_WRONLY, mode: 0o600) }
            try check()
            try volume.close()
        }
    }
}
