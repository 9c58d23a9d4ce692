import FileModel
import LinuxSystem

/// What paths are looked at for, by bytes: a letter that combines with the slash before it makes another Character of it.
public enum PathBytes {
    public static let slash = UInt8(ascii: "/")

    /// "." or "..".
    public static func isDots(_ part: some Collection<UInt8>) -> Bool {
        (1...2).contains(part.count) && part.allSatisfy { $0 == UInt8(ascii: ".") }
    }

    /// Whether no control character is in the path, and after its first byte no empty part, no "." and no "..".
    public static func isClean(_ path: some StringProtocol) -> Bool {
        path.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
            && path.utf8.dropFirst().split(separator: slash, omittingEmptySubsequences: false)
                .allSatisfy { !$0.isEmpty && !isDots($0) }
    }
}

/// Where a volume belongs in a container, and in whatever `berth run` starts: absolute, clean, and of characters that
/// every runtime's command line can carry.
public struct ContainerPath: Hashable, Sendable, CustomStringConvertible {
    /// Without a slash at the end.
    public let description: String

    /// Longest path that the kernel takes, its NUL included.
    private static let maximumBytes = 4096
    /// The kernel's own file systems: nothing starts without them.
    private static let reserved = ["/proc", "/sys", "/dev"]

    /// Checks a path somebody typed. Slashes at the end are taken off.
    public init(_ text: String) throws(SystemFailure) {
        var bytes = Substring(text).utf8
        while bytes.count > 1, bytes.last == PathBytes.slash { bytes = bytes.dropLast() }
        let path = Substring(bytes)
        if let cause = Self.objection(path) {
            throw SystemFailure(
                "path \"\(PrintableText.escaped(String(text.unicodeScalars.prefix(200))))\"", cause,
                fix: "use an absolute path such as /data", status: .usage)
        }
        description = String(path)
    }

    private static func objection(_ path: Substring) -> String? {
        guard path.utf8.first == PathBytes.slash else { return "is not absolute" }
        guard path.utf8.count > 1 else { return "is the root directory" }
        guard path.utf8.count < maximumBytes else { return "has \(path.utf8.count) bytes; at most 4095 are possible" }
        let parts = path.utf8.dropFirst().split(separator: PathBytes.slash, omittingEmptySubsequences: false)
        guard !parts.contains(where: { $0.elementsEqual("..".utf8) }) else { return "holds \"..\"" }
        guard parts.allSatisfy({ !$0.isEmpty && !PathBytes.isDots($0) }) else { return "holds an empty part or \".\"" }
        guard parts.allSatisfy({ $0.count <= 255 }) else { return "holds a part of more than 255 bytes" }
        guard path.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { return "holds a control character" }
        // What separates parts of a bind on the command lines of podman, Apptainer and Charliecloud.
        for separator in [":", ",", "\\"] where path.utf8.contains(where: { $0 == separator.utf8.first }) {
            return "holds \"\(separator)\", which no runtime's bind can carry"
        }
        for name in reserved where path.utf8.elementsEqual(name.utf8) || path.utf8.starts(with: "\(name)/".utf8) {
            return "lies in \(name), which is the kernel's"
        }
        return nil
    }

    /// The same bytes: two paths that Unicode takes for one are two to the kernel.
    public static func == (left: ContainerPath, right: ContainerPath) -> Bool {
        left.description.isBytes(of: right.description)
    }

    public func hash(into hasher: inout Hasher) {
        for byte in description.utf8 { hasher.combine(byte) }
    }

    /// Whether `other` lies in the tree below this path.
    public func contains(_ other: ContainerPath) -> Bool {
        other.description.utf8.starts(with: "\(description)/".utf8)
    }
}

/// A volume as command lines name it: `NAME`, `NAME:/PATH`, `NAME:ro`, `NAME:/PATH:ro`. The name is checked by
/// whoever looks the volume up.
public struct VolumeRequest: Equatable, Sendable {
    public var name: String
    /// Nil: where the path map says.
    public var path: ContainerPath?
    public var readOnly: Bool

    public init(_ text: String) throws(SystemFailure) {
        let parts = text.parts(at: ":").map(String.init)
        name = parts[0]
        path = nil
        readOnly = false
        var rest = parts.dropFirst()
        if let mode = rest.last, mode == "ro" || mode == "rw" {
            readOnly = mode == "ro"
            rest = rest.dropLast()
        }
        guard rest.count <= 1 else {
            throw SystemFailure("\"\(text)\"", "is not NAME[:/PATH][:ro]", status: .usage)
        }
        if let given = rest.first { path = try ContainerPath(given) }
    }
}
