import CLinux
import FileModel
import Glibc

/// What a process was started with. Read once, in a composition root, and passed on.
public enum ProcessEnvironment {
    public static func current() -> [String: String] {
        var result: [String: String] = [:]
        guard var entry = berth_environment() else { return result }
        while let text = entry.pointee {
            let parts = String(cString: text).parts(at: "=", atMost: 1)
            if parts.count == 2 { result[String(parts[0])] = String(parts[1]) }
            entry += 1
        }
        return result
    }

    /// The path of this process's program, with links resolved; nil where /proc is not mounted.
    public static func executablePath() -> String? {
        guard let real = realpath("/proc/self/exe", nil) else { return nil }
        defer { free(real) }
        return String(cString: real)
    }

    /// Writes one line to standard error, whatever the line holds.
    public static func complain(_ line: String) {
        let bytes = Array((PrintableText.escaped(line) + "\n").utf8)
        _ = write(2, bytes, bytes.count)
    }
}
