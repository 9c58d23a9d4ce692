import FileModel

/// What a staged pack that no server has open holds, as far as it reached the disk.
public struct StagedContents: Sendable {
    public let id: PackID
    public let rawLength: Int
    public let runs: [PackRun]

    /// The packs in a staging directory.
    public static func packs(in directory: String) throws(Errno) -> [PackID] {
        try listDirectory(directory).compactMap { $0.hasSuffix(".raw") ? PackID($0.dropLast(4)) : nil }
    }

    public init(_ id: PackID, in directory: String) throws(Errno) {
        let pack = try StagedPack(id, in: directory, isNew: false)
        self.id = id
        rawLength = pack.rawLength
        // A run that was written down before its bytes were.
        let length = UInt64(pack.rawLength)
        runs = pack.allRuns.filter { UInt64($0.rawOffset) + UInt64($0.length) <= length }
    }
}
