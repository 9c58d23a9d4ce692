/// Reads the small XML documents of S3: elements and text. Strict: what is no XML, a document type, or more than
/// `depthLimit` deep is refused, so that nothing of an answer is ever guessed.
struct XMLReader {
    struct Element: Equatable {
        var name: String
        var text = ""
        var children: [Element] = []

        /// The text of the first child of that name.
        subscript(name: String) -> String? { children.first { $0.name == name }?.text }

        func all(_ name: String) -> [Element] { children.filter { $0.name == name } }
    }

    struct Malformed: Error {}

    private static let depthLimit = 16

    private let bytes: [UInt8]
    private var position = 0

    /// The document's root. Prefixes of namespaces and attributes are dropped.
    static func parse(_ bytes: [UInt8]) throws(Malformed) -> Element {
        var reader = XMLReader(bytes: bytes)
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { reader.position = 3 }
        try reader.skipMisc()
        let root = try reader.element(depth: 0)
        try reader.skipMisc()
        guard reader.position == bytes.count else { throw Malformed() }
        return root
    }

    private init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private func sees(_ text: StaticString) -> Bool {
        text.withUTF8Buffer { bytes[position...].starts(with: $0) }
    }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { position += 1 }
    }

    /// Declaration, comments and white space.
    private mutating func skipMisc() throws(Malformed) {
        while true {
            skipSpace()
            if sees("<?") {
                try skip(past: "?>")
            } else if sees("<!--") {
                try skip(past: "-->")
            } else {
                return
            }
        }
    }

    private mutating func skip(past end: StaticString) throws(Malformed) {
        while position < bytes.count {
            if sees(end) {
                position += end.utf8CodeUnitCount
                return
            }
            position += 1
        }
        throw Malformed()
    }

    private mutating func expect(_ byte: UInt8) throws(Malformed) {
        guard next == byte else { throw Malformed() }
        position += 1
    }

    private mutating func name() throws(Malformed) -> String {
        let start = position
        while let byte = next {
            switch byte {
            case 0x30...0x3A, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x80...0xFF: position += 1
            default:
                guard position > start else { throw Malformed() }
                let name = String(decoding: bytes[start..<position], as: UTF8.self)
                return name.split(separator: ":").last.map(String.init) ?? name
            }
        }
        throw Malformed()
    }

    private mutating func element(depth: Int) throws(Malformed) -> Element {
        guard depth < Self.depthLimit else { throw Malformed() }
        try expect(UInt8(ascii: "<"))
        var element = Element(name: try name())
        if try attributesEndElement() { return element }
        var text: [UInt8] = []
        while let byte = next {
            if sees("</") {
                position += 2
                guard try name() == element.name else { throw Malformed() }
                skipSpace()
                try expect(UInt8(ascii: ">"))
                element.text = String(decoding: text, as: UTF8.self)
                return element
            } else if sees("<!--") {
                try skip(past: "-->")
            } else if sees("<![CDATA[") {
                let start = position + 9
                try skip(past: "]]>")
                text += bytes[start..<position - 3]
            } else if byte == UInt8(ascii: "<") {
                element.children.append(try self.element(depth: depth + 1))
            } else if byte == UInt8(ascii: "&") {
                text += try reference()
            } else {
                text.append(byte)
                position += 1
            }
        }
        throw Malformed()
    }

    /// True where the element ended with its attributes: `<Name/>`.
    private mutating func attributesEndElement() throws(Malformed) -> Bool {
        while true {
            skipSpace()
            if sees("/>") {
                position += 2
                return true
            }
            if next == UInt8(ascii: ">") {
                position += 1
                return false
            }
            _ = try name()
            skipSpace()
            try expect(UInt8(ascii: "="))
            skipSpace()
            guard let quote = next, quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") else { throw Malformed() }
            position += 1
            while let byte = next, byte != quote, byte != UInt8(ascii: "<") { position += 1 }
            try expect(quote)
        }
    }

    private mutating func reference() throws(Malformed) -> [UInt8] {
        // The longest is "&#x10FFFF;".
        guard let end = bytes[position...].prefix(10).firstIndex(of: UInt8(ascii: ";")) else { throw Malformed() }
        let word = String(decoding: bytes[position + 1..<end], as: UTF8.self)
        position = end + 1
        switch word {
        case "lt": return [UInt8(ascii: "<")]
        case "gt": return [UInt8(ascii: ">")]
        case "amp": return [UInt8(ascii: "&")]
        case "quot": return [UInt8(ascii: "\"")]
        case "apos": return [UInt8(ascii: "'")]
        default:
            let number =
                word.hasPrefix("#x")
                ? UInt32(word.dropFirst(2), radix: 16)
                : word.hasPrefix("#") ? UInt32(word.dropFirst()) : nil
            guard let number, let scalar = Unicode.Scalar(number) else { throw Malformed() }
            return Array(String(Character(scalar)).utf8)
        }
    }
}
