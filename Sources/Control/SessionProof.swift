import CLinux
import FileModel
import Glibc
import LinuxSystem

extension SessionMarker {
    /// Which session a path shows, asked of the file system itself. Answers ENODATA or EOPNOTSUPP where the path
    /// is no session's root, and ENOTCONN where its server is gone.
    public static func session(at path: String) throws(Errno) -> String { try value(attribute, path) }

    fileprivate static func value(_ name: String, _ path: String) throws(Errno) -> String {
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = lgetxattr(path, name, &buffer, buffer.count)
        guard count >= 0 else { throw .current }
        return String(decoding: buffer[..<count], as: UTF8.self)
    }

    /// A new session's name, and a new proof: nobody can guess either.
    public static func newSession() -> String {
        var generator = SystemRandomNumberGenerator()
        return (0..<2).map { _ in
            let digits = String(generator.next() as UInt64, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }
}

/// What a path shows if, and only if, it is the kernel's own mount of the session that our server has taken: the session's
/// name, and something that only the server knew until it said so over a connection whose other end is this user's.
public struct SessionProof: Codable, Equatable, Sendable {
    public var session: String
    /// Nil where the server is of a version that makes up none.
    public var secret: String?

    public init(session: String, secret: String?) {
        self.session = session
        self.secret = secret
    }

    /// Looks at a mount point from inside the namespace where it was made.
    public func check(_ path: String) throws(SystemFailure) {
        let found: String
        let shown: String?
        do {
            found = try SessionMarker.session(at: path)
            shown = try secret == nil ? nil : SessionMarker.value(SessionMarker.proofAttribute, path)
        } catch {
            throw SystemFailure(path, "does not show the volume after the mount", error, status: .unavailable)
        }
        guard found == session, shown == secret else {
            throw SystemFailure(path, "shows another session after the mount", status: .unavailable)
        }
    }
}
