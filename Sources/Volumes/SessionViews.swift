import Control
import LinuxSystem

/// A session as `berth status` shows it: what its server says, and what the kernel says of its users now.
public struct SessionView: Encodable, Sendable {
    /// `count` ids from `volume` on are the ids from `host` on outside every namespace.
    public struct IDs: Encodable, Sendable, Equatable {
        public var volume: UInt32
        public var host: UInt32
        public var count: UInt32
    }

    public var volume: String
    public var session: String
    /// Where it is mounted, in `namespace`; all places, where the plugin and a hook share it.
    public var mountpoint: String
    public var mountpoints: [String]
    public var readOnly: Bool
    public var runtime: String
    public var namespace: UInt64?
    public var uidMap: [IDs]
    /// Other mount namespaces that show it: containers.
    public var containers: Int
    /// Files of it that processes hold open or have mapped.
    public var openFiles: Int
    public var job: String?
    /// Whether it is where it was mounted: mounted, kept, abandoned or unseen.
    public var state: String
    private let note: String?

    private enum CodingKeys: String, CodingKey {
        case volume, session, mountpoint, mountpoints, readOnly, runtime, namespace, uidMap, containers, openFiles, job,
            state
    }

    init(_ session: ServerStatus.Session, _ volume: VolumePaths, _ census: MountCensus) {
        self.volume = volume.name
        self.session = session.session
        readOnly = session.readOnly
        runtime = session.origin?.runtime.rawValue ?? SessionOrigin.Runtime.host.rawValue
        job = session.origin?.job
        let presence = SessionPresence(session, volume, census)
        state = presence.word
        note = presence.note
        let paths = SessionPresence.places(of: session, volume)
        let home = census.namespaces.values.first { namespace in
            (session.origin?.namespace).map { $0 == namespace.inode } ?? true
                && paths.contains { MountInfo.at($0, in: namespace.mounts) != nil }
        }
        namespace = session.origin?.namespace ?? home?.inode
        let mounts = paths.compactMap { path in home.flatMap { MountInfo.at(path, in: $0.mounts) } }
            .filter { session.origin?.device == nil || session.origin?.device == $0.device }
        mountpoint = mounts.first?.mountpoint ?? session.mountpoint
        mountpoints = mounts.isEmpty ? [session.mountpoint] : mounts.map(\.mountpoint)
        let device = session.origin?.device ?? mounts.first?.device
        containers =
            device.map { device in
                census.namespaces(showing: device, except: home?.inode ?? 0).count
            } ?? 0
        openFiles = device.map { census.openFiles(on: $0) } ?? 0
        uidMap = Self.ids(session, home)
    }

    /// The session's map, carried on through its namespace's.
    private static func ids(_ session: ServerStatus.Session, _ home: MountCensus.Namespace?) -> [IDs] {
        let ranges = session.users?.ranges ?? []
        guard ranges.isEmpty else {
            return ranges.map { IDs(volume: $0.volume, host: $0.session, count: $0.count) }
        }
        let map = home?.processes.lazy.compactMap { NamespaceIDs(of: "\($0)") }.first
        return (map?.ranges ?? []).map { IDs(volume: $0.inside, host: $0.outside, count: $0.count) }
    }

    /// One line for people.
    public var line: String {
        var words = [mountpoints.joined(separator: ", ") + (readOnly ? " (read-only)" : ""), runtime]
        if let namespace { words.append("mnt:[\(namespace)]") }
        let ids = uidMap.map { $0.count == 1 ? "\($0.volume)=\($0.host)" : "\($0.volume)+\($0.count)=\($0.host)" }
        if !ids.isEmpty { words.append("uids \(ids.joined(separator: " "))") }
        if containers > 0, note == nil { words.append("\(containers) container\(containers == 1 ? "" : "s")") }
        words.append("\(openFiles) open")
        if let note { words.append(note) }
        if let job { words.append("job \(job)") }
        return words.joined(separator: "  ")
    }
}

extension MountService {
    /// A volume's sessions, as they are now.
    public func sessions(_ status: ServerStatus, _ census: MountCensus) -> [SessionView] {
        let volume = registry.paths.volume(status.volume)
        return status.sessions.map { SessionView($0, volume, census) }
    }
}
