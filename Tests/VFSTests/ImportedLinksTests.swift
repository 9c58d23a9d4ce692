import FileModel
import TestSupport
import Testing
import VFS

/// Names that imports share and take from one another.
@Suite("imported files with several names")
struct ImportedLinksTests {
    private let directory = TemporaryDirectory()

    /// Imports files as runs of an object of 100 bytes, and links.
    private struct Archive {
        let work: FileImport
        let object: ForeignObject

        init(_ volume: OpenedVolume, tag: String = "1") throws {
            work = FileImport(into: [], of: volume.fileSystem)
            let source = try work.source("file:///archives", options: "")
            object = ForeignObject(
                source: source.id, key: Array("a.tar".utf8), size: 100, tag: tag, modified: Timestamp(nanoseconds: 7))
        }

        func add(_ members: [(String, ImportedEntry.Content)]) throws -> [ImportOutcome] {
            try work.add(
                try members.map { name, content in
                    ImportedEntry(
                        path: try name.split(separator: "/").map { try FileName(String($0)) }, content: content,
                        permissions: 0o644, modified: Timestamp(nanoseconds: 9))
                })
        }

        func file(_ offset: UInt64, _ count: UInt64) -> ImportedEntry.Content {
            .data(of: object, at: offset, count: count)
        }

        func link(_ name: String) throws -> ImportedEntry.Content { .hardLink(to: [try FileName(name)]) }
    }

    private func place(_ name: String, _ volume: OpenedVolume) throws -> String {
        let inode = try volume.fileSystem.attributes(of: try volume.id(name))
        let extents = try volume.metadata.transaction { transaction throws(Errno) in
            try transaction.extents(of: inode.id, overlapping: 0..<UInt64(Int64.max))
        }
        return extents.map { "\($0.packOffset)+\($0.length)" }.joined(separator: ",") + " x\(inode.linkCount)"
    }

    @Test("a member that takes the name of a link leaves what the link was to as it was")
    func replacedLink() throws {
        let volume = try OpenedVolume(directory.path)
        let archive = try Archive(volume)
        #expect(
            try archive.add([
                ("b", archive.file(0, 5)), ("h", try archive.link("b")), ("h", archive.file(10, 7)),
            ]) == [.made, .made, .renewed])
        #expect(try place("b", volume) == "0+5 x1" && place("h", volume) == "10+7 x1")
        // In other transactions, and of any kind.
        _ = try archive.add([("k", try archive.link("b"))])
        _ = try archive.add([("k", .symbolicLink(target: [0x62]))])
        _ = try archive.add([("k", .fifo)])
        _ = try archive.add([("k", .directory)])
        #expect(try archive.add([("k/inner", archive.file(20, 1)), ("k", archive.file(30, 1))])[1] != .renewed)
        #expect(try place("b", volume) == "0+5 x1" && place("k/inner", volume) == "20+1 x1")
        archive.work.end()
        try volume.close()
        try VolumeDamage.expectNone(in: directory.path, "at the end")
    }

    @Test("a file of an earlier import that has other names keeps them as they were when one of them is imported again")
    func earlier() throws {
        let volume = try OpenedVolume(directory.path)
        var archive = try Archive(volume)
        _ = try archive.add([("b", archive.file(0, 5)), ("h", try archive.link("b"))])
        archive.work.end()
        archive = try Archive(volume, tag: "2")
        #expect(try archive.add([("h", archive.file(10, 7))]) == [.renewed])
        #expect(try place("b", volume) == "0+5 x1" && place("h", volume) == "10+7 x1")
        archive.work.end()
        // Both again, as they were at first: one file with two names.
        archive = try Archive(volume, tag: "3")
        #expect(
            try archive.add([("b", archive.file(40, 3)), ("h", try archive.link("b"))]) == [.renewed, .renewed])
        #expect(try place("b", volume) == "40+3 x2" && place("h", volume) == "40+3 x2")
        #expect(try archive.add([("b", archive.file(40, 3)), ("h", try archive.link("b"))])[1] == .same)
        archive.work.end()
        try volume.close()
        try VolumeDamage.expectNone(in: directory.path, "at the end")
    }

    @Test(
        "somebody's own file, directory or link in the place of a member stays, and so does what was written meanwhile")
    func others() throws {
        let volume = try OpenedVolume(directory.path)
        try volume.file("own", [1, 2, 3])
        try volume.directory("place")
        let archive = try Archive(volume)
        let members: [(String, ImportedEntry.Content)] = [
            ("own", archive.file(0, 5)), ("own", .directory), ("own", .fifo), ("place", archive.file(0, 5)),
            ("own", .symbolicLink(target: [0x62])), ("place", .fifo),
        ]
        for outcome in try archive.add(members) { #expect("\(outcome)".hasPrefix("refused"), "\(outcome)") }
        _ = try archive.add([("mine", archive.file(0, 5))])
        try volume.write([7], to: try volume.id("mine"), at: 2)
        #expect(try "\(archive.add([("mine", archive.file(10, 7))]))".contains("data of its own"))
        #expect(try "\(archive.add([("mine", .fifo)]))".contains("data of its own"))
        archive.work.end()
        try volume.close()
    }
}
