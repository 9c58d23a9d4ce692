/// What ends a failure of the metadata.
public enum FaultRemedy: Sendable {
    /// It is the disk's doing, and what is committed is sound: `reopen`, once the disk works again.
    case reopening
    /// `berth volume check --repair`.
    case repair
    /// What programs were shown is lost, and what is there is sound: only mounts that know nothing of it may go on.
    case newMount
}
