import TestSupport
import Testing

/// The limits of the project's style.
@Suite("tidiness")
struct TidinessTests {
    private static let maximumFileLines = 600
    private static let maximumFunctionLines = 70

    private func files() throws -> [SourceFile] {
        try ["Sources", "Tests", "Benchmarks"].flatMap { try SourceFile.all(below: $0) }
    }

    @Test("no file is longer than 600 lines")
    func lengths() throws {
        for file in try files() { #expect(file.lines.count <= Self.maximumFileLines, "\(file.path)") }
    }

    @Test("no function is longer than 70 lines")
    func functions() throws {
        for file in try files() {
            for (number, line) in file.lines.enumerated() where Self.startsFunction(line) {
                let indentation = line.prefix { $0 == " " }
                guard let end = file.lines[number...].firstIndex(where: { $0 == indentation + "}" }) else { continue }
                #expect(end - number <= Self.maximumFunctionLines, "\(file.path):\(number + 1)")
            }
        }
    }

    private static func startsFunction(_ line: Substring) -> Bool {
        let words = line.split(separator: " ")
        return words.contains { $0 == "func" || $0.hasPrefix("init(") || $0.hasPrefix("init?(") }
    }

    @Test("no try!, no force unwrap of a cast, and every @unchecked Sendable says why it is safe")
    func safety() throws {
        for file in try files() where !file.path.hasSuffix("TidinessTests.swift") {
            for (number, line) in file.lines.enumerated() {
                #expect(!line.contains("try!") && !line.contains("as!"), "\(file.path):\(number + 1)")
                if line.contains("@unchecked Sendable") {
                    let before = file.lines[max(0, number - 4)..<number].joined(separator: "\n")
                    #expect(before.contains("// SAFETY:"), "\(file.path):\(number + 1)")
                }
            }
        }
    }

    /// `/` and U+0301 are one Character, and two names for the kernel.
    @Test("no path is taken apart by Characters")
    func pathsByBytes() throws {
        let forbidden = ["lastIndex(of: \"/\")", "firstIndex(of: \"/\")", "split(separator: \"/\"", "contains(\"/\")"]
        for file in try SourceFile.all(below: "Sources") {
            for (number, line) in file.lines.enumerated() {
                #expect(!forbidden.contains { line.contains($0) }, "\(file.path):\(number + 1): see ByteText")
            }
        }
    }

    /// What stands before each `": "\(` of a line.
    private static func parts(_ line: Substring) -> [Substring] {
        line.ranges(of: "\": \"\\(").map { line[..<$0.lowerBound] }
    }

    @Test("logs have no keys but those of LogField")
    func logKeys() throws {
        let sources = try SourceFile.all(below: "Sources")
        let listing = try #require(sources.first { $0.path.hasSuffix("Volumes/LogRecord.swift") }).lines
        let cases = listing.filter { $0.hasPrefix("    case ") }.map { String($0.dropFirst("    case ".count)) }
        #expect(cases.contains("volume") && cases.contains("job"))
        var found: Set<String> = []
        for file in sources {
            for line in file.lines where line.contains("\": \"\\(") && !line.contains("Err") {
                for part in Self.parts(line) {
                    let key = String(part.reversed().prefix { $0 != "\"" }.reversed())
                    // Keys of logs are words; the rest are variables of environments.
                    guard key.first?.isLowercase == true else { continue }
                    found.insert(key)
                    #expect(cases.contains(key), "\(file.path): \(key)")
                }
            }
        }
        #expect(found.contains("session") && found.contains("cause"))
    }

    @Test("no type is named after its module")
    func names() throws {
        let modules = Set(try SourceFile.all(below: "Sources").map(\.module))
        for file in try SourceFile.all(below: "Sources") {
            for line in file.lines {
                let words = line.split(separator: " ")
                guard
                    let index = words.firstIndex(where: {
                        ["struct", "class", "enum", "protocol", "actor"].contains($0)
                    }),
                    index + 1 < words.count, !line.contains("//")
                else { continue }
                let name = words[index + 1].prefix { $0.isLetter || $0.isNumber }
                #expect(!modules.contains(String(name)), "\(file.path): \(line)")
            }
        }
    }
}
