import Control
import FileModel
import Glibc
import LinuxSystem

/// Where a session is, by what the kernel shows now. Every command that says whether a volume is in use goes by this: what a
/// server serves is not what is mounted (decision 0084).
///
/// A mount namespace that is made while a volume is mounted has a copy of the mount, unless mounts are shared: that of rootless
/// podman, of `unshare -m`, of a service. The copy stays when the mount is taken away where it was made, cannot be taken away by
/// us, and keeps the session. One that nobody uses is nobody's.
public enum SessionPresence: Equatable, Sendable {
    /// It is where it was mounted: in this process's namespace, or in another in which `process` lives.
    case mounted(isHere: Bool, process: Int32?)
    /// It is not, and these processes have it still: they have something of it open, or are in a container that shows it.
    case kept(by: [Int32])
    /// It is not, and nobody has it: in so many namespaces there are copies.
    case abandoned(copies: Int)
    /// No process can be looked at that is in the namespace where it was mounted.
    case unseen

    /// One word, for scripts.
    var word: String {
        switch self {
        case .mounted: "mounted"
        case .kept: "kept"
        case .abandoned: "abandoned"
        case .unseen: "unseen"
        }
    }

    /// What people must know of it; nil where it is as it should be.
    var note: String? {
        switch self {
        case .mounted: nil
        case .kept(let users): "unmounted; kept by \(SessionInUse.words(users))"
        case .abandoned: "unmounted; nobody has it, and `berth umount` of it ends it"
        case .unseen: "in a mount namespace that cannot be looked at"
        }
    }

    init(_ session: ServerStatus.Session, _ volume: VolumePaths, _ census: MountCensus) {
        let own = ProcessTable.namespace("mnt", of: "self")
        guard session.origin?.runtime != .apptainer else {
            // Nobody saw where it was mounted.
            self = .mounted(isHere: false, process: nil)
            return
        }
        let places = Self.places(of: session, volume)
        let homes = Self.homes(of: session, census)
        if let home = homes.first(where: { Self.shows($0, session, places, volume) }) {
            self = .mounted(isHere: home.inode == own, process: home.processes.first)
            return
        }
        guard let device = session.origin?.device else {
            self = .unseen
            return
        }
        let showing = census.namespaces.values.filter { namespace in
            namespace.mounts.contains { $0.device == device }
        }
        let roots = Set((homes + [own.flatMap { census.namespaces[$0] }].compactMap { $0 }).compactMap(\.root))
        var users: Set<Int32> = []
        for namespace in showing where !Self.isCopy(namespace, device, places, roots) {
            users.formUnion(namespace.processes)
        }
        for namespace in census.namespaces.values {
            users.formUnion(namespace.processes.filter { ProcessTable.uses($0, device: device) })
        }
        if !users.isEmpty {
            self = .kept(by: users.sorted())
        } else {
            self = homes.isEmpty ? .unseen : .abandoned(copies: showing.count)
        }
    }

    /// Where it may be mounted; all places, where the plugin and a hook share it.
    static func places(of session: ServerStatus.Session, _ volume: VolumePaths) -> [String] {
        let own = [volume.podmanMountpoint, volume.hookMountpoint]
        return own.contains(session.mountpoint) ? own : [session.mountpoint]
    }

    /// The namespace where it was mounted, if that can be looked at; all, where an older program did not say which.
    private static func homes(
        of session: ServerStatus.Session, _ census: MountCensus
    ) -> [MountCensus.Namespace] {
        guard let inode = session.origin?.namespace else { return Array(census.namespaces.values) }
        return census.namespaces[inode].map { [$0] } ?? []
    }

    private static func shows(
        _ namespace: MountCensus.Namespace, _ session: ServerStatus.Session, _ places: [String], _ volume: VolumePaths
    ) -> Bool {
        if let device = session.origin?.device { return namespace.mounts.contains { $0.device == device } }
        return places.contains { place in
            MountInfo.at(place, in: namespace.mounts).map { MountService.volume(of: $0) == volume.name } ?? false
        }
    }

    /// A copy is at the very place of the mount, in a namespace with the same root directory. A container's is neither.
    private static func isCopy(
        _ namespace: MountCensus.Namespace, _ device: String, _ places: [String], _ roots: Set<String>
    ) -> Bool {
        guard let root = namespace.root, roots.contains(root) else { return false }
        return namespace.mounts.allSatisfy { $0.device != device || places.contains($0.mountpoint) }
    }
}

/// A session that is in use, and how.
public struct SessionInUse: Sendable {
    public var session: ServerStatus.Session
    public var presence: SessionPresence

    /// For whoever has unmounted it.
    public var line: String {
        var who = "somebody"
        if case .kept(let users) = presence { who = Self.words(users) }
        return
            "\(session.mountpoint) is unmounted, and \(who) in another place has the volume still; to end that, too: `berth umount --force \(ShellWord.quoted(session.mountpoint))`"
    }

    /// For a refusal.
    var cause: String {
        switch presence {
        case .kept(let users): "is kept at \(session.mountpoint) by \(Self.words(users))"
        default: "is mounted at \(session.mountpoint)"
        }
    }

    /// What ends it. Commands stand between backquotes, as they can be run.
    func advice(_ volume: String) -> String {
        let force = "`berth umount --force \(ShellWord.quoted(session.mountpoint))`"
        switch presence {
        case .kept(let users): return "end \(Self.words(users)), or run \(force)"
        case .abandoned, .unseen: return "run \(force)"
        case .mounted(let isHere, let process):
            switch session.origin?.runtime ?? .host {
            case .host where isHere: return "run `berth umount \(ShellWord.quoted(session.mountpoint))`"
            case .podman, .hook:
                return "end its containers (`podman ps -a --filter volume=\(volume)`), or run \(force)"
            case .apptainer: return "end its container, or run \(force)"
            case .run, .host:
                let who = process.map { "process \($0)" } ?? "its programs"
                return "end it in the mount namespace of \(who), or run \(force)"
            }
        }
    }

    /// At most as many as fit a line.
    static func words(_ processes: [Int32]) -> String {
        let shown = processes.prefix(4).map { number -> String in
            "\(number)" + (ProcessTable.name(of: number).map { " (\($0))" } ?? "")
        }
        let more = processes.count > shown.count ? " and \(processes.count - shown.count) more" : ""
        return "process\(processes.count == 1 ? "" : "es") \(shown.joined(separator: ", "))\(more)"
    }
}

/// A word as a shell takes it.
enum ShellWord {
    static func quoted(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0)
                || Array("/._-+:@%,=".utf8).contains($0)
        }
        return isPlain && !text.isEmpty ? text : "'" + text.parts(at: "'").joined(separator: "'\\''") + "'"
    }
}

extension MountService {
    /// A mount that has been taken away ends its session at once, where no copy keeps it.
    private static let settleTime = Duration.milliseconds(50)

    /// The sessions of a volume that somebody has. Those that nobody has any more are ended. Every refusal that says that a volume
    /// is in use asks here first.
    public func sessionsInUse(_ volume: VolumePaths) throws(SystemFailure) -> [SessionInUse] {
        guard let client = try supervisor.running(volume) else { return [] }
        return try endAbandoned(client, volume)
    }

    /// With `onlyCopies` one that no namespace shows goes on: programs that cannot be looked at may have files of it open.
    @discardableResult
    func endAbandoned(
        _ client: ServerClient, _ volume: VolumePaths, onlyCopies: Bool = false
    ) throws(SystemFailure) -> [SessionInUse] {
        let sessions = try client.status().sessions
        guard !sessions.isEmpty else { return [] }
        let census = MountCensus.take()
        var left: [SessionInUse] = []
        for session in sessions {
            let presence = SessionPresence(session, volume, census)
            if case .abandoned(let copies) = presence, copies > 0 || !onlyCopies {
                try client.ask(.detach(session: session.session), timeout: Self.detachTimeout)
            } else {
                left.append(SessionInUse(session: session, presence: presence))
            }
        }
        return left
    }

    /// Refuses what only a volume can have done to it that nobody has mounted.
    public func refuseWhileInUse(_ volume: VolumePaths) throws(SystemFailure) {
        let sessions = try sessionsInUse(volume)
        guard sessions.isEmpty else { throw Self.inUse(volume.name, sessions) }
    }

    /// After a mount has been taken away: its session has ended when this returns, or somebody has it still, who is returned.
    /// Whoever stops the server or removes the volume next must not find it there. `patience`: for who is just ending.
    @discardableResult
    func settle(
        _ mountpoints: [String], _ client: ServerClient, _ volume: VolumePaths, patience: Duration = .zero
    ) -> [SessionInUse] {
        let deadline = Deadline(after: patience)
        while true {
            let step = Deadline(after: Self.settleTime)
            while !step.hasPassed {
                // One that answers no more has ended with its session.
                let sessions = (try? client.status())?.sessions ?? []
                guard sessions.contains(where: { mountpoints.contains($0.mountpoint) }) else { return [] }
                usleep(2_000)
            }
            let left = ((try? endAbandoned(client, volume)) ?? []).filter {
                mountpoints.contains($0.session.mountpoint)
            }
            if left.isEmpty || deadline.hasPassed { return left }
        }
    }

    public static func inUse(_ volume: String, _ sessions: [SessionInUse]) -> SystemFailure {
        var causes: [String] = []
        var advice: [String] = []
        for session in sessions {
            causes.append(session.cause)
            let words = session.advice(volume)
            if !advice.contains(words) { advice.append(words) }
        }
        return SystemFailure(
            "volume \"\(volume)\"", causes.joined(separator: ", and "), fix: advice.joined(separator: "; "),
            errno: .busy, status: .temporaryFailure)
    }
}
