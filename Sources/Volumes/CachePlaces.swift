import Control
import FileModel
import Glibc
import LinuxSystem

/// Where a volume's copies may lie on this machine: places in order of preference, of which the first that can be used is.
/// They are written for every node at once: `/local/%u:$SLURM_TMPDIR:$HOME/.cache/berth`, with `%u` for the user's name
/// and variables of the environment. One that a node lacks is passed over; one that others can write to is refused.
public struct CachePlaces: Sendable {
    private let volume: String
    /// As they were written.
    private let written: [String]
    private let environment: [String: String]
    private let user: String

    public init(
        _ record: VolumeRecord, _ paths: SitePaths, _ settings: UserSettings, environment: [String: String],
        user: String? = Account.named(id: geteuid())?.name
    ) {
        volume = record.name
        let list = record.options.cacheDirectory ?? settings.cacheDirectory ?? paths.cache
        written = list.split(separator: ":").map(String.init)
        self.environment = environment
        self.user = user ?? "\(geteuid())"
    }

    // MARK: As text

    /// A list of places that can be understood, as it is.
    static func checked(_ list: String) throws(SystemFailure) -> String {
        for place in list.split(separator: ":", omittingEmptySubsequences: false).map(String.init) {
            guard place.count > 1, PathBytes.isClean(place), let parts = parts(of: place) else {
                throw VolumeOptions.bad(
                    "cache-dir", list,
                    "must be directories below /, or below a $VARIABLE, after colons, with %u for your name, and without \"..\" or empty parts"
                )
            }
            switch parts.first {
            case .text(let text) where text.hasPrefix("/"): continue
            case .variable: continue
            default:
                throw VolumeOptions.bad("cache-dir", list, "has a place that begins with neither / nor a $VARIABLE")
            }
        }
        return list
    }

    private enum Part {
        case text(String)
        case variable(String)
        case user
    }

    /// Nil where it is not well formed.
    private static func parts(of place: String) -> [Part]? {
        var parts: [Part] = []
        var rest = Substring(place)
        while let letter = rest.first {
            switch letter {
            case "%":
                guard rest.dropFirst().first == "u" else { return nil }
                parts.append(.user)
                rest = rest.dropFirst(2)
            case "$":
                rest = rest.dropFirst()
                let isBraced = rest.first == "{"
                if isBraced { rest = rest.dropFirst() }
                let name = rest.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
                rest = rest.dropFirst(name.count)
                guard !name.isEmpty, !isBraced || rest.first == "}" else { return nil }
                if isBraced { rest = rest.dropFirst() }
                parts.append(.variable(String(name)))
            default:
                let text = rest.prefix { $0 != "%" && $0 != "$" }
                parts.append(.text(String(text)))
                rest = rest.dropFirst(text.count)
            }
        }
        return parts
    }

    /// The variables that the user's volumes name, which their servers must see.
    static func variables(_ registry: VolumeRegistry) -> Set<String> {
        let settings = (try? UserSettings.load(registry.paths)) ?? UserSettings()
        let records = (try? registry.list())?.records ?? []
        let lists = records.map(\.options.cacheDirectory) + [settings.cacheDirectory]
        let parts = lists.compactMap { $0 }.flatMap { $0.split(separator: ":") }
            .flatMap { Self.parts(of: String($0)) ?? [] }
        return Set(
            parts.compactMap { part in
                if case .variable(let name) = part { return name }
                return nil
            })
    }

    /// Nil where a variable is not set here, or leads nowhere.
    private func expand(_ place: String) -> String? {
        var path = ""
        for part in Self.parts(of: place) ?? [] {
            switch part {
            case .text(let text): path += text
            case .user: path += user
            case .variable(let name):
                guard let value = environment[name], !value.isEmpty else { return nil }
                path += value
            }
        }
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        return path.hasPrefix("/") && path.count > 1 && PathBytes.isClean(path) ? path : nil
    }

    // MARK: On disk

    /// The volume's directories that are there.
    public var existing: [String] {
        written.compactMap(expand).map { "\($0)/\(volume)" }.filter { directory in
            // What somebody could lead elsewhere is not looked into, and above all not removed.
            guard let status = try? TrustedPath.open(directory).status() else { return false }
            return status.st_uid == geteuid()
        }
    }

    /// The directory that is in use, or would be, for people.
    public var likely: String {
        existing.first ?? "\(written.compactMap(expand).first ?? written.first ?? "")/\(volume)"
    }

    /// Makes the volume's directory in the first place that can be used.
    public func choose() throws(SystemFailure) -> String {
        var reasons: [String] = []
        for place in written {
            guard let parent = expand(place) else {
                reasons.append("\(place): names nothing here")
                continue
            }
            do throws(SystemFailure) {
                return try make(parent)
            } catch {
                // Somebody else's hand in it is no reason to go on quietly.
                if error.status == .noPermission { throw error }
                reasons.append(error.message)
            }
        }
        throw SystemFailure(
            "the cache of volume \"\(volume)\"", "has no place on this machine (\(reasons.joined(separator: "; ")))",
            fix: "name one with `berth volume set \(volume) cache-dir=…`", status: .cannotCreate)
    }

    /// Refuses a place that is there and that others can write to.
    public func judge() throws(SystemFailure) {
        for parent in written.compactMap(expand) where access(parent, F_OK) == 0 { try TrustedPath.judge(parent) }
    }

    private func make(_ parent: String) throws(SystemFailure) -> String {
        // Nobody has a directory right below / made by us, not even root.
        let top = "/" + (parent.words(at: "/").first ?? "")
        guard access(top, F_OK) == 0 else { throw SystemFailure(top, "is not there", status: .noInput) }
        let directory = "\(parent)/\(volume)"
        // What others could write to may hold what they wrote: it is not closed and then believed.
        if access(directory, F_OK) == 0 { try TrustedPath.judge(directory) }
        try SecureDirectory.make(directory)
        guard access(directory, R_OK | W_OK | X_OK) == 0 else {
            throw SystemFailure(directory, "cannot be written to", .current, status: .cannotCreate)
        }
        return directory
    }
}
