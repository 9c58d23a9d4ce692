import FileModel
import Metrics

/// What a client asks of a volume's server (`berthfs`) on its control socket.
///
/// Wire format: each message is one frame, a 4-byte big-endian length and that many bytes of JSON. The
/// descriptor of `attach` rides with the frame's first byte (SCM_RIGHTS). One request, one reply; the
/// connection may carry more. Only processes of the same user (SO_PEERCRED) are answered, and one that does not show that
/// it is in no container (`introduce`) only where `isForContainers`.
public enum ServerRequest: Codable, Sendable, Equatable {
    /// Serve a new session on the `/dev/fuse` descriptor that comes with this frame. Answered once
    /// the kernel's INIT has been answered, so a mount that was announced is alive.
    case attach(Attachment)
    /// Forget a session: its FUSE connection is aborted if it is still mounted.
    case detach(session: String)
    /// Who the server is and what it serves.
    case status
    /// Commit the metadata and make everything durable, as syncfs does.
    case sync
    /// Finish: end sessions, seal, upload for so many seconds at most (nil: as long as a server takes by itself), commit,
    /// exit. Answered before the process exits. What is not stored stays in staging.
    case stop(seconds: Double?)
    /// Commit, and leave everything to a new server that the keeper starts. Answered before the process exits.
    case restart
    /// The same, and the new server mends the metadata before it opens it.
    case mend
    /// Begin to fetch packs into the cache; answered with the job.
    case warm(WarmOrder)
    /// How far a job is. One that nobody asks about for a while is ended, unless it is in the background.
    case warming(job: Int)
    /// Drop copies from the cache; pinned ones only with `pinnedToo`, and they are pinned no more.
    case evict(DataSelection, pinnedToo: Bool)
    /// Let pinned packs go again when room is needed.
    case unpin(DataSelection)
    /// What the cache holds.
    case cache
    /// Read the volume's record again, and take over what may change.
    case reload
    /// The trash, quotas and usage.
    case space(SpaceQuery)
    /// Seal what is open and wait for the store, so many seconds at most. Of the metadata a copy is made, too, where one is
    /// ordered.
    case store(seconds: Double, copy: CopyOrder?)
    case snapshot(SnapshotRequest)
    /// Give room back, or only say what would be done. The descriptor of a file comes along, for lines about packs.
    case collect(dryRun: Bool)
    /// Begin to make files of what is elsewhere already; answered with the job.
    case importData(ImportOrder)
    /// Begin to write a part of the volume to the file, pipe or directory that comes with this frame.
    case exportData(ExportOrder)
    /// How far an import or export is. One that nobody asks about for a while is ended.
    case transferring(job: Int)
    /// Write the metadata to a new file of this name in the volume's directory; one that is there goes.
    case copy(name: String)
    /// What was counted since the server started, and how things are now.
    case statistics
    /// One of the two descriptors of `HostView` comes with this frame.
    case introduce
    /// Is this session being served? Answered with `done`, or with ENOENT.
    case isServed(session: String)
}

extension ServerRequest {
    /// Asked twice it does what it does once.
    var isRepeatable: Bool {
        switch self {
        case .status, .sync, .isServed: true
        default: false
        }
    }

    /// Answered with more where the client shows where it is: who names ids of the machine must be in its namespace.
    var gainsByIntroduction: Bool {
        if case .attach(let attachment) = self { return attachment.identity.isOfSite == true }
        return !isForContainers
    }

    /// Answered to containers, too, of which some have the socket because somebody bound its directory: what gives them no
    /// more than a mount of the volume does. Of sessions only those that Apptainer made are detached for one.
    public var isForContainers: Bool {
        switch self {
        case .attach, .detach, .sync, .introduce, .isServed: true
        default: false
        }
    }
}

/// One session to be served.
public struct Attachment: Codable, Sendable, Equatable {
    /// The session's name: random, hexadecimal, 32 digits. The root directory answers it as the
    /// extended attribute `SessionMarker.attribute`, which proves that a path is this mount.
    public var session: String
    /// Where the client mounted it, for people.
    public var mountpoint: String
    public var readOnly: Bool
    public var identity: Identity
    /// Nil where an older client attached.
    public var origin: SessionOrigin?
    /// The snapshot to show, read-only; nil: the volume itself.
    public var snapshot: String?
    /// The answer is to be a `proof`. Nil from a client of an older version.
    public var wantsProof: Bool?

    public init(
        session: String, mountpoint: String, readOnly: Bool, identity: Identity, origin: SessionOrigin? = nil,
        snapshot: String? = nil
    ) {
        self.snapshot = snapshot
        self.session = session
        self.mountpoint = mountpoint
        self.readOnly = readOnly
        self.identity = identity
        self.origin = origin
    }
}

extension Attachment {
    /// Longest path that the kernel takes.
    private static let longestPath = 4096

    /// Whether it is what a client of ours could say: a container may ask to attach, too.
    public var isSound: Bool {
        session.utf8.count == 32 && session.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
            && mountpoint.utf8.count <= Self.longestPath && identity.users.isSound && identity.groups.isSound
            && (origin?.job?.utf8.count ?? 0) <= 64 && (origin?.device?.utf8.count ?? 0) <= 32
            && (snapshot?.utf8.count ?? 0) <= 255
    }
}

/// The proof, readable from inside any namespace, that a path is a given session's root.
public enum SessionMarker {
    public static let attribute = "berth.session"
    /// What the server made up for the session and told to nobody but who attached it. It is shown once.
    public static let proofAttribute = "berth.proof"
}

public enum ServerReply: Codable, Sendable, Equatable {
    case done
    case status(ServerStatus)
    case warming(WarmProgress)
    /// `pinned` ones stayed.
    case evicted(packs: Int, bytes: UInt64, pinned: Int)
    case unpinned(packs: Int)
    case cache(CacheReport)
    case staged(StagedTotal)
    case statistics(VolumeStatistics)
    case transferring(TransferProgress)
    case snapshot(SnapshotReply)
    case collected(CollectionSummary)
    case space(SpaceReply)
    /// To `attach`: what the mount shows as `SessionMarker.proofAttribute`, once.
    case proof(String)
    /// `code` is an errno, or 0 where none fits. The message names the thing, the cause and the fix. `status` is the exit
    /// status of who asked; nil from a server of an older version.
    case failed(code: Int32, message: String, status: Int32?)
}

/// What a server cannot do any more, should somebody get hold of it.
public struct Confinement: Codable, Sendable, Equatable {
    /// The version of the Landlock domain it is in; 0 where the kernel has none: then it reaches all files of its user.
    public var landlock: Int
    public var reachesNetwork: Bool
    /// Whether other processes of the user can read its memory.
    public var isMemoryOpen: Bool

    public init(landlock: Int, reachesNetwork: Bool, isMemoryOpen: Bool) {
        self.landlock = landlock
        self.reachesNetwork = reachesNetwork
        self.isMemoryOpen = isMemoryOpen
    }
}

public struct ServerStatus: Codable, Sendable, Equatable {
    public struct Session: Codable, Sendable, Equatable {
        public var session: String
        public var mountpoint: String
        public var readOnly: Bool
        /// Nil where the server is older, or an older client attached.
        public var origin: SessionOrigin?
        public var users: IdentityMap?

        public init(
            session: String, mountpoint: String, readOnly: Bool, origin: SessionOrigin? = nil, users: IdentityMap? = nil
        ) {
            self.session = session
            self.mountpoint = mountpoint
            self.readOnly = readOnly
            self.origin = origin
            self.users = users
        }
    }

    public var volume: String
    public var processID: Int32
    public var version: String
    public var sessions: [Session]
    /// The process that ends last: it holds the sessions while one server follows another. Nil where there is none.
    public var keeperID: Int32?
    /// `Handover.format` of the server; nil where nobody can take over from it.
    public var handover: Int?
    /// Why nobody could take over from the server, should it die; nil where somebody could.
    public var irreplaceable: String?
    /// Why the volume takes no writes, or nil where it does.
    public var readOnlyReason: String?
    /// What keeps the volume from working now; nil where the server is older.
    public var faults: [VolumeFault]?
    /// Sources of imported files that stay closed, since the volume's user has not named them; nil where the server is older.
    public var closedSources: [String]?
    /// The volume's list of sources as it was when the server started, which bounds what it can get at; nil where it is older.
    public var sourcesAtStart: [String]?
    /// What the server has given up for good; nil where it is older.
    public var confinement: Confinement?
    public var files: UInt64
    /// Bytes of file data named by extents.
    public var bytes: UInt64

    /// Whose end is the end of the volume's service.
    public var lastProcessID: Int32 { keeperID ?? processID }

    public init(
        volume: String, processID: Int32, version: String, sessions: [Session], readOnlyReason: String?,
        faults: [VolumeFault]? = nil, files: UInt64, bytes: UInt64, keeperID: Int32? = nil, handover: Int? = nil,
        irreplaceable: String? = nil, closedSources: [String]? = nil, sourcesAtStart: [String]? = nil,
        confinement: Confinement? = nil
    ) {
        self.confinement = confinement
        self.sourcesAtStart = sourcesAtStart
        self.closedSources = closedSources
        self.irreplaceable = irreplaceable
        self.keeperID = keeperID
        self.handover = handover
        self.volume = volume
        self.processID = processID
        self.version = version
        self.sessions = sessions
        self.readOnlyReason = readOnlyReason
        self.faults = faults
        self.files = files
        self.bytes = bytes
    }
}
