import LinuxSystem

/// Asks a server to make files whose data stays where it is.
public struct ImportOrder: Codable, Sendable, Equatable {
    /// `s3://bucket/key` or `file:///path`.
    public var source: String
    /// How the source is asked, in JSON; empty where there is nothing to say.
    public var options: String
    /// Where the files go, from the volume's root, without slashes at the ends.
    public var place: [UInt8]
    /// The source is a tar archive, whose members are the files.
    public var isArchive: Bool

    public init(source: String, options: String, place: [UInt8], isArchive: Bool) {
        self.source = source
        self.options = options
        self.place = place
        self.isArchive = isArchive
    }
}

/// Asks a server to write files out.
public struct ExportOrder: Codable, Sendable, Equatable {
    /// What is written, from the volume's root, without slashes at the ends.
    public var place: [UInt8]
    /// As a tar archive, to the descriptor that came along; else into the directory that it is.
    public var isArchive: Bool
    /// The caller's umask; nil from a client of an older version.
    public var umask: UInt32?
    /// Modes as the volume has them, with the set-id bits; nil: without those, and less the umask.
    public var keepsModes: Bool?

    public init(place: [UInt8], isArchive: Bool, umask: UInt32? = nil, keepsModes: Bool? = nil) {
        self.place = place
        self.isArchive = isArchive
        self.umask = umask
        self.keepsModes = keepsModes
    }
}

/// How far an import or export is.
public struct TransferProgress: Codable, Sendable, Equatable {
    /// Names of what was left out that are kept.
    public static let nameLimit = 10

    public var job: Int
    /// Entries looked at.
    public var found = 0
    public var made = 0
    /// There before, from an object that has changed since.
    public var renewed = 0
    /// There already.
    public var same = 0
    public var leftOut = 0
    /// The first that were left out, and why.
    public var reasons: [String] = []
    /// Bytes of data that the entries made have.
    public var bytes: UInt64 = 0
    /// What the user should know.
    public var notes: [String] = []
    public var isOver = false
    /// Why it ended before its end.
    public var failure: String?
    public var status = ExitStatus.success

    public init(job: Int) {
        self.job = job
    }

    public mutating func leaveOut(_ name: String, _ reason: String) {
        leftOut += 1
        if reasons.count < Self.nameLimit { reasons.append("\(name): \(reason)") }
    }
}
