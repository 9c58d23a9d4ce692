import Glibc

/// The first two numbers of the running kernel's release, such as 6.18.
public struct KernelRelease: Comparable, Sendable {
    public let major: Int
    public let minor: Int

    public init(_ major: Int, _ minor: Int) {
        self.major = major
        self.minor = minor
    }

    /// Reads a release as `uname -r` prints it. Nil where it does not begin with two numbers.
    public init?(_ text: String) {
        let parts = text.split(separator: ".", maxSplits: 2).prefix(2).map { $0.prefix(while: \.isNumber) }
        guard parts.count == 2, let major = Int(parts[0]), let minor = Int(parts[1]) else { return nil }
        self.init(major, minor)
    }

    public static func current() -> KernelRelease? {
        var names = utsname()
        guard uname(&names) == 0 else { return nil }
        return withUnsafeBytes(of: &names.release) { raw in
            KernelRelease(String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self))
        }
    }

    public static func < (one: KernelRelease, other: KernelRelease) -> Bool {
        (one.major, one.minor) < (other.major, other.minor)
    }
}
