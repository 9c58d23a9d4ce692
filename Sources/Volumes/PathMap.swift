import Control
import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem

/// Which volume belongs at which path: what is kept with each volume (`path=`), overridden by the user's own file.
///
/// Invariants
/// - The user's file is replaced whole, under a lock, and holds clean paths only.
public struct PathMap: Sendable {
    public struct Entry: Encodable, Equatable, Sendable {
        public enum Source: String, Encodable, Sendable {
            /// Kept with the volume.
            case volume
            /// In the user's file.
            case user
        }

        public var volume: String
        public var path: String
        public var source: Source
    }

    /// What the user's file holds. Readers refuse a format they do not know.
    private struct Overrides: Codable {
        static let currentFormat = 1
        var format = currentFormat
        var paths: [String: String] = [:]
    }

    private let registry: VolumeRegistry

    public init(_ registry: VolumeRegistry) {
        self.registry = registry
    }

    /// The user's file.
    private var file: String { "\(registry.paths.configuration)/paths.json" }

    /// Every volume that has a path, by name.
    public func entries() throws(SystemFailure) -> [Entry] {
        let overrides = try overrides()
        var result: [Entry] = []
        for record in try registry.list().records {
            if let path = overrides.paths[record.name] {
                result.append(Entry(volume: record.name, path: try checked(path, file).description, source: .user))
            } else if let path = record.options.path {
                let clean = try checked(path, "volume \"\(record.name)\"")
                result.append(Entry(volume: record.name, path: clean.description, source: .volume))
            }
        }
        return result
    }

    /// The volume's path, or nil where it has none.
    public func path(of name: VolumeName) throws(SystemFailure) -> ContainerPath? {
        let record = try registry.record(name)
        if let path = try overrides().paths[record.name] { return try checked(path, file) }
        guard let path = record.options.path else { return nil }
        return try checked(path, "volume \"\(name)\"")
    }

    /// Two volumes at one path, or one inside the other; nil where all can be there together.
    public static func conflict(_ entries: [(volume: String, path: ContainerPath)]) -> SystemFailure? {
        for (index, one) in entries.enumerated() {
            for other in entries[(index + 1)...] {
                let how: String
                if one.path == other.path {
                    how = "have the same path \(one.path)"
                } else if one.path.contains(other.path) || other.path.contains(one.path) {
                    how = "lie inside each other (\(one.path) and \(other.path))"
                } else {
                    continue
                }
                return SystemFailure(
                    "volumes \"\(one.volume)\" and \"\(other.volume)\"", how,
                    fix: "give one another path (`berth path set \(other.volume) /PATH`), or name the one you want",
                    errno: .alreadyExists, status: .configuration)
            }
        }
        return nil
    }

    /// Where two of the map's volumes are in each other's way; nil where none are.
    public func conflict() throws(SystemFailure) -> SystemFailure? {
        var all: [(volume: String, path: ContainerPath)] = []
        for entry in try entries() { all.append((entry.volume, try ContainerPath(entry.path))) }
        return Self.conflict(all)
    }
}

// MARK: - Changes

extension PathMap {
    /// Gives a volume a path: in the user's file, or kept with the volume, which takes an override away.
    public func set(_ name: VolumeName, _ path: ContainerPath, withVolume: Bool) throws(SystemFailure) {
        var record = try registry.record(name)
        try change { overrides throws(SystemFailure) in
            for entry in try entries() where entry.volume != record.name {
                let pair = [(record.name, path), (entry.volume, try ContainerPath(entry.path))]
                if let failure = Self.conflict(pair) { throw failure }
            }
            overrides.paths[record.name] = withVolume ? nil : path.description
            guard withVolume else { return }
            record.options.path = path.description
            try registry.replace(record)
        }
    }

    /// Takes the user's override away, or the path that is kept with the volume.
    public func remove(_ name: VolumeName, withVolume: Bool) throws(SystemFailure) {
        var record = try registry.record(name)
        try change { overrides throws(SystemFailure) in
            if withVolume {
                guard record.options.path != nil else {
                    throw Self.nothing(name, "has no path of its own", fix: nil)
                }
                record.options.path = nil
                try registry.replace(record)
            } else {
                guard overrides.paths[record.name] != nil else {
                    let own = record.options.path
                    throw Self.nothing(
                        name, own.map { "has its path \($0) from the volume itself" } ?? "has no path",
                        fix: own.map { _ in "take it from there with `berth path rm --with-volume \(name)`" })
                }
                overrides.paths[record.name] = nil
            }
        }
    }

    /// The volume is gone: a later one of its name starts without its path.
    func forget(_ name: String) throws(SystemFailure) {
        guard try overrides().paths[name] != nil else { return }
        try change { $0.paths[name] = nil }
    }

    private static func nothing(_ name: VolumeName, _ cause: String, fix: String?) -> SystemFailure {
        SystemFailure("volume \"\(name)\"", cause, fix: fix, status: .noInput)
    }

    private func change(_ body: (inout Overrides) throws(SystemFailure) -> Void) throws(SystemFailure) {
        try SecureDirectory.make(registry.paths.configuration)
        // Two commands at once must not lose each other's change.
        try FileLock.holding(registry.recordLock, within: .seconds(10)) {
            () throws(SystemFailure) in try changeAlone(body)
        }
    }

    private func changeAlone(_ body: (inout Overrides) throws(SystemFailure) -> Void) throws(SystemFailure) {
        let before = try overrides()
        var after = before
        try body(&after)
        guard after.paths != before.paths else { return }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        do {
            try AtomicFile.replace(file, Array(try encoder.encode(after)) + [0x0A])
        } catch let failure as SystemFailure {
            throw failure
        } catch {
            throw SystemFailure(file, "cannot be written: \(error)", status: .software)
        }
    }

    private func overrides() throws(SystemFailure) -> Overrides {
        guard let bytes = try AtomicFile.read(file) else { return Overrides() }
        guard let found = try? JSONDecoder().decode(Overrides.self, from: Data(bytes)),
            found.format == Overrides.currentFormat
        else {
            throw SystemFailure(
                file, "is not a path map of this program", fix: "mend it, or remove it and set the paths again",
                status: .configuration)
        }
        return found
    }

    private func checked(_ path: String, _ source: String) throws(SystemFailure) -> ContainerPath {
        do {
            return try ContainerPath(path)
        } catch {
            throw SystemFailure(
                source, "has the \(error.subject), which \(error.cause)", fix: "set it again with `berth path set`",
                status: .configuration)
        }
    }
}
