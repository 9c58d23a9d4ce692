import FileModel
import LinuxSystem
import Metrics
import ObjectStorage
import Packs
import S3Storage
import SQLiteMetadata
import Sandbox
import Synchronization
import Volumes

/// Reaches the stores that a volume has imported from.
struct ForeignStores: Sendable {
    static let fileScheme = "file://"

    let reach: SystemCallFilter.Reach
    let trust: SourceTrust
    var meter = StoreMeter()

    /// The directory that a URL names; nil where it names none.
    static func path(of url: String) -> String? {
        url.hasPrefix(fileScheme) ? String(url.dropFirst(fileScheme.utf8.count)) : nil
    }

    /// The bucket, or the directory, of a URL that the metadata keeps.
    func open(_ source: ForeignSource) throws(SystemFailure) -> any ForeignStore {
        guard trust.allows(source) else { throw trust.refusal(source) }
        if source.url.hasPrefix(Self.fileScheme) {
            return ForeignDirectory(root: String(source.url.dropFirst(Self.fileScheme.utf8.count)))
        }
        guard reach == .network else {
            throw SystemFailure(
                source.url, "the volume's server was started without the network", fix: "unmount it and mount it again",
                errno: .notPermitted, status: .unavailable)
        }
        guard var options = BucketOptions(encoded: source.options) else {
            throw SystemFailure(source.url, "its options are no options of a bucket", status: .dataError)
        }
        if trust.isInsecure { options.isInsecure = true }
        let connection = try BucketConnection(
            source.url, options, subject: "bucket", insecureBy: "berth volume set \(trust.volume) insecure=true")
        let finder = connection.finder
        return try S3ForeignStore(
            connection.location, certificates: connection.certificates, surroundings: BucketConnection.surroundings,
            meter: meter, credentials: { () throws(SystemFailure) in try finder.credentials() })
    }

    /// As `open`, for who reads data.
    var opener: ForeignOpener {
        { (source: ForeignSource) throws(ObjectStoreError) -> any ForeignStore in
            do throws(SystemFailure) {
                return try open(source)
            } catch {
                throw .failed(error.errno ?? .io, error.message)
            }
        }
    }
}

/// Which of the sources that the metadata name are opened: those that the volume's user named himself.
final class SourceTrust: Sendable {
    private struct State {
        /// Nil: all, as for a record of a version that kept no list.
        var entries: Set<String>?
        var known: [ForeignSource]
        var isInsecure: Bool
    }

    let volume: String
    private let state: Mutex<State>
    /// The list as the record had it first.
    let atStart: [String]?

    /// `known` are those that the metadata name.
    init(_ record: VolumeRecord, known: [ForeignSource] = []) {
        volume = record.name
        atStart = record.sources
        state = Mutex(
            State(
                entries: record.sources.map(Set.init), known: known,
                isInsecure: record.options.bucket?.isInsecure == true))
    }

    /// The user said that requests may leave the machine without encryption.
    var isInsecure: Bool { state.withLock { $0.isInsecure } }

    /// The record has changed.
    func reload(_ record: VolumeRecord) {
        state.withLock {
            $0.entries = record.sources.map(Set.init)
            $0.isInsecure = record.options.bucket?.isInsecure == true
        }
    }

    func allows(_ source: ForeignSource) -> Bool {
        state.withLock { state in
            guard let entries = state.entries else { return true }
            return SourceEntry(source).map { entries.contains($0.description) } ?? false
        }
    }

    /// The same words for all files of a source: the log says them once.
    func refusal(_ source: ForeignSource) -> SystemFailure {
        let entry = SourceEntry(source)
        let name = entry?.display ?? "a source that this version does not know"
        return SystemFailure(
            "source \(name)", "is named by the metadata of volume \"\(volume)\", and not by you",
            fix: entry.map { "if it is yours to read here: berth volume trust \(volume) '\($0.display)'" },
            errno: .accessDenied, status: .noPermission)
    }

    /// Those that stay closed, for people.
    var closed: [String] { closed(of: state.withLock { $0.known }) }

    /// Metadata of somebody else may name any number: the rest is told when these are trusted.
    private static let shownLimit = 10

    func closed(of sources: [ForeignSource]) -> [String] {
        sources.lazy.filter { !self.allows($0) }.prefix(Self.shownLimit).map {
            SourceEntry($0)?.display ?? "one that this version does not know"
        }
    }
}

extension VolumeRecord {
    /// The sources that a database names.
    static func sources(in database: String) throws(SystemFailure) -> [ForeignSource] {
        do {
            let metadata = try SQLiteMetadataStore(path: database)
            let sources = try metadata.transaction { transaction throws(Errno) in try transaction.sources() }
            try metadata.close()
            return sources
        } catch {
            throw SystemFailure(database, "cannot be read: \(error)", status: .dataError)
        }
    }
}
