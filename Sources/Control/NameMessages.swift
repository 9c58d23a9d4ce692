import FileModel

/// What a server asks the process that its keeper started for it about the machine (decision 0087): `berthfs names`, one
/// frame a question and one an answer, as of `ServerRequest`, over the socket pair that the keeper made.
public enum NameQuestion: Codable, Sendable, Equatable {
    case name(id: UInt32, kind: AccountKind)
    case number(name: String, kind: AccountKind)
    case rights(thread: Int32)
}

public enum NameReply: Codable, Sendable, Equatable {
    case name(String)
    case number(UInt32)
    case rights(userID: UInt32, groupID: UInt32, groups: [UInt32])
    /// There is no such user, group or thread.
    case absent
    /// The name service failed.
    case unknown
}
