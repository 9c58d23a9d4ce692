import Glibc

/// A POSIX error number: the answer of a file system verb that was refused or failed.
public struct Errno: Error, Equatable, Hashable, Sendable, RawRepresentable {
    public let rawValue: Int32

    @inlinable
    public init(rawValue: Int32) {
        self.rawValue = rawValue
    }

    @inlinable
    public init(_ rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// The calling thread's `errno`, as the last system call left it.
    public static var current: Errno { Errno(errno) }
}

extension Errno {
    public static let accessDenied = Errno(EACCES)
    public static let alreadyExists = Errno(EEXIST)
    public static let badDescriptor = Errno(EBADF)
    public static let busy = Errno(EBUSY)
    public static let crossDevice = Errno(EXDEV)
    public static let directoryNotEmpty = Errno(ENOTEMPTY)
    public static let fileTooLarge = Errno(EFBIG)
    public static let interrupted = Errno(EINTR)
    public static let invalidArgument = Errno(EINVAL)
    public static let io = Errno(EIO)
    public static let isDirectory = Errno(EISDIR)
    public static let nameTooLong = Errno(ENAMETOOLONG)
    public static let noAttribute = Errno(ENODATA)
    public static let noEntry = Errno(ENOENT)
    public static let noSpace = Errno(ENOSPC)
    public static let noSuchAddress = Errno(ENXIO)
    public static let notDirectory = Errno(ENOTDIR)
    public static let notImplemented = Errno(ENOSYS)
    public static let notPermitted = Errno(EPERM)
    public static let notSupported = Errno(EOPNOTSUPP)
    public static let overQuota = Errno(EDQUOT)
    public static let outOfRange = Errno(ERANGE)
    public static let readOnly = Errno(EROFS)
    public static let stale = Errno(ESTALE)
    public static let tooBig = Errno(E2BIG)
    public static let tooManyLinks = Errno(EMLINK)
    public static let valueTooLarge = Errno(EOVERFLOW)
}

extension Errno: CustomStringConvertible {
    public var description: String { String(cString: strerror(rawValue)) }
}
