import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing
import VFS

@Suite("large directories below FUSE")
struct DirectoryTests {
    @Test("200,000 entries: a listing in small steps neither repeats nor misses while entries come and go")
    func stable() throws {
        let directory = TemporaryDirectory()
        let volume = try OpenedVolume(directory.path)
        let new = NewInode(kind: .regular, permissions: 0o644)
        func make(_ name: String) throws {
            let inode = try volume.fileSystem.create(try FileName(name), in: .root, new, caller: volume.caller)
            volume.fileSystem.forget(inode.id, count: 1, session: volume.session)
        }
        for number in 0..<200_000 { try make("stay\(number)") }
        var seen = Set<[UInt8]>()
        var offset: UInt64 = 0
        var step = 0
        while true {
            var taken = 0
            let before = offset
            try volume.fileSystem.list(.root, from: offset, batch: 64) { entry in
                guard taken < 500 else { return false }
                #expect(seen.insert(entry.name).inserted, "\(entry.name) came twice")
                offset = entry.nextOffset
                taken += 1
                return true
            }
            if offset == before { break }
            step += 1
            try make("come\(step)")
            if step > 1 {
                try volume.fileSystem.unlink(try FileName("come\(step - 1)"), in: .root, caller: volume.caller)
            }
        }
        #expect(seen.filter { $0.starts(with: Array("stay".utf8)) }.count == 200_000)
        try volume.close()
    }
}
