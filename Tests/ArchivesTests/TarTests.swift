import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

@testable import Archives

/// The reader against archives that tar itself made, and against damage.
@Suite("tar archives")
struct TarTests {
    private let directory = TemporaryDirectory()

    private func read(_ bytes: [UInt8]) throws -> [TarMember] {
        var requests = 0
        return try read(bytes, &requests)
    }

    private func read(_ bytes: [UInt8], _ requests: inout Int) throws -> [TarMember] {
        var count = 0
        var reader = TarReader(size: UInt64(bytes.count)) { offset, buffer in
            count += 1
            let range = Int(offset)..<Int(offset) + buffer.count
            guard range.upperBound <= bytes.count else { throw TestFailure("asked past the end") }
            buffer.copyBytes(from: bytes[range])
        }
        defer { requests = count }
        var members: [TarMember] = []
        while let member = try reader.next() { members.append(member) }
        return members
    }

    private func archive(_ script: String) throws -> [UInt8] {
        try Shell.root.run("cd '\(directory.path)' && \(script)")
        return try AtomicFile.read("\(directory.path)/a.tar", limit: 64 << 20) ?? []
    }

    private func name(_ member: TarMember) -> String { String(decoding: member.name, as: UTF8.self) }

    private static let tree = """
        mkdir -p t/d; echo one > t/one; head -c 3000000 /dev/zero > t/d/large; ln -s one t/link; ln t/one t/hard
        long=$(printf 'n%.0s' $(seq 200)); echo long > t/d/$long; ln -s $long$long t/longlink; mkfifo t/fifo
        mkdir -p t/$long/$long; echo deep > t/$long/$long/$long; chmod 640 t/one
        touch -d '2001-02-03 04:05:06.789 UTC' t/one; touch -d '1965-01-01 UTC' t/d/large
        """

    @Test(
        "names, sizes, times, modes, links of every format are what find says",
        arguments: ["gnu", "pax", "ustar", "v7"])
    func formats(format: String) throws {
        let limits = format == "ustar" || format == "v7"
        let tree =
            limits
            ? "mkdir -p t/d; echo one > t/one; head -c 3000000 /dev/zero > t/d/large; ln -s one t/link; ln t/one t/hard; chmod 640 t/one; touch -d @981173106 t/one"
            : Self.tree
        let bytes = try archive("\(tree)\ntar -c --format=\(format) -f a.tar t")
        let members = try read(bytes)
        let listed = try Shell.root.run("cd '\(directory.path)' && find t | LC_ALL=C sort").split(separator: "\n").map(
            String.init)
        #expect(members.map { name($0).hasSuffix("/") ? String(name($0).dropLast()) : name($0) }.sorted() == listed)
        for member in members {
            guard case .file(let offset, let size) = member.kind else { continue }
            let path = "\(directory.path)/\(name(member))"
            let content = try AtomicFile.read(path, limit: 8 << 20) ?? []
            #expect(size == UInt64(content.count) && bytes[Int(offset)..<Int(offset + size)].elementsEqual(content))
            var status = stat()
            #expect(lstat(path, &status) == 0 && member.permissions == status.st_mode & 0o7777)
            let exact = format == "pax" ? Int64(status.st_mtim.tv_nsec) : 0
            // v7 and ustar have no time before 1970.
            #expect(
                member.modified == Timestamp(seconds: Int64(status.st_mtim.tv_sec), nanoseconds: exact),
                "\(name(member))")
        }
        let link = try #require(members.first { name($0) == "t/link" })
        #expect(link.kind == .symbolicLink(target: Array("one".utf8)))
        let hard = members.filter { if case .hardLink = $0.kind { true } else { false } }
        #expect(hard.count == 1)
        if !limits { #expect(members.contains { $0.kind == .fifo }) }
    }

    @Test("sparse members are named and not taken, whatever their format", arguments: ["gnu", "pax"])
    func sparse(format: String) throws {
        let members = try read(
            try archive(
                """
                mkdir t; truncate -s 10M t/s; for i in $(seq 0 30); do echo x | dd of=t/s bs=1 seek=$((i*300000)) conv=notrunc status=none; done
                echo after > t/z; tar -c --format=\(format) --sparse -f a.tar t
                """))
        #expect(members.count == 3)
        let sparse = try #require(members.first { name($0) == "t/s" })
        #expect(sparse.kind == .unsupported("it is sparse; make the archive without --sparse"))
        #expect(members.contains { name($0) == "t/z" })
    }

    @Test("a hundred thousand small members need few reads, and large ones a small one each")
    func windows() throws {
        var bytes: [UInt8] = []
        for number in 0..<20_000 {
            bytes += TarWriter.encode(header("f\(number)", size: 10))
            bytes += [UInt8](repeating: 1, count: 512)
        }
        var requests = 0
        #expect(try read(bytes + TarWriter.end, &requests).count == 20_000)
        #expect(requests < 20, "\(requests)")
        bytes = []
        for number in 0..<5 {
            bytes += TarWriter.encode(header("f\(number)", size: 20 << 20))
            bytes += [UInt8](repeating: 1, count: 20 << 20)
        }
        #expect(try read(bytes + TarWriter.end, &requests).count == 5)
        #expect(requests <= 6)
    }

    private func header(_ name: String, size: UInt64) -> TarWriter.Header {
        TarWriter.Header(
            name: Array(name.utf8), kind: .file, permissions: 0o644, userID: 0, groupID: 0, size: size,
            modified: Timestamp(seconds: 1, nanoseconds: 0))
    }

    @Test("an archive cut anywhere is refused, or has lost only what is behind its end mark")
    func cut() throws {
        let bytes = try archive(Self.tree + "\nrm t/d/large; tar -c --format=pax -f a.tar t")
        let whole = try read(bytes)
        let end = bytes.count - (bytes.reversed().prefix { $0 == 0 }.count / 512 * 512)
        for length in stride(from: 0, to: bytes.count, by: 211) {
            do {
                let members = try read(Array(bytes[..<length]))
                #expect(length >= end + 512 && members == whole, "cut at \(length) of \(bytes.count)")
            } catch let error as TarFailure {
                guard case .truncated = error else { throw error }
            }
        }
    }

    @Test("no damage traps, reads past the end, or goes on for ever: 3000 seeds")
    func mutations() throws {
        let bytes = try archive(Self.tree + "\nrm t/d/large; tar -c --format=pax -f a.tar t t/one")
        let old = try archive("tar -c --format=gnu -f a.tar t")
        for seed in 1...3000 as ClosedRange<UInt64> {
            var random = SeededGenerator(seed: seed)
            var damaged = seed % 2 == 0 ? bytes : old
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                let header = Int.random(in: 0..<damaged.count / 512, using: &random) * 512
                let index = min(damaged.count - 1, header + Int.random(in: 0..<512, using: &random))
                damaged[index] = UInt8.random(in: .min ... .max, using: &random)
                if Bool.random(using: &random), header + 512 <= damaged.count { Self.mend(&damaged, header) }
            }
            do {
                for member in try read(damaged) {
                    guard case .file(let offset, let size) = member.kind else { continue }
                    #expect(offset + size <= UInt64(damaged.count), "seed \(seed)")
                }
            } catch is TarFailure {
            } catch {
                throw TestFailure("seed \(seed): \(error)")
            }
        }
    }

    @Test("numbers in base 256 are clamped to what there is, times below 0 included")
    func baseNumbers() throws {
        let plain = TarWriter.encode(header("f", size: 0)) + TarWriter.end
        let fields: [([UInt8], Timestamp)] = [
            ([0x80] + [UInt8](repeating: 0, count: 10) + [5], Timestamp(seconds: 5, nanoseconds: 0)),
            ([UInt8](repeating: 0xFF, count: 12), Timestamp(seconds: -1, nanoseconds: 0)),
            ([0xFF, 0xFE] + [UInt8](repeating: 0, count: 10), .earliest),
            ([0xFF, 0xFF, 0xFF, 0xFF, 0x80] + [UInt8](repeating: 0, count: 7), .earliest),
            ([0xFF, 0xFF, 0xFF, 0xFF, 0x7F] + [UInt8](repeating: 0, count: 7), .earliest),
            ([0x80, 0, 0, 0, 0x7F] + [UInt8](repeating: 0xFF, count: 7), .latest),
            ([0x80, 0, 0, 0, 0xFF] + [UInt8](repeating: 0xFF, count: 7), .latest),
            ([0xBF] + [UInt8](repeating: 0xFF, count: 11), .latest),
            ([0xC0] + [UInt8](repeating: 0, count: 11), .earliest),
            // 1601-01-01, as GNU tar writes it.
            ([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFD, 0x49, 0xF2, 0x2C, 0x80], .earliest),
        ]
        for (field, time) in fields {
            var bytes = plain
            bytes.replaceSubrange(136..<148, with: field)
            Self.mend(&bytes, 0)
            #expect(try read(bytes).map(\.modified) == [time], "\(field)")
            // The same as a size: refused where the archive has not so much.
            guard field.last != 5 else { continue }
            bytes = plain
            bytes.replaceSubrange(124..<136, with: field)
            Self.mend(&bytes, 0)
            #expect(throws: TarFailure.self, "\(field)") { try read(bytes) }
        }
    }

    @Test("dates far from any clock come out of tar's archives as the nearest there is", arguments: ["gnu", "pax"])
    func farDates(format: String) throws {
        let bytes = try archive(
            "for y in 1601 1677 1901 1969 2038 2262 2500 9999; do touch -d $y-01-01T00:00:00Z $y; done; "
                + "tar -c --format=\(format) -f a.tar 1601 1677 1901 1969 2038 2262 2500 9999 2>/dev/null")
        let years = try read(bytes).map { String($0.modified.description.prefix(4)) }
        // The disk may have clamped first: what it kept is what must come.
        let kept = try Shell.root.run(
            "cd '\(directory.path)' && stat -c %y 1601 1677 1901 1969 2038 2262 2500 9999 | cut -c1-4")
        let expected = kept.split(separator: "\n").map { max("1677", min("2262", String($0))) }
        #expect(years == expected, "\(years)")
    }

    /// Makes a header's checksum right again, so that what it says is believed.
    private static func mend(_ bytes: inout [UInt8], _ at: Int) {
        for index in 148..<156 { bytes[at + index] = 0x20 }
        let sum = bytes[at..<at + 512].reduce(0) { $0 + Int($1) }
        let text = Array(String(sum, radix: 8).utf8)
        for (index, byte) in ([UInt8](repeating: 0x30, count: max(0, 6 - text.count)) + text).prefix(6).enumerated() {
            bytes[at + 148 + index] = byte
        }
        bytes[at + 154] = 0
    }

    @Test("what the writer makes, tar and the reader take")
    func written() throws {
        var file = header(String(repeating: "d/", count: 100) + "name", size: 5)
        file.modified = Timestamp(seconds: -5, nanoseconds: 123_456_789)
        file.userID = 3_000_000
        file.records = [("SCHILY.xattr.user.x", [1, 2, 3, 0x0A, 4])]
        var link = header("hard", size: 0)
        link.kind = .hardLink
        link.link = file.name
        let data = Array("hello".utf8) + [UInt8](repeating: 0, count: TarWriter.padding(5))
        let bytes = TarWriter.encode(file) + data + TarWriter.encode(link) + TarWriter.end
        let members = try read(bytes)
        #expect(members.count == 2 && members[0].name == file.name && members[0].modified == file.modified)
        #expect(members[0].attributes == ["user.x": [1, 2, 3, 0x0A, 4]])
        #expect(members[1].kind == .hardLink(to: file.name))
        try AtomicFile.replace("\(directory.path)/w.tar", bytes)
        let text = try Shell.root.run(
            "cd '\(directory.path)' && tar -tvf w.tar --utc --full-time --numeric-owner && tar -xf w.tar && cat hard")
        #expect(text.contains("3000000/0"), "\(text)")
        #expect(text.hasSuffix("hello"))
    }
}
