import FileModel

/// Why something could not be done, in words a person can act on: the thing, the cause, the fix.
public struct SystemFailure: Error, Equatable, Sendable {
    /// The thing it is about, such as a path or `volume "data"`.
    public var subject: String
    public var cause: String
    /// What to do about it; nil where the cause says it.
    public var fix: String?
    /// The error number of the system call behind it, where there was one.
    public var errno: Errno?
    public var status: ExitStatus

    public init(_ subject: String, _ cause: String, fix: String? = nil, errno: Errno? = nil, status: ExitStatus) {
        self.subject = subject
        self.cause = cause
        self.fix = fix
        self.errno = errno
        self.status = status
    }

    /// A system call that failed: `doing` says what was tried, such as "cannot be opened".
    public init(_ subject: String, _ doing: String, _ errno: Errno, fix: String? = nil, status: ExitStatus? = nil) {
        self.init(
            subject, "\(doing): \(errno)", fix: fix, errno: errno, status: status ?? Self.usualStatus(of: errno))
    }

    /// A message that was made elsewhere, `thing: cause; fix`, taken as it is.
    public init(passingOn message: String, errno: Errno? = nil, status: ExitStatus) {
        guard let colon = message.firstRange(of: ": ") else {
            self.init("berth", message, errno: errno, status: status)
            return
        }
        self.init(
            String(message[..<colon.lowerBound]), String(message[colon.upperBound...]), errno: errno, status: status)
    }

    /// `thing: cause; fix`, on one line and harmless whatever the parts hold: this is what is shown, logged and sent on.
    public var message: String {
        PrintableText.escaped(subject + ": " + cause + (fix.map { "; " + $0 } ?? ""))
    }

    private static func usualStatus(of errno: Errno) -> ExitStatus {
        switch errno {
        case .accessDenied, .notPermitted: .noPermission
        case .noEntry, .notDirectory: .noInput
        case .noSpace, .readOnly, .alreadyExists, .nameTooLong: .cannotCreate
        default: .inputOutputError
        }
    }
}

extension SystemFailure: CustomStringConvertible {
    public var description: String { message }
}

/// Runs `body` and puts words around the error number it throws.
public func explaining<Result: ~Copyable>(
    _ subject: String, _ doing: String, fix: String? = nil, status: ExitStatus? = nil,
    _ body: () throws(Errno) -> Result
) throws(SystemFailure) -> Result {
    do {
        return try body()
    } catch {
        throw SystemFailure(subject, doing, error, fix: fix, status: status)
    }
}
