import LinuxSystem

/// The name of a volume: it becomes a directory's and a socket's name, so it is short and harmless.
public struct VolumeName: Hashable, Sendable, CustomStringConvertible {
    /// Podman's own limit is higher; a socket's name has `UnixSocket.maximumNameLength` bytes.
    public static let maximumLength = 64

    public let description: String

    /// Checks a name somebody typed.
    public init(_ text: String) throws(SystemFailure) {
        guard Self.isValid(text) else {
            throw SystemFailure(
                "volume name \"\(text.prefix(80))\"", "is not allowed",
                fix:
                    "use 1 to \(Self.maximumLength) of a-z, A-Z, 0-9, '_', '.' and '-', beginning with a letter or digit",
                status: .usage)
        }
        description = text
    }

    private static func isValid(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard let first = bytes.first, bytes.count <= maximumLength, isAlphanumeric(first) else { return false }
        return bytes.allSatisfy {
            isAlphanumeric($0) || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
        }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }
}
