import FileModel
import Testing

@Suite("texts from elsewhere")
struct TextTests {
    @Test(
        "what a terminal or an eye would obey is shown as an escape, all else as it is",
        arguments: [
            ("plain, \u{E9}\u{1F600} \\", "plain, \u{E9}\u{1F600} \\"), ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("\u{1B}[31m\u{7}\0", "\\x1b[31m\\x07\\x00"),
            ("\u{7F}\u{80}\u{9B}31m\u{9F}\u{A0}", "\\x7f\\u0080\\u009b31m\\u009f\u{A0}"),
            ("a\u{202E}b\u{2066}c\u{2069}\u{200F}", "a\\u202eb\\u2066c\\u2069\\u200f"),
            ("a\u{2028}b\u{85}", "a\\u2028b\\u0085"), ("\r\n", "\\r\\n"),
        ])
    func escaped(text: String, shown: String) {
        #expect(PrintableText.escaped(text) == shown)
        #expect(PrintableText.escaped(Array(text.utf8)) == shown)
        #expect(PrintableText.escaped(shown) == shown)
    }

    @Test("bytes that are no UTF-8 are shown one by one")
    func bytes() {
        #expect(
            PrintableText.escaped([0x61, 0xFF, 0xC3, 0xA9, 0xC3, 0x0A, 0xE2, 0x82]) == "a\\xff\u{E9}\\xc3\\n\\xe2\\x82")
        #expect(PrintableText.escaped([0xED, 0xA0, 0x80]) == "\\xed\\xa0\\x80")
        #expect(PrintableText.escaped([0x9B, 0x41]) == "\\x9bA")
    }

    @Test("a pack has one name, and no other text is one")
    func packNames() throws {
        let id = try #require(PackID("0000000a-000000ff"))
        #expect(id.description == "0000000a-000000ff")
        for text in [
            "+000000a-000000ff", "0000000A-000000ff", "0000000a-\u{0301}00000ff", "0000000a-000000ff\u{0301}", "a-ff",
            "",
        ] {
            #expect(PackID(text) == nil, "\(text)")
        }
    }

    @Test("JSON keeps its lines, and says the rest by its own escapes")
    func json() {
        #expect(
            PrintableText.escapedJSON("{\n \"a\": \"\u{9B}\u{202E}\u{7F}\"\n}")
                == "{\n \"a\": \"\\u009b\\u202e\\u007f\"\n}")
    }

    @Test("a letter that combines with a separator does not hide it")
    func parts() {
        #expect("a:\u{0301}b:c".parts(at: ":").map { Array($0.utf8).count } == [1, 3, 1])
        #expect("a:b:c".parts(at: ":", atMost: 1) == ["a", "b:c"])
        #expect("".parts(at: ":") == [""] && "::".words(at: ":").isEmpty)
        #expect("/\u{0301}x".startsWithBytes(of: "/") && !"/\u{0301}x".hasPrefix("/"))
        #expect("x\u{0600}/".endsWithBytes(of: "/") && "a=\u{0301}".hasByte("="))
        #expect(!"\u{E9}".isBytes(of: "e\u{301}") && "\u{E9}" == "e\u{301}")
        #expect("ab\r\n".droppingBytes(last: 1) == "ab\r")
    }
}
