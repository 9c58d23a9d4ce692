import FileModel
import LinuxSystem

/// Guesses what of foreign objects is read next.
///
/// Invariants
/// - It only guesses: what it forgets costs time.
// SAFETY: every mutable member is guarded by `monitor`.
final class ForeignReadAhead: @unchecked Sendable {
    struct Wanted: Equatable {
        var id: PackID
        var blocks: ClosedRange<UInt64>
    }

    private struct Stream {
        /// Where the next read begins, should it go on.
        var next: UInt64
        var window: UInt64 = 0
        /// Up to here it was asked for.
        var asked: UInt64 = 0
    }

    private static let firstWindow: UInt64 = 1 << 20
    private static let lastWindow: UInt64 = 16 << 20
    /// Parallel reads of the kernel come in any order.
    private static let tolerance: UInt64 = 1 << 20
    /// One request's share of a window, so that several threads fetch it.
    private static let shareBytes: UInt64 = 2 << 20
    private static let streamLimit = 256
    /// After so many neighbours the next ones are fetched.
    private static let neighboursOfOrder = 3
    private static let neighboursAhead: UInt64 = 16

    private let monitor = Monitor()
    private var streams: [PackID: Stream] = [:]
    private var lastSmall: UInt64 = 0
    private var smallRun = 0

    /// What should come in the background after a read.
    func after(_ id: PackID, _ read: Range<UInt64>, of size: UInt64, hasMissed: Bool) -> [Wanted] {
        if size <= ForeignCache.smallBytes { return hasMissed ? neighbours(of: id) : [] }
        monitor.lock()
        defer { monitor.unlock() }
        guard var stream = streams[id] else {
            if streams.count >= Self.streamLimit { streams.removeAll(keepingCapacity: true) }
            streams[id] = Stream(next: read.upperBound)
            return []
        }
        let isOrdered =
            read.lowerBound + Self.tolerance >= stream.next && read.lowerBound <= stream.next + Self.tolerance
        guard isOrdered else {
            streams[id] = Stream(next: read.upperBound)
            return []
        }
        stream.next = max(stream.next, read.upperBound)
        if stream.window == 0 { stream.window = Self.firstWindow }
        let from = max(stream.asked, stream.next)
        let until = min(stream.next + stream.window, size)
        // Half a window at least, so that requests are large.
        guard from < until, until - from >= stream.window / 2 || until == size else {
            streams[id] = stream
            return []
        }
        stream.asked = until
        stream.window = min(stream.window * 2, Self.lastWindow)
        streams[id] = stream
        let block = UInt64(ForeignBlock.byteCount)
        return stride(from: from, to: until, by: Int(Self.shareBytes)).map { start in
            Wanted(id: id, blocks: start / block...(min(start + Self.shareBytes, until) - 1) / block)
        }
    }

    /// Small objects have numbers in the order in which they were listed, which is the order in which most programs read
    /// them.
    private func neighbours(of id: PackID) -> [Wanted] {
        monitor.lock()
        defer { monitor.unlock() }
        let number = id.foreignNumber
        let isNeighbour = number > lastSmall && number - lastSmall <= Self.neighboursAhead + 1
        smallRun = isNeighbour ? smallRun + 1 : 0
        lastSmall = number
        guard smallRun >= Self.neighboursOfOrder else { return [] }
        // Their first blocks: most are no larger.
        return (1...Self.neighboursAhead).map { Wanted(id: PackID(foreign: number + $0), blocks: 0...0) }
    }
}
