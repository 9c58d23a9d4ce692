/// Something that keeps a volume from all that it should do, as long as it lasts.
public struct VolumeFault: Codable, Equatable, Sendable {
    /// Where it is.
    public enum Part: String, Codable, CaseIterable, Sendable {
        case metadata, staging, store, cache
        /// What `size` and `inodes` allow is used.
        case limits
    }

    public var part: Part
    /// The cause, what it means and how it ends, in one line.
    public var text: String

    public init(_ part: Part, _ text: String) {
        self.part = part
        self.text = text
    }
}
