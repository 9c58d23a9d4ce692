/// Texts from elsewhere (names of files, of containers and of images, what servers answer) as they may be shown: on one
/// line, and without anything that a terminal, a log's reader or an eye would take for something else.
///
/// Escaped are control characters of ASCII (`\n`, `\t`, `\r`, else `\xHH`), DEL, those of Latin-1 (U+0080 to U+009F), line
/// and paragraph separators, and what changes the direction of text (`\uHHHH`); bytes that are no UTF-8 are `\xHH`. A
/// backslash stays as it is: the text is for people, and JSON is for programs. What was escaped stays so if it is again.
public enum PrintableText {
    public static func escaped(_ text: String) -> String {
        // Nearly all texts are plain.
        guard text.unicodeScalars.contains(where: isDangerous) else { return text }
        var result = ""
        for scalar in text.unicodeScalars { append(scalar, to: &result) }
        return result
    }

    /// As above, of bytes that may be no UTF-8.
    public static func escaped(_ bytes: [UInt8]) -> String {
        if let text = String(validating: bytes, as: UTF8.self) { return escaped(text) }
        var result = ""
        var index = 0
        while index < bytes.count {
            // The longest sequence is of four bytes.
            let scalar = (1...4).lazy.prefix { index + $0 <= bytes.count }.compactMap { length in
                String(validating: bytes[index..<(index + length)], as: UTF8.self)?.unicodeScalars.first
            }.first
            if let scalar {
                append(scalar, to: &result)
                index += UTF8.width(scalar)
            } else {
                result += "\\x" + hex(UInt32(bytes[index]), digits: 2)
                index += 1
            }
        }
        return result
    }

    /// A JSON text with such characters as JSON's own escapes. They can only be in its strings; the newlines and spaces
    /// between its parts stay.
    public static func escapedJSON(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: { isDangerous($0) && $0 != "\n" }) else { return text }
        var result = ""
        for scalar in text.unicodeScalars {
            if isDangerous(scalar), scalar != "\n" {
                result += "\\u" + hex(scalar.value, digits: 4)
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    /// All of these have at most four hexadecimal digits.
    private static func isDangerous(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F...0x9F: true
        // Arabic letter mark; left-to-right and right-to-left marks; line and paragraph separators; embeddings, overrides
        // and isolates.
        case 0x061C, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069: true
        default: false
        }
    }

    private static func append(_ scalar: Unicode.Scalar, to result: inout String) {
        guard isDangerous(scalar) else { return result.unicodeScalars.append(scalar) }
        switch scalar {
        case "\n": result += "\\n"
        case "\t": result += "\\t"
        case "\r": result += "\\r"
        case _ where scalar.value < 0x80: result += "\\x" + hex(scalar.value, digits: 2)
        default: result += "\\u" + hex(scalar.value, digits: 4)
        }
    }

    private static func hex(_ value: UInt32, digits: Int) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
    }
}
