import FileModel
import Glibc
import LinuxSystem

/// What is done where the cache's disk fails: nothing is lost with it, and each read goes on from the store.
extension PackCache {
    /// What is wrong, so that it is said once and not tried for each frame.
    struct Trouble {
        /// Over since a copy could be kept.
        var recent = RecentTrouble()
        /// New copies are tried again from this second on.
        private var suspendedUntil = 0
        private static let pause = 10
        /// Tables of packs that are read past the cache.
        var indexes: [PackID: PackIndex] = [:]

        func isSuspended(_ now: Int) -> Bool { now < suspendedUntil && suspendedUntil - now <= Self.pause }

        mutating func suspend() { suspendedUntil = PackCache.now() + Self.pause }
    }

    private static let indexLimit = 64

    /// Mends what can be mended. False where a read must go past the cache.
    func mend(_ cause: Errno) -> Bool {
        let isMended: Bool
        switch cause {
        case .noSpace, Errno(EDQUOT):
            isMended = giveSpare()
            if !isMended { monitor.withLock { trouble.suspend() } }
        default: isMended = cause == .noEntry && restore()
        }
        let (isNew, place) = monitor.withLock { (!isMended && trouble.recent.firstTime("\(cause)"), directory.path) }
        let line = "cache \(place) cannot be used: \(cause); reads go to the store"
        if !isMended { monitor.withLock { trouble.recent.note(line) } }
        if isNew { report(line) }
        return isMended
    }

    var currentTrouble: String? { monitor.withLock { trouble.recent.current } }

    /// Makes the directory again where somebody removed it. False where it cannot be had.
    @discardableResult
    func restore() -> Bool {
        guard isGone else { return true }
        let place = self.place.path
        guard (try? open(place)) != nil else { return false }
        report("cache \(place) was removed, and is made anew; copies come again as they are read")
        return true
    }

    /// Goes on in another directory: the one before is gone.
    func move(to place: String) {
        guard (try? open(place)) != nil else { return }
        report("the cache was removed, and is at \(place) now")
    }

    /// Whether the directory's name leads to another directory than the one that was opened, or to none.
    var isGone: Bool {
        let held = place
        guard let opened = try? held.status() else { return true }
        let named: stat
        do {
            named = try TrustedPath.open(held.path).status()
        } catch let error as SystemFailure where error.status == .noPermission {
            // Others may change what leads there; what was opened is here still.
            return false
        } catch {
            return true
        }
        return named.st_ino != opened.st_ino || named.st_dev != opened.st_dev
    }

    /// Reads from the store alone: slow, for a cache that cannot be used.
    func readPastCache(
        _ id: PackID, at offset: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(PackReadFailure) {
        let index = try knownIndex(id)
        let fetch = FrameFetch(id: id, index: index, file: nil, store: store, buffers: buffers)
        let end = offset + buffer.count
        var position = offset
        while position < end {
            let number = position / PackFormat.frameBytes
            guard number < index.frames.count, position < index.rawRange(ofFrame: number).upperBound else {
                throw .damage(.truncated)
            }
            let range = index.rawRange(ofFrame: number)
            let stop = min(end, range.upperBound)
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[(position - offset)..<(stop - offset)])
            if !memory.read(id, at: position, into: part) {
                let frame = ProvedFrames.Frame(byteCount: range.count)
                try fetch.one(number, into: frame.bytes)
                memory.keep(frame, id, number)
                guard frame.copy(from: position - range.lowerBound, into: part) else { throw .damage(.truncated) }
            }
            position = stop
        }
        misses.add(1, ordering: .relaxed)
    }

    private func knownIndex(_ id: PackID) throws(PackReadFailure) -> PackIndex {
        if let index = monitor.withLock({ trouble.indexes[id] }) { return index }
        let index = try PackIndex(reading: id, from: store).withoutRuns
        monitor.withLock {
            if trouble.indexes.count >= Self.indexLimit { trouble.indexes.removeAll() }
            trouble.indexes[id] = index
        }
        return index
    }
}
