import FileModel
import Glibc
import LinuxSystem

/// Which annotations must carry the token of the volume that they name (decision 0070).
public enum AnnotationTokens: String, CaseIterable, Sendable {
    case always
    /// Those that may be the image's, and not the user's.
    case images
    case off
}

extension VolumePaths {
    /// What an annotation carries to show that it is the user's; there after the first `berth annotate`.
    public var annotationToken: String { "\(directory)/annotation-token" }
}

/// A word of 128 random bits that only the volume's user can know: with it in an annotation the user says that whoever wrote
/// the annotation, an image's maker too, may have the volume.
public struct AnnotationToken: Sendable {
    /// In hexadecimal digits.
    private static let length = 32

    private let path: String

    public init(_ volume: VolumePaths) {
        path = volume.annotationToken
    }

    /// The token, made where there is none yet.
    public func value() throws(SystemFailure) -> String {
        if let known = try known() { return known }
        // Of two makers one wins, and both give out the winner's.
        let mine = "\(path).\(UInt64.random(in: .min ... .max))"
        try AtomicFile.replace(mine, Array((Self.random() + "\n").utf8))
        defer { unlink(mine) }
        guard link(mine, path) == 0 || errno == EEXIST else {
            throw SystemFailure(path, "cannot be made", .current, status: .cannotCreate)
        }
        guard let made = try known() else { throw SystemFailure(path, "is gone again", status: .temporaryFailure) }
        return made
    }

    /// Another token; the one before counts no more.
    public func renewed() throws(SystemFailure) -> String {
        let token = Self.random()
        try AtomicFile.replace(path, Array((token + "\n").utf8))
        return token
    }

    /// Whether this is the volume's token. Takes the same time wherever the two differ.
    public func matches(_ given: String) throws(SystemFailure) -> Bool {
        guard let known = try known() else { return false }
        let (left, right) = (Array(known.utf8), Array(given.utf8))
        guard left.count == right.count else { return false }
        return zip(left, right).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }

    private func known() throws(SystemFailure) -> String? {
        guard let file = try open() else { return nil }
        var status = stat()
        guard fstat(file.rawValue, &status) == 0, status.st_uid == geteuid(), status.st_mode & 0o077 == 0 else {
            throw SystemFailure(
                path, "belongs to another user, or others may read it", fix: "make another: berth annotate --renew",
                status: .noPermission)
        }
        let bytes = try explaining(path, "cannot be read") { () throws(Errno) in try file.readAll(limit: 4096) }
        let word = bytes.prefix { $0 != 0x0A }
        guard word.count == Self.length, word.allSatisfy({ Unicode.Scalar($0).properties.isASCIIHexDigit }) else {
            throw SystemFailure(path, "holds no token", fix: "make another: berth annotate --renew", status: .dataError)
        }
        return String(decoding: word, as: UTF8.self)
    }

    private func open() throws(SystemFailure) -> FileDescriptor? {
        do {
            return try FileDescriptor.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
        } catch  where error == .noEntry {
            return nil
        } catch {
            throw SystemFailure(path, "cannot be read", error, status: .noInput)
        }
    }

    private static func random() -> String {
        (0..<length / 2).map { _ in
            let digits = String(UInt8.random(in: .min ... .max), radix: 16)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }.joined()
    }
}
