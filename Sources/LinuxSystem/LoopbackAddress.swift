import FileModel
import Glibc

/// `127.0.0.1:PORT` or `[::1]:PORT`: where only processes of this machine get to.
public struct LoopbackAddress: Equatable, Sendable, CustomStringConvertible {
    public let description: String
    private let port: UInt16
    /// In the order of the network; nil for IPv6's one.
    private let address: UInt32?

    private static let sixth = "[::1]"

    /// Whether a URL leads to another machine without encryption. A name is asked for as `localhost` alone: whoever answers for
    /// other names says where they are.
    public static func isOpen(endpoint: String) -> Bool {
        let scheme = "http://"
        return endpoint.hasPrefix(scheme) && !isHere(host: endpoint.dropFirst(scheme.utf8.count))
    }

    /// Whether `HOST` or `HOST:PORT` is this machine.
    public static func isHere(host: some StringProtocol) -> Bool {
        var name = String(host)
        if !name.hasSuffix("]"), let colon = name.lastIndex(of: ":") { name = String(name[..<colon]) }
        var found = in_addr()
        return name == "localhost" || name == sixth
            || (inet_pton(AF_INET, name, &found) == 1 && UInt32(bigEndian: found.s_addr) >> 24 == 127)
    }

    /// `subject` is where the words stand, for an error.
    public init(_ text: String, subject: String) throws(SystemFailure) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
            throw SystemFailure(
                subject, "\"\(text)\" is not ADDRESS:PORT", fix: "write 127.0.0.1:9567", status: .configuration)
        }
        let host = String(text[..<colon])
        var found = in_addr()
        let isFourth = inet_pton(AF_INET, host == "localhost" ? "127.0.0.1" : host, &found) == 1
        // 127.0.0.0/8
        guard host == Self.sixth || (isFourth && UInt32(bigEndian: found.s_addr) >> 24 == 127) else {
            throw SystemFailure(
                subject, "\"\(text)\" can be reached from other machines, and nothing protects what is told there",
                fix: "write 127.0.0.1:\(port) or [::1]:\(port), and let an agent of this machine pass it on",
                status: .configuration)
        }
        description = text
        self.port = port
        address = isFourth ? found.s_addr : nil
    }

    /// A socket that is bound there. Nobody is accepted yet.
    public func bind() throws(SystemFailure) -> FileDescriptor {
        let number = socket(address == nil ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        guard number >= 0 else { throw SystemFailure(description, "no socket can be made", .current) }
        let descriptor = FileDescriptor(owning: number)
        // A server that was started again does not wait for what the old one left.
        var yes: Int32 = 1
        setsockopt(number, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        guard bind(number) == 0 else {
            throw SystemFailure(
                description, "cannot be listened on", .current,
                fix: errno == EADDRINUSE ? "choose another port, or end what listens there" : nil, status: .unavailable)
        }
        return descriptor
    }

    private func bind(_ number: Int32) -> Int32 {
        if let address {
            var place = sockaddr_in()
            place.sin_family = sa_family_t(AF_INET)
            place.sin_port = port.bigEndian
            place.sin_addr.s_addr = address
            return withUnsafePointer(to: &place) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.bind(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        }
        var place = sockaddr_in6()
        place.sin6_family = sa_family_t(AF_INET6)
        place.sin6_port = port.bigEndian
        place.sin6_addr = in6addr_loopback
        return withUnsafePointer(to: &place) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.bind(number, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
            }
        }
    }
}
