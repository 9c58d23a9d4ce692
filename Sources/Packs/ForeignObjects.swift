import FileModel
import LinuxSystem
import ObjectStorage

/// Tells which object a foreign pack stands for.
public protocol ForeignCatalog: AnyObject, Sendable {
    /// Nil where no extent names it any more.
    func foreignObject(_ id: PackID) throws(Errno) -> (object: ForeignObject, source: ForeignSource)?
}

/// Reaches the stores of foreign objects.
public typealias ForeignOpener = @Sendable (ForeignSource) throws(ObjectStoreError) -> any ForeignStore

/// The foreign objects that are being read, each with its store.
///
/// Invariants
/// - What a number stands for never changes, so that what is remembered stays true.
/// - The volume's own catalog is asked first, then those of its snapshots that are shown: they may know what no file of the
///   volume is of any more.
// SAFETY: every mutable member is guarded by `monitor`.
final class ForeignObjects: @unchecked Sendable {
    private struct WeakCatalog {
        weak var value: (any ForeignCatalog)?
    }

    struct Opened: Sendable {
        var object: ForeignObject
        var store: any ForeignStore
        /// For people.
        var url: String
    }

    /// 4096 of about 200 bytes. Another one is looked for again.
    private static let limit = 4096

    private let opener: ForeignOpener
    private let monitor = Monitor()
    private var catalogs: [WeakCatalog] = []
    private var opened: [PackID: Opened] = [:]
    private var stores: [Int64: any ForeignStore] = [:]

    init(_ opener: @escaping ForeignOpener) {
        self.opener = opener
    }

    /// `catalog` is asked as long as somebody else keeps it.
    func connect(_ catalog: any ForeignCatalog) {
        monitor.withLock { catalogs = catalogs.filter { $0.value != nil } + [WeakCatalog(value: catalog)] }
    }

    func open(_ id: PackID) throws(PackReadFailure) -> Opened {
        let (known, catalogs) = monitor.withLock { (opened[id], self.catalogs.compactMap(\.value)) }
        if let known { return known }
        let found = try Self.look(for: id, in: catalogs)
        let result = Opened(object: found.object, store: try store(found.source), url: found.source.url)
        monitor.withLock {
            if opened.count >= Self.limit { opened.removeAll(keepingCapacity: true) }
            opened[id] = result
        }
        return result
    }

    private static func look(
        for id: PackID, in catalogs: [any ForeignCatalog]
    ) throws(PackReadFailure) -> (object: ForeignObject, source: ForeignSource) {
        var failure = PackReadFailure.store(.missing)
        for catalog in catalogs {
            do {
                if let found = try catalog.foreignObject(id) { return found }
            } catch {
                failure = .cache(error)
            }
        }
        throw failure
    }

    private func store(_ source: ForeignSource) throws(PackReadFailure) -> any ForeignStore {
        if let store = monitor.withLock({ stores[source.id] }) { return store }
        do {
            let store = try opener(source)
            monitor.withLock { stores[source.id] = store }
            return store
        } catch {
            throw .store(error)
        }
    }
}
