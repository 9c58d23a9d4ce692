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
// SAFETY: every mutable member is guarded by `monitor`.
final class ForeignObjects: @unchecked Sendable {
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
    private var catalog: (any ForeignCatalog)?
    private var opened: [PackID: Opened] = [:]
    private var stores: [Int64: any ForeignStore] = [:]

    init(_ opener: @escaping ForeignOpener) {
        self.opener = opener
    }

    func connect(_ catalog: any ForeignCatalog) { monitor.withLock { self.catalog = catalog } }

    func open(_ id: PackID) throws(PackReadFailure) -> Opened {
        let (known, catalog) = monitor.withLock { (opened[id], self.catalog) }
        if let known { return known }
        let found: (object: ForeignObject, source: ForeignSource)?
        do {
            found = try catalog?.foreignObject(id)
        } catch {
            throw .cache(error)
        }
        guard let found else { throw .store(.missing) }
        let result = Opened(object: found.object, store: try store(found.source), url: found.source.url)
        monitor.withLock {
            if opened.count >= Self.limit { opened.removeAll(keepingCapacity: true) }
            opened[id] = result
        }
        return result
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
