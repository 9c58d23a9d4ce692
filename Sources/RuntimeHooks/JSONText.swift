import FileModel

/// A JSON text and where its parts lie in it (RFC 8259). Parts are read and replaced by their place, so that
/// everything else stays byte for byte: fields nobody here knows, the order of keys, the digits of numbers.
struct JSONText {
    /// A value and its place, without the space around it.
    struct Node {
        enum Kind {
            case object([Member])
            case array([Node])
            case string
            case other
        }

        var kind: Kind
        var range: Range<Int>
    }

    struct Member {
        /// With its escapes resolved.
        var key: String
        var value: Node
    }

    let bytes: [UInt8]
    let root: Node

    /// Nil where the bytes are not one JSON value.
    init?(_ bytes: [UInt8]) {
        var parser = JSONParser(bytes)
        guard let root = parser.document() else { return nil }
        self.bytes = bytes
        self.root = root
    }

    /// The last member with this key, as every reader of objects with repeated keys takes it.
    func member(_ key: String, of node: Node) -> Node? {
        guard case .object(let members) = node.kind else { return nil }
        return members.last { $0.key.isBytes(of: key) }?.value
    }

    /// The keys of all objects in a value, however deep.
    func keys(in node: Node) -> Set<[UInt8]> {
        switch node.kind {
        case .object(let members):
            members.reduce(into: []) { found, member in
                found.insert(Array(member.key.utf8))
                found.formUnion(keys(in: member.value))
            }
        case .array(let elements): elements.reduce(into: []) { $0.formUnion(keys(in: $1)) }
        case .string, .other: []
        }
    }

    func elements(of node: Node) -> [Node]? {
        guard case .array(let elements) = node.kind else { return nil }
        return elements
    }

    /// A string's text; nil where the node is no string.
    func text(_ node: Node?) -> String? {
        guard let node, case .string = node.kind else { return nil }
        return JSONParser.decode(bytes[(node.range.lowerBound + 1)..<(node.range.upperBound - 1)])
    }

    /// A string as JSON writes it.
    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

/// Reads a JSON text from its beginning to its end.
struct JSONParser {
    /// Deeper than any configuration; each level takes stack.
    private static let maximumDepth = 256

    private let bytes: [UInt8]
    private var index = 0

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    mutating func document() -> JSONText.Node? {
        skipSpace()
        guard let node = value(depth: 0) else { return nil }
        skipSpace()
        return index == bytes.count ? node : nil
    }

    private var next: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func take(_ byte: Character) -> Bool {
        guard let ascii = byte.asciiValue, next == ascii else { return false }
        index += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { index += 1 }
    }

    private mutating func value(depth: Int) -> JSONText.Node? {
        guard depth < Self.maximumDepth, let byte = next else { return nil }
        let start = index
        let kind: JSONText.Node.Kind?
        switch byte {
        case UInt8(ascii: "{"): kind = object(depth)
        case UInt8(ascii: "["): kind = array(depth)
        case UInt8(ascii: "\""): kind = string() == nil ? nil : .string
        default: kind = literal() || number() ? .other : nil
        }
        return kind.map { JSONText.Node(kind: $0, range: start..<index) }
    }

    private mutating func object(_ depth: Int) -> JSONText.Node.Kind? {
        index += 1
        var members: [JSONText.Member] = []
        skipSpace()
        if take("}") { return .object(members) }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\""), let place = string(), let key = Self.decode(bytes[place]) else {
                return nil
            }
            skipSpace()
            guard take(":") else { return nil }
            skipSpace()
            guard let value = value(depth: depth + 1) else { return nil }
            members.append(JSONText.Member(key: key, value: value))
            skipSpace()
            if take("}") { return .object(members) }
            guard take(",") else { return nil }
        }
    }

    private mutating func array(_ depth: Int) -> JSONText.Node.Kind? {
        index += 1
        var elements: [JSONText.Node] = []
        skipSpace()
        if take("]") { return .array(elements) }
        while true {
            skipSpace()
            guard let value = value(depth: depth + 1) else { return nil }
            elements.append(value)
            skipSpace()
            if take("]") { return .array(elements) }
            guard take(",") else { return nil }
        }
    }

    /// The place of a string's content, between its quotes.
    private mutating func string() -> Range<Int>? {
        index += 1
        let start = index
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                index += 1
                return Self.decode(bytes[start..<(index - 1)]) == nil ? nil : start..<(index - 1)
            case UInt8(ascii: "\\"): index += 2
            case 0..<0x20: return nil
            default: index += 1
            }
        }
        return nil
    }

    private mutating func literal() -> Bool {
        for word in ["true", "false", "null"] where bytes[index...].starts(with: word.utf8) {
            index += word.utf8.count
            return true
        }
        return false
    }

    private mutating func number() -> Bool {
        _ = take("-")
        guard take("0") || digits() else { return false }
        if take("."), !digits() { return false }
        if take("e") || take("E") {
            _ = take("+") || take("-")
            guard digits() else { return false }
        }
        return true
    }

    private mutating func digits() -> Bool {
        let start = index
        while let byte = next, (0x30...0x39).contains(byte) { index += 1 }
        return index > start
    }

    /// The text of a string's content; nil where an escape or its UTF-8 is wrong.
    static func decode(_ content: ArraySlice<UInt8>) -> String? {
        guard content.contains(UInt8(ascii: "\\")) else { return String(validating: content, as: UTF8.self) }
        var units: [UInt16] = []
        var plain: [UInt8] = []
        var result = ""
        func flushPlain() -> Bool {
            guard let text = String(validating: plain, as: UTF8.self) else { return false }
            result += text
            plain = []
            return true
        }
        func flushUnits() {
            // Half a pair becomes U+FFFD, as in the readers of other languages.
            result += String(decoding: units, as: UTF16.self)
            units = []
        }
        var index = content.startIndex
        while index < content.endIndex {
            guard content[index] == UInt8(ascii: "\\") else {
                flushUnits()
                plain.append(content[index])
                index += 1
                continue
            }
            guard flushPlain(), index + 1 < content.endIndex else { return nil }
            let letter = content[index + 1]
            if letter == UInt8(ascii: "u") {
                let digits = content[(index + 2)...].prefix(4)
                guard digits.count == 4, digits.allSatisfy({ Unicode.Scalar($0).properties.isASCIIHexDigit }),
                    let unit = UInt16(String(decoding: digits, as: UTF8.self), radix: 16)
                else { return nil }
                units.append(unit)
                index += 6
            } else {
                guard let character = escapes[letter] else { return nil }
                flushUnits()
                result.append(character)
                index += 2
            }
        }
        flushUnits()
        return flushPlain() ? result : nil
    }

    private static let escapes: [UInt8: Character] = [
        UInt8(ascii: "\""): "\"", UInt8(ascii: "\\"): "\\", UInt8(ascii: "/"): "/", UInt8(ascii: "b"): "\u{08}",
        UInt8(ascii: "f"): "\u{0C}", UInt8(ascii: "n"): "\n", UInt8(ascii: "r"): "\r", UInt8(ascii: "t"): "\t",
    ]
}
