/// What a read of a pack in the store tells of the reads to come.
public enum ReadSign: Equatable, Sendable {
    /// What was wanted was here, as before.
    case nothing
    /// The first read of the pack by this process, and what it wanted was here.
    case entered
    /// It had to be waited for. `isInUse`: not for the first time.
    case missed(isInUse: Bool)
}
