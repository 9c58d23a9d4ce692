import LinuxSystem
import TestSupport

/// A file of the project, read as text.
struct SourceFile {
    let path: String
    let lines: [Substring]

    /// The directory below `Sources`.
    var module: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }
    var isHeader: Bool { path.hasSuffix(".h") || path.hasSuffix(".modulemap") }

    var imports: [String] {
        lines.compactMap { line in
            let words = line.split(separator: " ")
            guard let index = words.firstIndex(of: "import"), index <= 1, index + 1 < words.count, !line.hasPrefix(" ")
            else { return nil }
            return String(words[words.count - 1].split(separator: ".").first ?? "")
        }
    }

    private static let checkout = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")

    /// Every Swift file below a directory of the checkout.
    static func all(below directory: String) throws -> [SourceFile] {
        let text = try Shell.root.run("cd '\(checkout)' && find '\(directory)' -name '*.swift' | sort")
        let paths = text.split(separator: "\n").map(String.init)
        guard !paths.isEmpty else { throw TestFailure("no sources below \(checkout)/\(directory)") }
        return try paths.map { path in
            let bytes = try AtomicFile.read("\(checkout)/\(path)") ?? []
            return SourceFile(
                path: path,
                lines: String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false))
        }
    }
}
