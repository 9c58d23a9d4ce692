import Archives

/// An archive that somebody else made.
enum TarTarget {
    private static let blockBytes = 512

    @Sendable static func run(_ bytes: [UInt8]) -> String? {
        var asked: String?
        var reader = TarReader(size: UInt64(bytes.count)) { offset, buffer in
            guard offset <= UInt64(bytes.count), buffer.count <= bytes.count - Int(offset) else {
                asked = "\(buffer.count) bytes at \(offset) were asked for, of \(bytes.count)"
                return
            }
            buffer.copyBytes(from: bytes[Int(offset)..<Int(offset) + buffer.count])
        }
        var members = 0
        while let member = try? reader.next() {
            members += 1
            // Each has a header of its own.
            if members > bytes.count / blockBytes { return "\(members) members in \(bytes.count) bytes" }
            if case .file(let offset, let size) = member.kind {
                guard offset <= UInt64(bytes.count), size <= UInt64(bytes.count) - offset else {
                    return "a member of \(size) bytes at \(offset), of \(bytes.count)"
                }
            }
            if member.permissions > 0o7777 { return "a member with permissions \(member.permissions)" }
            if member.attributes.keys.contains(where: { !$0.hasPrefix("user.") }) {
                return "attributes that are not the user's: \(member.attributes.keys)"
            }
        }
        return asked
    }

    /// With right checksums in whatever may be a header, which few mutations would keep.
    @Sendable static func runMended(_ bytes: [UInt8]) -> String? {
        var mended = bytes
        for start in stride(from: 0, to: bytes.count - bytes.count % blockBytes, by: blockBytes) {
            let field = start + 148..<start + 156
            guard mended[start + 257..<start + 262].elementsEqual(Array("ustar".utf8)) else { continue }
            mended.replaceSubrange(field, with: repeatElement(0x20, count: 8))
            let sum = mended[start..<start + blockBytes].reduce(0) { $0 + Int($1) }
            let digits = String(sum, radix: 8)
            let text = String(repeating: "0", count: 6 - digits.count) + digits + "\0 "
            mended.replaceSubrange(field, with: Array(text.utf8))
        }
        return run(mended)
    }
}
