import Control
import FileModel
import Glibc
import LinuxSystem
import Sandbox
import Volumes

/// What of the file system a volume's server keeps: the volume's own places, and what libraries read. It is entered before
/// anything that others wrote (the database, packs, objects) is read, and before a second thread starts.
///
/// Not in it, on purpose: the user's other files and volumes, other processes in `/proc`, and every directory that is named
/// only later. A new source of imports or a lost cache directory therefore means a new server; an export's files are made
/// by its client (`ExportTree`), and a lost socket by the keeper (`KeeperErrands`).
struct ServerDomain {
    /// Read by glibc, OpenSSL, libcurl and the allocator, on one system or another.
    private static let systemPlaces = [
        "/etc", "/usr", "/lib", "/lib64", "/bin", "/sbin", "/sys/devices/system/cpu", "/proc/self", "/proc/meminfo",
        "/proc/stat", "/proc/cpuinfo", "/proc/sys/vm/overcommit_memory", "/dev/zero", "/dev/random", "/dev/urandom",
        // Where /etc/resolv.conf leads, and certificates on some systems.
        "/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf", "/run/connman", "/var/lib/ca-certificates",
    ]

    let record: VolumeRecord
    let paths: VolumePaths
    let site: SitePaths
    let cache: String
    let environment: [String: String]

    /// Answers the version of Landlock; 0 where the kernel has none and nothing is closed.
    func enter() throws(SystemFailure) -> Int {
        // SQLite's own temporary files, which it would put into /var/tmp.
        setenv("SQLITE_TMPDIR", paths.directory, 1)
        // Made by whoever locks it first; a grant needs it to be there.
        _ = try? FileDescriptor.open(site.recordLock, O_RDWR | O_CREAT | O_NOFOLLOW)
        do {
            return try Landlock.enter(grants)
        } catch {
            throw SystemFailure("berthfs", error.description, status: .systemError)
        }
    }

    var grants: [Landlock.Grant] {
        var grants = Self.systemPlaces.map { Landlock.Grant($0, .read) }
        grants += [
            Landlock.Grant("/dev/null", .write), Landlock.Grant(paths.directory, .write), Landlock.Grant(cache, .write),
            Landlock.Grant(site.servers, .remove), Landlock.Grant(site.settings, .read),
            Landlock.Grant(site.configuration, .list), Landlock.Grant(site.recordLock, .write),
        ]
        if case .directory(let store) = record.place(paths) { grants.append(Landlock.Grant(store, .write)) }
        for base in record.bases ?? [] {
            guard let name = try? VolumeName(base.volume) else { continue }
            let original = VolumeRecord(name: name, createdAt: "", options: base.options)
            guard case .directory(let store) = original.place(paths.sibling(base.volume)) else { continue }
            grants.append(Landlock.Grant(store, .read))
        }
        for source in record.sources ?? [] {
            guard let path = ForeignStores.path(of: source) else { continue }
            grants.append(Landlock.Grant(path, .read))
        }
        if needsKeys { grants += keys }
        return grants
    }

    /// A record of a version that kept no sources says nothing of what the metadata import from.
    private var needsKeys: Bool {
        record.reach(paths) == .network || record.sources?.contains { ForeignStores.path(of: $0) == nil } ?? true
    }

    /// Keys and certificates of buckets. Tools that renew them replace the files, so it is directories where these hold
    /// nothing else.
    private var keys: [Landlock.Grant] {
        let named = [
            environment["AWS_SHARED_CREDENTIALS_FILE"], environment["AWS_CONFIG_FILE"], environment["AWS_CA_BUNDLE"],
            environment["SSL_CERT_FILE"], environment["SSL_CERT_DIR"], environment["CURL_CA_BUNDLE"],
            record.options.bucket?.certificates,
        ]
        let bases = (record.bases ?? []).map(\.options.bucket?.certificates)
        return [Landlock.Grant(site.configuration, .read), Landlock.Grant("\(site.home)/.aws", .read)]
            + (named + bases).compactMap { $0 }.map { Landlock.Grant($0, .read) }
    }
}
