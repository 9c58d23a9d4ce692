import Control
import FoundationEssentials
import LinuxSystem
import Volumes

/// What a server may not read itself, and looks at again and again: it changes meanwhile.
struct ServerSurroundings: Codable {
    /// The text of the user's settings.
    var settings: String
    var others: [VolumeRecord]
}

/// What a keeper does for its server, which is in a Landlock domain and has made its last socket. The server may be in
/// somebody else's hands: it names nothing here that the volume's own record and the user's settings do not.
struct KeeperErrands {
    /// A message has a bound, and bytes are numbers in JSON.
    private static let noteLimit = 200_000

    let volume: VolumeName
    let environment: [String: String]

    private var site: SitePaths { SitePaths(environment: environment) }

    /// Listens at one of the volume's two sockets, should the file be gone.
    func listen(at path: String) -> FileDescriptor? {
        let paths = site.volume(volume.description)
        guard path == paths.controlSocket || path == paths.innerSocket else { return nil }
        return try? UnixSocket.listenAgain(at: path)
    }

    /// The note of the answer; nil where there is none.
    func run(_ request: KeeperRequest) -> [UInt8]? {
        let note: [UInt8]?
        switch request {
        case .makeCache: note = cache()
        case .surroundings: note = surroundings()
        case .keep, .drop, .listen, .names: note = nil
        }
        return note.flatMap { $0.count <= Self.noteLimit ? $0 : nil }
    }

    private func cache() -> [UInt8]? {
        let registry = VolumeRegistry(paths: site)
        guard let record = try? registry.record(volume), let settings = try? UserSettings.load(site),
            let place = try? CacheSite(registry, environment: environment).places(record, settings).choose()
        else { return nil }
        return Array(place.utf8)
    }

    private func surroundings() -> [UInt8]? {
        guard let settings = try? AtomicFile.read(site.settings) ?? [] else { return nil }
        let records = (try? VolumeRegistry(paths: site).list())?.records ?? []
        let found = ServerSurroundings(
            settings: String(decoding: settings, as: UTF8.self),
            others: records.filter { $0.name != volume.description })
        return (try? JSONEncoder().encode(found)).map { Array($0) }
    }
}
