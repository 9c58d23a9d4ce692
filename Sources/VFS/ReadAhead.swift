import FileModel
import LinuxSystem

/// Sees who reads packs in order, and says how many more to fetch.
///
/// A large file's packs follow one another in its extents, those of small files in the order in which they were filled,
/// which is the order in which the files of a directory were written.
///
/// Invariants
/// - It is asked only where a read missed the cache or was the first of its pack: never for what is there.
/// - A window doubles with each pack that is read in order, up to `windowLimit`, and closes with a read elsewhere.
// SAFETY: every mutable member is guarded by `monitor`.
final class ReadAhead: @unchecked Sendable {
    /// Packs ahead of a reader, 128 MiB: what a fast network brings while a slow store thinks.
    static let windowLimit = 8
    /// Readers that are remembered.
    private static let readerLimit = 64
    /// Reads of one reader reach us out of order by what the kernel reads ahead.
    private static let disorder: UInt64 = 1 << 20

    private struct Reader {
        var pack: PackID
        /// Where the last read that was told of ended.
        var position: UInt64
        var window = 0
        /// Asked for, and not read yet.
        var ahead: Set<PackID> = []
        var lastUse: UInt64
    }

    private let monitor = Monitor()
    /// By file; small files have the root's place together.
    private var readers: [InodeID: Reader] = [:]
    private var clock: UInt64 = 0

    /// A read of a large file that ended at `end`: how many packs to fetch after its own.
    func window(of id: InodeID, in pack: PackID, _ range: Range<UInt64>, isMiss: Bool, limit: Int) -> Int {
        update(id, pack, range.upperBound, limit) { reader in
            if reader.ahead.contains(pack) { return .inOrder }
            let isNear =
                range.lowerBound + Self.disorder >= reader.position
                && range.lowerBound <= reader.position + Self.disorder
            if isNear && isMiss { return .inOrder }
            return reader.pack == pack ? .samePlace : .elsewhere
        }
    }

    /// As above, of a file that shares its pack with others.
    func window(ofSmallFilesIn pack: PackID, limit: Int) -> Int {
        update(.root, pack, 0, limit) { reader in
            if reader.pack == pack { return .samePlace }
            let isNext =
                reader.pack.epoch == pack.epoch && pack.sequence > reader.pack.sequence
                && pack.sequence - reader.pack.sequence <= 2
            return isNext || reader.ahead.contains(pack) ? .inOrder : .elsewhere
        }
    }

    /// These are on their way to the reader of `id`.
    func expect(_ packs: [PackID], for id: InodeID?) {
        monitor.lock()
        readers[id ?? .root]?.ahead.formUnion(packs)
        monitor.unlock()
    }

    private enum Order {
        case inOrder
        case samePlace
        case elsewhere
    }

    private func update(
        _ id: InodeID, _ pack: PackID, _ position: UInt64, _ limit: Int, _ order: (Reader) -> Order
    ) -> Int {
        monitor.lock()
        defer { monitor.unlock() }
        clock += 1
        guard var reader = readers[id] else {
            if readers.count >= Self.readerLimit, let oldest = readers.min(by: { $0.value.lastUse < $1.value.lastUse })
            {
                readers[oldest.key] = nil
            }
            readers[id] = Reader(pack: pack, position: position, lastUse: clock)
            return 0
        }
        defer { readers[id] = reader }
        let found = order(reader)
        reader.lastUse = clock
        reader.position = position
        reader.pack = pack
        switch found {
        case .samePlace: return 0
        case .elsewhere:
            reader.window = 0
            reader.ahead = []
        case .inOrder:
            reader.ahead.remove(pack)
            reader.window = min(max(1, reader.window * 2), limit, Self.windowLimit)
        }
        return reader.window
    }
}
