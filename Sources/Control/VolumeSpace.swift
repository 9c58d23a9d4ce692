/// What a volume takes, by where it is: for a quota of bytes and of inodes.
public struct VolumeSpace: Codable, Sendable, Equatable {
    public struct Amount: Codable, Sendable, Equatable {
        public var bytes: UInt64
        /// Of the volume for what is live and in the trash; else of the file system it lies on, or objects of a bucket.
        public var files: UInt64

        public init(bytes: UInt64, files: UInt64) {
            self.bytes = bytes
            self.files = files
        }
    }

    /// What programs see, as long as it is.
    public var live: Amount
    public var trash: Amount
    /// Packs in the volume's own store, as they are there: compressed, and with what nothing names any more.
    public var stored: Amount

    public init(live: Amount, trash: Amount, stored: Amount) {
        self.live = live
        self.trash = trash
        self.stored = stored
    }
}
