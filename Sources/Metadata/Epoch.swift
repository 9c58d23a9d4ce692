import FileModel

extension MetadataStore {
    /// A number that no earlier opening of the volume had, durable before the first pack carries it.
    public func nextEpoch() throws(Errno) -> UInt32 {
        let epoch = try transaction { transaction throws(Errno) in
            let epoch = (try transaction.setting(Self.epochKey).flatMap { UInt32($0) } ?? 0) + 1
            // Further numbers are those of foreign objects.
            guard epoch < PackID.firstForeignEpoch else { throw .outOfRange }
            try transaction.setSetting(Self.epochKey, to: "\(epoch)")
            return epoch
        }
        try commit(prepare: { () throws(Errno) in })
        try synchronize()
        return epoch
    }

    private static var epochKey: String { "epoch" }
}
