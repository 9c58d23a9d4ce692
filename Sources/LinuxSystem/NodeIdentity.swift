import FileModel
import Glibc

/// This machine since its last start: what lies in a home directory that many machines see is told apart by it.
public struct NodeIdentity: Equatable, Sendable {
    /// For people: names may be the same on two machines.
    public var host: String
    /// `boot_id` of random(4): no two starts of any machines have the same. Empty where it cannot be read.
    public var boot: String

    /// The machine, whatever it is called and however often it was started (machine-id(5)); empty where it has none.
    public var machine = ""

    public init(host: String, boot: String) {
        self.host = host
        self.boot = boot
    }

    /// Two notes are of one node if host and boot are.
    public static func == (left: NodeIdentity, right: NodeIdentity) -> Bool {
        left.host == right.host && left.boot == right.boot
    }

    /// As it was when this process first asked: a server that has given up the rest of the file system cannot look again.
    public static func current() -> NodeIdentity { own }

    private static let own = read()

    private static func read() -> NodeIdentity {
        var name = [CChar](repeating: 0, count: 256)
        let hasName = gethostname(&name, name.count - 1) == 0
        let bytes = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        let boot = (try? AtomicFile.read("/proc/sys/kernel/random/boot_id")) ?? nil
        var node = NodeIdentity(
            host: hasName ? String(decoding: bytes, as: UTF8.self) : "",
            boot: String(decoding: (boot ?? []).prefix { $0 > 0x20 }, as: UTF8.self))
        let machine = (try? AtomicFile.read("/etc/machine-id")) ?? nil
        node.machine = String(decoding: (machine ?? []).prefix { $0 > 0x20 }, as: UTF8.self)
        return node
    }

    /// A directory's name for what belongs to this node until it is started again: short, because paths of sockets are.
    public var directoryName: String {
        "\(hostPart)-\(String(decoding: boot.utf8.filter(Self.isHexadecimal).prefix(12), as: UTF8.self))"
    }

    /// What a directory of this node says of whose it is: names that fit into a path are those of several hosts.
    public var mark: String { "\(host)\n\(machine)\n" }

    /// Of the name up to its first dot what fits, for people.
    private var hostPart: String {
        let kept = host.utf8.prefix { $0 != UInt8(ascii: ".") }
            .filter { Self.isLetterOrDigit($0) || $0 == UInt8(ascii: "-") }.prefix(16)
        return kept.isEmpty ? "node" : String(decoding: kept, as: UTF8.self)
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte)
    }
}
