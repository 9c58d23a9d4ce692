import LinuxSystem

/// How much of a file system stays free: bytes, or a share of all of it.
public enum FreeSpace: Equatable, Sendable {
    case bytes(UInt64)
    /// 0 to 99.
    case percent(UInt64)

    /// `20G`, `10%`, or `0` for all that can be had.
    public init(_ text: String) throws(SystemFailure) {
        if text == "0" {
            self = .bytes(0)
        } else if text.hasSuffix("%") {
            guard let number = UInt64(text.dropLast()), number < 100 else {
                throw VolumeOptions.bad("free-space", text, "is not a share of the disk, such as 10%")
            }
            self = .percent(number)
        } else {
            self = .bytes(try VolumeOptions.bytes(text, key: "free-space"))
        }
    }

    /// Of a file system of so many bytes.
    public func bytes(of total: UInt64) -> UInt64 {
        switch self {
        case .bytes(let count): count
        case .percent(let share): total / 100 * share
        }
    }
}

extension FreeSpace: CustomStringConvertible {
    public var description: String {
        switch self {
        case .bytes(let count): "\(count)"
        case .percent(let share): "\(share)%"
        }
    }
}

extension FreeSpace: Codable {
    public init(from decoder: any Decoder) throws {
        try self.init(try decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
