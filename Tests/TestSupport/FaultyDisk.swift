import FileModel
import Glibc
import LinuxSystem

/// A directory on a disk that fails on command (`Tests/Servers/faulty-filesystem.c`), mounted by the site's user.
public struct FaultyDisk: Sendable {
    public enum Kind: String, Sendable {
        case read, write, sync, names
    }

    /// Where its files are seen.
    public let path: String
    private let control: String

    public init(_ name: String, in site: UserSite) throws {
        let program = try Self.program.get()
        path = "\(site.directory)/m-\(name)"
        control = "\(site.directory)/control-\(name)"
        try site.shell.run(
            "mkdir -m 0700 '\(path)' '\(path).below' '\(control)'; '\(program)' '\(path).below' '\(control)' '\(path)'")
    }

    /// A shell's words: from now on these answer `errno`, where the path holds `word`.
    public func begin(_ kinds: [Kind], _ errno: Errno, _ word: String = "") -> String {
        kinds.map { "echo \(errno.rawValue) \(word) > '\(control)/\($0)'" }.joined(separator: "; ")
    }

    /// A shell's words: all is well again.
    public var end: String { "rm -f '\(control)'/*" }

    /// A shell's words: what was read before is read again from the disk.
    public var forget: String {
        "touch '\(control)/forget'; while [ -e '\(control)/forget' ]; do sleep 0.02; done"
    }

    private static let program = Result {
        try Programs.compile("faulty-filesystem.c", "$(pkg-config --cflags --libs fuse3)")
    }
}
