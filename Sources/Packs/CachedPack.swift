import CLinux
import FileModel
import Glibc
import LinuxSystem
import ObjectStorage

/// The cache's raw copy of one pack in the store: a sparse file, filled by runs of frames, with the pack's tables behind
/// the longest pack, so that what is here can be read, and proved, without the store.
///
/// Invariants
/// - A frame in `present` was proved against its checksum by this process, or written by it. It is proved again each time
///   it is read: what lies on a disk may change.
/// - A frame in `filling` is being fetched by one thread; others wait for it instead of fetching again.
// SAFETY: every mutable member is guarded by `monitor`.
final class CachedPack: @unchecked Sendable {
    /// What a read brought along.
    struct Fetched {
        var bytes = 0
        var sign = ReadSign.nothing
        /// The pack is in use: the rest of it should come, too.
        var wantsRest = false
        /// Frames that were here and did not prove any more.
        var lostFrames = 0
    }

    /// A disk that loses what was written twice is not asked again.
    private static let lossLimit = 3

    /// Frames of one request at most, 4 MiB of raw bytes: who waits for one of them waits for all.
    static let runLimit = 64
    /// A second read that had to wait says that the pack is in use.
    private static let missesOfUse = 2

    let id: PackID
    private let file: RawFile
    private let monitor = Monitor()
    private var index: PackIndex?
    /// One thread asks the store for the tables; others wait for it.
    private var isAskingForIndex = false
    private var present: [Bool]
    private var filling: Set<Int> = []
    private var misses = 0
    /// Somebody has read of it.
    private var isEntered = false
    /// True while the file may hold frames of an earlier process, which must be proved before use.
    private let mayHoldFrames: Bool
    /// The file may hold the pack's tables.
    private let mayHoldTail: Bool
    private let buffers: FetchBuffers
    private let seal: CopySeal

    /// Opens or makes the cache file.
    init(_ id: PackID, in directory: HeldDirectory, seal: CopySeal, buffers: FetchBuffers) throws(HeldDirectory
        .Intruder)
    {
        self.id = id
        self.buffers = buffers
        self.seal = seal
        file = RawFile(owning: try directory.openOwn("\(id)", O_RDWR | O_CREAT).take())
        var status = Glibc.stat()
        mayHoldFrames = fstat(file.descriptor, &status) == 0 && status.st_blocks > 0
        mayHoldTail = mayHoldFrames
        present = Array(repeating: false, count: PackFormat.frameCount(rawLength: PackFormat.maximumRawBytes))
    }

    /// Takes over a raw file whose bytes this process wrote itself, and the tables of the object made of them.
    init(adopting descriptor: Int32, of id: PackID, tail: ObjectTail?, seal: CopySeal, buffers: FetchBuffers) {
        self.id = id
        self.buffers = buffers
        self.seal = seal
        file = RawFile(owning: descriptor)
        mayHoldFrames = false
        isEntered = true
        present = Array(repeating: true, count: PackFormat.frameCount(rawLength: PackFormat.maximumRawBytes))
        var isSaved = false
        if let tail {
            isSaved = SavedTail.write(tail, of: id, seal, to: file)
            if !isSaved { index = (try? PackIndex(id, tail))?.withoutRuns }
        }
        mayHoldTail = isSaved
    }

    /// Sets the file's time, which tells the next process of the last use.
    func noteUse() { futimens(file.descriptor, nil) }

    /// Bytes on disk.
    var allocatedBytes: Int {
        var status = Glibc.stat()
        return fstat(file.descriptor, &status) == 0 ? Int(status.st_blocks) * 512 : 0
    }

    /// Fills `buffer` from the pack's raw bytes at `offset`, each frame proved.
    func read(
        at offset: Int, into buffer: UnsafeMutableRawBufferPointer, from store: any ObjectStore,
        _ memory: ProvedFrames, _ beforeWaiting: () -> Void
    ) throws(PackReadFailure) -> Fetched {
        guard !buffer.isEmpty else { return Fetched() }
        let frames = offset / PackFormat.frameBytes...(offset + buffer.count - 1) / PackFormat.frameBytes
        var fetched = Fetched()
        while true {
            fetched.bytes += try require(frames, from: store, beforeWaiting)
            let index = try knownIndex(store)
            guard offset + buffer.count <= index.rawLength else { throw .damage(.truncated) }
            guard let lost = copy(offset, buffer, index, memory, beforeWaiting) else { break }
            monitor.withLock { present[lost] = false }
            fetched.lostFrames += 1
            guard fetched.lostFrames < Self.lossLimit * frames.count else { throw .cache(.io) }
        }
        monitor.lock()
        if fetched.bytes > 0 {
            misses += 1
            fetched.sign = .missed(isInUse: misses >= Self.missesOfUse)
            fetched.wantsRest = misses == Self.missesOfUse
        } else if !isEntered {
            fetched.sign = .entered
        }
        isEntered = true
        monitor.unlock()
        return fetched
    }

    /// Copies proved frames. Answers the first that the file does not hold, though it should.
    private func copy(
        _ offset: Int, _ buffer: UnsafeMutableRawBufferPointer, _ index: PackIndex, _ memory: ProvedFrames,
        _ beforeWaiting: () -> Void
    ) -> Int? {
        let proof = FrameProof(index: index, file: file)
        let end = offset + buffer.count
        var position = offset
        while position < end {
            let number = position / PackFormat.frameBytes
            let range = index.rawRange(ofFrame: number)
            let stop = min(end, range.upperBound)
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[(position - offset)..<(stop - offset)])
            if part.count == range.count {
                guard proof.holds(number, part, beforeWaiting) else { return number }
            } else if !memory.read(id, at: position, into: part) {
                let frame = ProvedFrames.Frame(byteCount: range.count)
                guard proof.holds(number, frame.bytes, beforeWaiting),
                    frame.copy(from: position - range.lowerBound, into: part)
                else { return number }
                memory.keep(frame, id, number)
            }
            position = stop
        }
        return nil
    }

    /// Looks at every frame that is here. Asks the store for the tables at most.
    func verify(from store: any ObjectStore) throws(PackReadFailure) -> CopyVerdict {
        let index = try knownIndex(store)
        let proof = FrameProof(index: index, file: file)
        let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: PackFormat.frameBytes, alignment: 4096)
        defer { scratch.deallocate() }
        var verdict = CopyVerdict()
        for frame in index.frames.indices {
            let (isPresent, isComing) = monitor.withLock { (present[frame], filling.contains(frame)) }
            scratch.initializeMemory(as: UInt8.self, repeating: 0)
            if proof.holds(frame, scratch) {
                verdict.provedFrames += 1
            } else if isComing || (!isPresent && Self.isZero(scratch)) {
                // A hole, or about to be written.
                verdict.missingFrames += 1
            } else {
                verdict.badFrames += 1
            }
        }
        return verdict
    }

    private static func isZero(_ bytes: UnsafeMutableRawBufferPointer) -> Bool {
        guard let start = bytes.baseAddress else { return true }
        return bytes[0] == 0 && memcmp(start, start + 1, bytes.count - 1) == 0
    }

    /// The runs of frames that are neither here nor on their way, each a request.
    func missingRuns(from store: any ObjectStore) throws(PackReadFailure) -> [ClosedRange<Int>] {
        if isComplete { return [] }
        let index = try knownIndex(store)
        var runs: [ClosedRange<Int>] = []
        monitor.lock()
        defer { monitor.unlock() }
        for frame in index.frames.indices where !present[frame] && !filling.contains(frame) {
            if let last = runs.last, last.upperBound + 1 == frame, last.count < Self.runLimit {
                runs[runs.count - 1] = last.lowerBound...frame
            } else {
                runs.append(frame...frame)
            }
        }
        return runs
    }

    /// Fetches a run. Answers the raw bytes that came.
    func bring(_ run: ClosedRange<Int>, from store: any ObjectStore) throws(PackReadFailure) -> Int {
        try require(run, from: store) {}
    }

    /// Fetches all that is missing. Answers the raw bytes that came.
    func complete(from store: any ObjectStore) throws(PackReadFailure) -> Int {
        if isComplete { return 0 }
        let index = try knownIndex(store)
        var fetched = 0
        var first = 0
        while first < index.frames.count {
            let last = min(first + Self.runLimit, index.frames.count) - 1
            fetched += try require(first...last, from: store) {}
            first = last + 1
        }
        return fetched
    }

    /// Whether all of it is here, which is proved where it was not yet. Asks no store.
    func proveAll() -> Bool {
        if isComplete { return true }
        guard mayHoldFrames || monitor.withLock({ self.index != nil }) else { return false }
        let known = monitor.withLock { self.index }
        guard let index = known ?? SavedTail.read(file, of: id, seal).flatMap({ try? PackIndex(id, $0) })?.withoutRuns
        else {
            return false
        }
        let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: PackFormat.frameBytes, alignment: 4096)
        defer { scratch.deallocate() }
        for frame in index.frames.indices where !monitor.withLock({ present[frame] }) {
            guard FrameProof(index: index, file: file).holds(frame, scratch) else { return false }
            monitor.withLock { present[frame] = true }
        }
        monitor.withLock { self.index = index }
        return true
    }

    /// Whether all of it is here and proved.
    var isComplete: Bool {
        monitor.withLock {
            if present.allSatisfy({ $0 }) { return true }
            guard let index else { return false }
            return present.prefix(index.frames.count).allSatisfy { $0 }
        }
    }

    // MARK: Frames

    /// Makes frames present. Answers the raw bytes that came from the store.
    private func require(
        _ frames: ClosedRange<Int>, from store: any ObjectStore, _ beforeWaiting: () -> Void
    ) throws(PackReadFailure) -> Int {
        var fetched = 0
        var hasWaited = false
        while true {
            monitor.lock()
            guard frames.upperBound < present.count else {
                monitor.unlock()
                throw .damage(.inconsistent("a read past the end"))
            }
            guard let first = frames.first(where: { !present[$0] }) else {
                monitor.unlock()
                return fetched
            }
            guard hasWaited else {
                monitor.unlock()
                beforeWaiting()
                hasWaited = true
                continue
            }
            if filling.contains(first) {
                monitor.wait()
                monitor.unlock()
                continue
            }
            var last = first
            while last < frames.upperBound, last - first + 1 < Self.runLimit, !present[last + 1],
                !filling.contains(last + 1)
            {
                last += 1
            }
            filling.formUnion(first...last)
            monitor.unlock()
            fetched += try fill(first...last, store)
        }
    }

    /// Fetches a run that this thread has claimed, and gives the claim up.
    private func fill(_ run: ClosedRange<Int>, _ store: any ObjectStore) throws(PackReadFailure) -> Int {
        let result = Result { () throws(PackReadFailure) -> Int in
            let index = try knownIndex(store)
            guard run.upperBound < index.frames.count else {
                throw .damage(.inconsistent("frame \(run.upperBound) is past the end"))
            }
            return try FrameFetch(id: id, index: index, file: file, store: store, buffers: buffers).bring(
                run, provingFirst: mayHoldFrames)
        }
        monitor.lock()
        defer { monitor.unlock() }
        filling.subtract(run)
        monitor.signalAll()
        let fetched = try result.get()
        for frame in run { present[frame] = true }
        return fetched
    }

    /// The pack's tables: from memory, the file or the store.
    private func knownIndex(_ store: any ObjectStore) throws(PackReadFailure) -> PackIndex {
        monitor.lock()
        while isAskingForIndex { monitor.wait() }
        if let index {
            monitor.unlock()
            return index
        }
        isAskingForIndex = true
        monitor.unlock()
        defer {
            monitor.lock()
            isAskingForIndex = false
            monitor.signalAll()
            monitor.unlock()
        }
        var found: PackIndex?
        if mayHoldTail, let tail = SavedTail.read(file, of: id, seal) { found = try? PackIndex(id, tail) }
        if found == nil {
            let tail = try PackIndex.tail(of: id, from: store)
            do {
                found = try PackIndex(id, tail)
            } catch {
                throw .damage(error)
            }
            SavedTail.write(tail, of: id, seal, to: file)
        }
        // Which file a run was written for matters to nobody here, and takes most of the memory.
        guard let index = found?.withoutRuns else { throw .damage(.truncated) }
        monitor.withLock { self.index = index }
        return index
    }
}
