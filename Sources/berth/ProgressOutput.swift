import FileModel
import Glibc
import LinuxSystem

/// Where progress is shown: a line that changes on a terminal, and lines for programs elsewhere, one a second.
struct ProgressOutput {
    private static let width = 30
    private static let lineInterval = Duration.seconds(1)

    let isTerminal: Bool
    private let descriptor: Int32
    private let start = ContinuousClock.now
    private var lastLine: ContinuousClock.Instant?

    init(_ descriptor: Int32 = 1) {
        self.descriptor = descriptor
        isTerminal = isatty(descriptor) == 1
    }

    /// Since it began, to the millisecond.
    var seconds: Double { (start.duration(to: .now) / .milliseconds(1)).rounded() / 1000 }

    /// Whether a line is due, which is taken as written then.
    mutating func isDue() -> Bool {
        if let lastLine, lastLine.duration(to: .now) < Self.lineInterval { return false }
        lastLine = .now
        return true
    }

    /// `[####....]` of a share of 1.
    static func bar(_ share: Double) -> String {
        let filled = Int(min(UInt64(width), UInt64(clamping: (share * Double(width)).rounded(.down))))
        return "[" + String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled) + "]"
    }

    /// Of so many bytes until now, `1.5 MiB/s`.
    func rate(_ bytes: UInt64) -> String { "\(Output.bytes(UInt64(clamping: Double(bytes) / max(seconds, 0.001))))/s" }

    /// Seconds for the rest, at the pace of what is done.
    func secondsLeft(after share: Double) -> Int {
        share > 0 ? Int(clamping: UInt64(clamping: (seconds / share - seconds).rounded(.down))) : 0
    }

    /// Puts a text in the terminal's line.
    func draw(_ text: String) { write("\r\(PrintableText.escaped(text))\u{1B}[K") }

    /// Leaves the terminal's line as it is.
    func endLine() { write("\n") }

    /// A value as a line of JSON.
    func line(_ value: some Encodable) {
        guard let text = try? Output.encoded(value) else { return }
        write(text + "\n")
    }

    /// At once: nobody waits for progress that is kept back.
    private func write(_ text: String) {
        Array(text.utf8).withUnsafeBytes { _ = Glibc.write(descriptor, $0.baseAddress, $0.count) }
    }
}
