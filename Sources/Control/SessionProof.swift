import CLinux
import FileModel
import Glibc

extension SessionMarker {
    /// Which session a path shows, asked of the file system itself. Answers ENODATA or EOPNOTSUPP where the path
    /// is no session's root, and ENOTCONN where its server is gone.
    public static func session(at path: String) throws(Errno) -> String {
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = lgetxattr(path, attribute, &buffer, buffer.count)
        guard count >= 0 else { throw .current }
        return String(decoding: buffer[..<count], as: UTF8.self)
    }

    /// A new session's name.
    public static func newSession() -> String {
        var generator = SystemRandomNumberGenerator()
        return (0..<2).map { _ in
            let digits = String(generator.next() as UInt64, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }
}
