import FileModel
import Glibc
import LinuxSystem
import ObjectStorage

/// What the owner of the metadata does for packs.
public protocol PackLedger: AnyObject, Sendable {
    /// The pack's record, or nil when no extent ever named it.
    func packRecord(_ id: PackID) throws(Errno) -> PackRecord?
    /// The pack is an object of the store now.
    func packStored(_ id: PackID, rawLength: UInt64, storedLength: UInt64) throws(Errno)
    /// No extent names the pack, and its record goes. Returns once that is durable: only then may its bytes go, or
    /// a crash would bring back a file without them.
    func packRemoved(_ id: PackID) throws(Errno)
}

extension PackStore {
    /// A shared pack that was left smaller than this is filled up by the next process; a larger one is stored.
    private static let resumableBytes = PackFormat.maximumRawBytes / 2

    /// Takes up staged packs of earlier processes and starts to store full ones. Call once, before any write.
    /// `report` takes what the volume's user must know of the store.
    public func start(
        _ ledger: any PackLedger, report: @escaping @Sendable (String) -> Void
    ) throws(PackRecoveryFailure) {
        // One thread keeps up with a local disk; a network is faster than one core compresses.
        let isFar = store.parallelPuts > 1
        let sealer = Sealer(mayRest: !isFar)
        let left = try recover(ledger)
        monitor.lock()
        self.sealer = sealer
        for pack in left {
            staged[pack.id] = pack
            let mayGrow = pack.rawLength < Self.resumableBytes && !isMarkedSealed(pack.id)
            if shared == nil && mayGrow { shared = pack } else { sealer.enqueue(pack) }
        }
        sealing = SealerThreads(
            sealer, compressors: isFar ? 2 : 1, senders: store.parallelPuts,
            SealerThreads.Work(
                compress: { [unowned self] pack in self.compress(pack, ledger) },
                send: { [unowned self] pack, object in self.send(pack, object, ledger) }, report: report))
        monitor.unlock()
    }

    /// Opens what staging holds. Damage that costs data is an error, not a warning.
    private func recover(_ ledger: any PackLedger) throws(PackRecoveryFailure) -> [StagedPack] {
        let directory = configuration.stagingDirectory
        var packs: [StagedPack] = []
        do {
            for name in try listDirectory(directory).sorted() where name.hasSuffix(".raw") {
                guard let id = PackID(name.dropLast(4)) else { continue }
                guard let record = try ledger.packRecord(id), record.state == .staged else {
                    // No extent names it, or the store has it already.
                    unlink(StagedPack.rawPath(directory, id))
                    unlink(StagedPack.runsPath(directory, id))
                    continue
                }
                // It was the cache's already, with the object's tables behind it, when the power failed, and its new name
                // was lost: the object is in the store, where `findStored` finds it.
                guard Self.size(StagedPack.rawPath(directory, id)) <= PackFormat.maximumRawBytes else {
                    unlink(StagedPack.rawPath(directory, id))
                    continue
                }
                packs.append(try StagedPack(id, in: directory, isNew: false))
            }
            removeLoneRuns(beside: Set(packs.map(\.id)))
        } catch {
            throw .failed("staging \(directory): \(error); make it readable")
        }
        return packs
    }

    private static func size(_ path: String) -> Int {
        var status = Glibc.stat()
        return lstat(path, &status) == 0 ? Int(status.st_size) : 0
    }

    /// A crash may leave the list of runs, or the mark, of a pack that is gone.
    private func removeLoneRuns(beside packs: Set<PackID>) {
        let directory = configuration.stagingDirectory
        // A mark goes only once it is durable that its pack is gone.
        guard (try? AtomicFile.synchronizeDirectory(directory)) != nil else { return }
        for name in (try? listDirectory(directory)) ?? [] where name.hasSuffix(".runs") || name.hasSuffix(".sealed") {
            guard let dot = name.lastIndex(of: "."), let id = PackID(name[..<dot]), !packs.contains(id) else {
                continue
            }
            unlink("\(directory)/\(name)")
        }
    }

    /// A record says staged and no raw file is there: the object is in the store if the process died between
    /// the put and the commit. Answers the lengths for the record; throws when the data is nowhere.
    public func findStored(_ id: PackID) throws(PackReadFailure) -> (rawLength: UInt64, storedLength: UInt64) {
        let found = try PackIndex.stored(id, in: store)
        return (UInt64(found.index.rawLength), found.storedLength)
    }

    public func isStaged(_ id: PackID) -> Bool { stagedPack(id) != nil }

    private func compress(
        _ pack: StagedPack, _ ledger: any PackLedger
    ) -> Result<[UInt8]?, SealerThreads.Refusal> {
        do {
            let record = try ledger.packRecord(pack.id)
            guard pack.rawLength > 0, let record, record.isNeeded else {
                try ledger.packRemoved(pack.id)
                discard(pack)
                return .success(nil)
            }
            try settle(pack)
            return .success(try encode(pack))
        } catch {
            configuration.meter.countSealFailure()
            return .failure(SealerThreads.Refusal(cause: "pack \(pack.id): \(error)"))
        }
    }

    private func send(_ pack: StagedPack, _ object: [UInt8], _ ledger: any PackLedger) -> SealerThreads.Refusal? {
        do {
            try put(pack, object)
            try ledger.packStored(
                pack.id, rawLength: UInt64(pack.rawLength), storedLength: UInt64(object.count))
            let tail = object.withUnsafeBytes { try? PackIndex.tail(of: $0) }
            cache.adopt(pack.id, rawPath: pack.rawPath, tail: tail)
            forget(pack)
            configuration.meter.countSealed(rawBytes: pack.rawLength, storedBytes: object.count)
            return nil
        } catch {
            configuration.meter.countSealFailure()
            return SealerThreads.Refusal(cause: "pack \(pack.id): \(error)")
        }
    }

    /// Makes what is about to be put what a crash leaves in staging. The next process may find the object in the store
    /// and no record of it: then both must hold the same bytes, and the pack must not grow.
    private func settle(_ pack: StagedPack) throws(Errno) {
        try synchronizing.withLock { () throws(Errno) in try pack.synchronize() }
        guard !isMarkedSealed(pack.id) else { return }
        let mark = open(
            StagedPack.sealedPath(configuration.stagingDirectory, pack.id), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
            0o600)
        guard mark >= 0 else { throw .current }
        Glibc.close(mark)
        let finished = monitor.withLock {
            defer { finishedMarks = [] }
            return finishedMarks
        }
        try AtomicFile.synchronizeDirectory(configuration.stagingDirectory)
        for id in finished { unlink(StagedPack.sealedPath(configuration.stagingDirectory, id)) }
    }

    private func isMarkedSealed(_ id: PackID) -> Bool {
        access(StagedPack.sealedPath(configuration.stagingDirectory, id), F_OK) == 0
    }

    private func encode(_ pack: StagedPack) throws -> [UInt8] {
        let raw = try pack.sealedBytes()
        defer { raw.deallocate() }
        // Never by what this process wrote. What another left may be anything, and must not end the server.
        guard !raw.isEmpty, raw.count <= PackFormat.maximumRawBytes else {
            throw PackDamage.inconsistent("staged file of \(raw.count) bytes")
        }
        let encoder = PackEncoder(compression: configuration.compression)
        return encoder.encode(pack.id, UnsafeRawBufferPointer(raw), runs: pack.allRuns)
    }

    private func put(_ pack: StagedPack, _ object: [UInt8]) throws {
        // The error travels as a value: a typed throw through this closure does not compile in Swift 6.3.
        let refusal = object.withUnsafeBytes { bytes -> ObjectStoreError? in
            do throws(ObjectStoreError) {
                try sendingStore.put(ObjectName(pack: pack.id), bytes)
                return nil
            } catch {
                return error
            }
        }
        guard let refusal else { return }
        guard refusal == .exists else { throw refusal }
        // An earlier process put it and died before it was recorded: the frames prove that the data is the same.
        let raw = object.withUnsafeBytes { bytes in try? PackIndex(decoding: pack.id, bytes) }
        let found = try PackIndex(reading: pack.id, from: sendingStore)
        guard found.frames.map(\.checksum) == raw?.frames.map(\.checksum) else { throw refusal }
    }

    private func discard(_ pack: StagedPack) {
        unlink(pack.rawPath)
        forget(pack)
    }

    private func forget(_ pack: StagedPack) {
        unlink(StagedPack.runsPath(configuration.stagingDirectory, pack.id))
        monitor.withLock {
            staged[pack.id] = nil
            finishedMarks.append(pack.id)
        }
    }

    // MARK: Ending

    /// Seals every open pack of a large file that saw no write for a while; call it now and then.
    public func sealIdleStreams() {
        monitor.lock()
        defer { monitor.unlock() }
        for (inode, stream) in streams where stream.lastUse == stream.idleMark {
            streams[inode] = nil
            sealer?.enqueue(stream.pack)
        }
        streams = streams.mapValues { Stream(pack: $0.pack, lastUse: $0.lastUse, idleMark: $0.lastUse) }
    }

    /// Seals all that is open and waits until the store has it. Answers why it has not.
    public func flush(seconds: Double) -> String? {
        monitor.lock()
        for stream in streams.values { sealer?.enqueue(stream.pack) }
        streams.removeAll()
        if let pack = shared, pack.rawLength > 0 {
            shared = nil
            sealer?.enqueue(pack)
        }
        monitor.unlock()
        return sealer?.drain(seconds: seconds, untilEnd: true)
    }

    /// Seals these packs where they are open, and waits until the store has them. Answers why it has not by then.
    public func store(_ ids: Set<PackID>, seconds: Double) -> String? {
        monitor.lock()
        for (inode, stream) in streams where ids.contains(stream.pack.id) {
            streams[inode] = nil
            sealer?.enqueue(stream.pack)
        }
        if let pack = shared, ids.contains(pack.id), pack.rawLength > 0 {
            shared = nil
            sealer?.enqueue(pack)
        }
        monitor.unlock()
        return sealer?.drain(ids, seconds: seconds)
    }

    /// The end has begun: nobody waits for the store any more but `close`, which has an errand of its own.
    public func letGo() {
        sealer?.letGo()
        reading.finish()
    }

    /// Stores what is worth an object of its own and leaves a small shared pack in staging for the next
    /// process, unless `all` is to go. Answers why something that should be stored is not.
    public func close(seconds: Double, all: Bool = false) -> String? {
        monitor.lock()
        for stream in streams.values { sealer?.enqueue(stream.pack) }
        streams.removeAll()
        if let pack = shared, pack.rawLength >= (all ? 1 : Self.resumableBytes) {
            shared = nil
            sealer?.enqueue(pack)
        }
        monitor.unlock()
        let failure = sealer?.drain(seconds: seconds, untilEnd: false)
        sealer?.stop()
        // What is under way when the time is over would be awaited for as long as the network likes.
        if failure != nil { sending.finish() }
        sealing?.join()
        return failure
    }

    /// Gives room back that packs left in staging do not need. Call it after the last commit.
    public func giveBackRoom() {
        for pack in monitor.withLock({ Array(staged.values) }) { pack.giveBackRoom() }
    }

    /// Deletes a stored pack that no extent names.
    public func delete(_ id: PackID) throws(ObjectStoreError) {
        try store.delete(ObjectName(pack: id))
        cache.remove(id)
    }
}

/// Why staging could not be taken up.
public enum PackRecoveryFailure: Error, Sendable, CustomStringConvertible {
    case failed(String)

    public var description: String {
        switch self {
        case .failed(let text): text
        }
    }
}
