import FileModel

extension MetadataStore {
    /// A number that no earlier opening of the volume had, durable before the first pack carries it.
    public func nextEpoch() throws(Errno) -> UInt32 {
        let epoch = try transaction { transaction throws(Errno) in
            let epoch = try Self.lastEpoch(transaction).addingClamped(1)
            // Further numbers are those of foreign objects.
            guard epoch < PackID.firstForeignEpoch else { throw .outOfRange }
            try transaction.setSetting(Self.epochKey, to: "\(epoch)")
            return epoch
        }
        try commit(prepare: { () throws(Errno) in })
        try synchronize()
        return epoch
    }

    /// Makes every epoch from now on larger by `distance` than any of before, in the metadata or among its packs, and than
    /// `known` from elsewhere: of packs in the store that could not be read.
    public func passOverEpochs(by distance: UInt32, known: UInt32 = 0) throws(Errno) {
        try transaction { transaction throws(Errno) in
            let used = try transaction.packs().map(\.id.epoch).filter { $0 < PackID.firstForeignEpoch }.max() ?? 0
            // Whoever can write to a store chooses the names of packs in it.
            let epoch = max(used, known, try Self.lastEpoch(transaction)).addingClamped(distance)
            guard epoch < PackID.firstForeignEpoch else { throw .outOfRange }
            try transaction.setSetting(Self.epochKey, to: "\(epoch)")
        }
    }

    /// Answers EIO for what is no epoch: begun anew, epochs would name packs that are there.
    private static func lastEpoch(_ transaction: any MetadataTransaction) throws(Errno) -> UInt32 {
        guard let text = try transaction.setting(epochKey) else { return 0 }
        guard let epoch = UInt32(text) else { throw .io }
        return epoch
    }

    private static var epochKey: String { "epoch" }
}
