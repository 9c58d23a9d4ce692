import CLinux
import FileModel
import Glibc
import Synchronization

/// Opens a directory by its path so that nobody else can have led us elsewhere, nor can later: each part is opened by
/// descriptor, below the one before, and judged.
///
/// - A directory above belongs to root or to us. Where others may write to it, it is sticky, and the next part belongs to root or
///   to us.
/// - A symbolic link is followed where it belongs to root or to us.
/// - A group that is ours alone is no other: the primary group of the user, of the user's name, without further members.
///   Whose primary group it is besides, no name service tells at a price that one would pay here.
/// - The mode is the truth: with an access control list its group bits are the most that the list gives.
///
/// In a user namespace that lacks the host's root its directories show the overflow id, as those of all strangers do. That id
/// counts as root except in a sticky directory that others write to, where a stranger could have made what we look at.
public enum TrustedPath {
    /// What becomes of parts that are not there.
    enum Missing {
        case refused
        /// They are made, 0700.
        case made
    }

    /// Whom a path is proved against.
    public enum Strangers: Sendable {
        /// No other user can lead the path elsewhere.
        case refused
        /// Others may replace directories on the way, as the user said. Their links are still not followed.
        case allowed
    }

    /// The directory. One on the way that others could replace is named in the refusal, with the way out.
    public static func open(_ path: String, _ strangers: Strangers = .refused) throws(SystemFailure) -> HeldDirectory {
        try open(path, strangers, .refused)
    }

    static func open(
        _ path: String, _ strangers: Strangers, _ missing: Missing
    ) throws(SystemFailure) -> HeldDirectory {
        guard path.hasPrefix("/") else {
            throw SystemFailure(path, "is not an absolute path", status: .usage)
        }
        var walk = PathWalk(path, strangers, missing)
        return HeldDirectory(path: path, descriptor: try walk.run())
    }

    /// Judges a directory for what is to be in it: as `open`, and others must not be able to write to it, but for a sticky one.
    public static func judge(_ path: String) throws(SystemFailure) {
        let held = try open(path)
        let status = try explaining(path, "cannot be examined") { () throws(Errno) in try held.status() }
        if DirectoryJudgement(status) == .open { throw DirectoryJudgement.refusal(of: path, on: path, status) }
    }

    /// Asks now what a process that gives up sockets and files cannot ask later: which group is this user's alone.
    public static func prepare() { DirectoryJudgement.prepare() }

    /// Whether others than root and we may write to a directory, sticky or not.
    public static func isWritableByOthers(_ status: stat) -> Bool { DirectoryJudgement(status) != .closed }
}

/// Who may change the names in a directory.
enum DirectoryJudgement {
    /// Root, or we.
    case closed
    /// Others too, each their own names.
    case sticky
    /// Others too, ours as well.
    case open

    init(_ status: stat) {
        if status.st_mode & 0o022 == 0 || (status.st_mode & 0o002 == 0 && Self.isOwnGroup(status.st_gid)) {
            self = .closed
        } else {
            self = status.st_mode & S_ISVTX != 0 ? .sticky : .open
        }
    }

    /// The primary group of this user, which has the user's name and nobody else in it.
    private static func isOwnGroup(_ group: UInt32) -> Bool {
        own.withLock { known in
            let asker = Asker(user: geteuid(), namespace: ProcessTable.namespace("user", of: "self"))
            if known?.asker != asker { known = Known(asker: asker, group: find()) }
            return known?.group == group
        }
    }

    /// Who asked: a process may change its user, or join a namespace where ids have other numbers.
    private struct Asker: Equatable {
        let user: UInt32
        let namespace: UInt64?
    }

    private struct Known {
        let asker: Asker
        /// As this namespace numbers it; nil where the primary group is others', too.
        let group: UInt32?
    }

    /// Asked once: a server that has given up sockets cannot ask a name service again.
    private static let own = Mutex<Known?>(nil)

    private static func find() -> UInt32? {
        // What the name service knows are ids outside.
        guard let account = Account.named(id: Identity.userOutside()), let group = Group.named(id: account.groupID),
            group.name == account.name, group.members.allSatisfy({ $0 == account.name })
        else { return nil }
        guard let ids = NamespaceIDs(of: "self", .groups), !ids.ranges.isEmpty else { return account.groupID }
        let range = ids.ranges.first { account.groupID >= $0.outside && account.groupID - $0.outside < $0.count }
        return range.map { $0.inside + (account.groupID - $0.outside) }
    }

    /// Has the name service asked now, for a process that soon cannot.
    static func prepare() { _ = isOwnGroup(0) }

    static func refusal(of directory: String, on path: String, _ status: stat) -> SystemFailure {
        let isOurs = status.st_uid == geteuid()
        let below = directory == path ? "" : ", and \(path) lies below it"
        return SystemFailure(
            directory, "can be written to by others\(below)",
            fix: (isOurs ? "run: chmod go-w \(directory), or " : "")
                + "choose a directory that nobody else can write to",
            errno: .accessDenied, status: .noPermission)
    }

    static func foreign(_ place: String, on path: String, owner: UInt32, what: String) -> SystemFailure {
        let name = Account.named(id: owner)?.name ?? "?"
        let below = place == path ? "" : ", and \(path) lies below it"
        return SystemFailure(
            place, "\(what) user \(name) (uid \(owner)), not to you (uid \(geteuid()))\(below)",
            fix: "remove it, or set BERTH_RUNTIME_DIR, the XDG variables or the option to directories of yours",
            errno: .accessDenied, status: .noPermission)
    }
}

/// One walk along a path.
private struct PathWalk {
    /// As the kernel follows at most.
    private static let linkLimit = 40
    /// A part that goes and comes while it is looked at.
    private static let retryLimit = 16
    private static let overflowID: UInt32 = 65534

    private let path: String
    private let strangers: TrustedPath.Strangers
    private let missing: TrustedPath.Missing
    private let user = geteuid()
    /// Parts still to go, the next one last.
    private var pending: [String]
    private var links = 0
    private var retries = 0
    /// Where the walk is, for people; empty at the root.
    private var place = ""
    /// Whether others may write to the directory in which the next part is looked up.
    private var isShared = false

    init(_ path: String, _ strangers: TrustedPath.Strangers, _ missing: TrustedPath.Missing) {
        self.path = path
        self.strangers = strangers
        self.missing = missing
        pending = path.words(at: "/").reversed().map(String.init)
    }

    mutating func run() throws(SystemFailure) -> FileDescriptor {
        var current = try root()
        try judgeOwner(Self.status(of: current.rawValue, place), isDirectory: true)
        while let part = pending.popLast() {
            if part == "." { continue }
            try judgeWritable(current.rawValue)
            let next = try look(up: part, in: current.rawValue)
            guard next >= 0 else {
                // A link was put in place of the part, or a directory made.
                if pending.last == Self.fromRoot {
                    pending.removeLast()
                    current = try root()
                }
                continue
            }
            current = FileDescriptor(owning: next)
        }
        return current
    }

    /// Says that a link leads on from the root. No part of a path has a slash.
    private static let fromRoot = "/"

    private mutating func root() throws(SystemFailure) -> FileDescriptor {
        place = ""
        isShared = false
        return try explaining("/", "cannot be opened") { () throws(Errno) in
            try FileDescriptor.open("/", Int32(BERTH_O_PATH) | O_DIRECTORY)
        }
    }

    private static func status(of descriptor: Int32, _ place: String) throws(SystemFailure) -> stat {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw SystemFailure(place.isEmpty ? "/" : place, "cannot be examined", .current)
        }
        return status
    }

    /// Opens the next part, or answers -1 where `pending` has other parts in its place now.
    private mutating func look(up part: String, in directory: Int32) throws(SystemFailure) -> Int32 {
        let name = part == ".." ? parent : "\(place)/\(part)"
        // O_DIRECTORY has an automounter mount what is there, which O_PATH alone has not.
        let flags = Int32(BERTH_O_PATH) | O_CLOEXEC | O_NOFOLLOW
        let number = berth_open_at(directory, part, flags | O_DIRECTORY, 0)
        if number >= 0 {
            let found = FileDescriptor(owning: number)
            try judgeOwner(try Self.status(of: number, name), isDirectory: true, at: name)
            place = name
            return found.take()
        }
        switch errno {
        case ENOENT where missing == .made:
            guard berth_make_directory_at(directory, part, 0o700) == 0 || errno == EEXIST else {
                throw SystemFailure(name, "the directory cannot be made", .current, status: .cannotCreate)
            }
            try again(part)
        case ENOTDIR, ELOOP:
            let number = berth_open_at(directory, part, flags, 0)
            guard number >= 0 else {
                guard errno == ENOENT else { throw SystemFailure(name, "cannot be opened", .current) }
                try again(part)
                return -1
            }
            try follow(FileDescriptor(owning: number), name)
        default:
            throw SystemFailure(name, "cannot be opened as a directory", .current)
        }
        return -1
    }

    private mutating func again(_ part: String) throws(SystemFailure) {
        retries += 1
        guard retries <= Self.retryLimit else {
            throw SystemFailure("\(place)/\(part)", "changes while it is looked at", status: .noPermission)
        }
        pending.append(part)
    }

    private var parent: String { String(place[..<(place.lastSlash ?? place.startIndex)]) }

    /// Puts what a symbolic link says in the place of its name.
    private mutating func follow(_ link: consuming FileDescriptor, _ name: String) throws(SystemFailure) {
        let status = try Self.status(of: link.rawValue, name)
        guard status.st_mode & S_IFMT == S_IFLNK else {
            throw SystemFailure(name, "is not a directory", .notDirectory)
        }
        try judgeOwner(status, isDirectory: false, at: name)
        // In a directory of all, a link of ours may be there by a second name that somebody else gave it.
        guard !isShared || status.st_nlink == 1 else {
            throw SystemFailure(
                name, "is a symbolic link with \(status.st_nlink) names, in a directory that others can write to",
                fix: "remove it", errno: .accessDenied, status: .noPermission)
        }
        links += 1
        guard links <= Self.linkLimit else {
            throw SystemFailure(path, "goes through more than \(Self.linkLimit) symbolic links", Errno(ELOOP))
        }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = readlinkat(link.rawValue, "", &buffer, buffer.count)
        guard count > 0, count < buffer.count else { throw SystemFailure(name, "cannot be followed", .current) }
        let target = String(decoding: buffer[..<count], as: UTF8.self)
        pending += target.words(at: "/").reversed().map(String.init)
        if target.hasPrefix("/") { pending.append(Self.fromRoot) }
    }

    // MARK: Judging

    private func judgeOwner(_ status: stat, isDirectory: Bool, at name: String = "/") throws(SystemFailure) {
        if status.st_uid == 0 || status.st_uid == user { return }
        if status.st_uid == Self.overflowID, !isShared, Self.lacksRoot { return }
        if isDirectory, strangers == .allowed { return }
        throw DirectoryJudgement.foreign(
            name, on: path, owner: status.st_uid, what: isDirectory ? "belongs to" : "is a symbolic link made by")
    }

    /// Where the host's root has no id: in rootless containers, and where a user has made a namespace.
    private static var lacksRoot: Bool {
        guard let map = NamespaceIDs(of: "self") else { return false }
        return !map.ranges.contains { $0.outside == 0 }
    }

    /// Who may put something else at the next part's place.
    private mutating func judgeWritable(_ directory: Int32) throws(SystemFailure) {
        let name = place.isEmpty ? "/" : place
        let status = try Self.status(of: directory, place)
        switch DirectoryJudgement(status) {
        case .closed: isShared = false
        case .sticky: isShared = true
        case .open:
            guard strangers == .allowed else { throw DirectoryJudgement.refusal(of: name, on: path, status) }
            isShared = true
        }
    }
}
