import LinuxSystem
import TestSupport

/// README.md as a user follows it: the commands of each section.
struct Readme {
    /// Commands below each heading, in order, without their comments.
    private(set) var sections: [String: [String]] = [:]

    init() throws {
        let text = String(decoding: try AtomicFile.read(Programs.packaging("../README.md")) ?? [], as: UTF8.self)
        var heading = ""
        var isCode = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```") {
                isCode.toggle()
            } else if isCode {
                let command = Self.withoutComment(line)
                if !command.isEmpty { sections[heading, default: []].append(command) }
            } else if line.hasPrefix("## ") {
                heading = String(line.dropFirst(3))
            }
        }
    }

    private static func withoutComment(_ line: Substring) -> String {
        var end = line.endIndex
        if let comment = line.firstRange(of: "  # ") { end = comment.lowerBound }
        return String(line[..<end].reversed().drop { $0 == " " }.reversed())
    }
}

/// A section as one user runs it: what stands in for what a README cannot know, and what is true after it.
struct Story: Sendable, CustomStringConvertible {
    var section: String
    /// Run first: what the README takes for granted.
    var prologue = ""
    /// Words of the README and what stands for them here.
    var words: [(String, String)] = []
    /// Whole commands and what stands for them here.
    var lines: [String: String] = [:]
    /// What is run right before the first command that begins so.
    var before: [(command: String, script: String)] = []
    /// Checks, one shell command each.
    var epilogue: [String] = []

    var description: String { section }

    func script(_ commands: [String]) throws -> String {
        var lines = ["set -eu", "cd", prologue]
        var rest = before
        for command in commands {
            if let next = rest.firstIndex(where: { command.hasPrefix($0.command) }) {
                lines.append(rest.remove(at: next).script)
            }
            lines.append(words.reduce(self.lines[command] ?? command) { $0.replacing($1.0, with: $1.1) })
        }
        guard rest.isEmpty else { throw TestFailure("\(section) has no line as \(rest.map(\.command))") }
        return (lines + epilogue).joined(separator: "\n")
    }
}
