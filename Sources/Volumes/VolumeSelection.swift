import Control
import FileModel
import LinuxSystem

/// A volume, and where a program or a container is to see it.
public struct PlacedVolume: Equatable, Sendable {
    /// `NAME`, or `NAME@SNAPSHOT`.
    public var name: String
    public var path: ContainerPath
    public var readOnly: Bool

    /// The volume, without a snapshot's name.
    public var volume: String { name.words(at: "@").first.map(String.init) ?? name }
}

extension PathMap {
    /// What `NAME[:/PATH][:ro]` words ask for; without words every volume of the map. Never empty, and no two in each
    /// other's way.
    public func selection(_ words: [String]) throws(SystemFailure) -> [PlacedVolume] {
        var result: [PlacedVolume] = []
        if words.isEmpty {
            for entry in try entries() {
                result.append(
                    PlacedVolume(name: entry.volume, path: try ContainerPath(entry.path), readOnly: false))
            }
        }
        for word in words {
            let request = try VolumeRequest(word)
            let name = try VolumeReference(request.name)
            let own = try path(of: name.volume)
            guard let path = request.path ?? own else {
                throw SystemFailure(
                    "volume \"\(name)\"", "has no path",
                    fix: "give it one with `berth path set \(name) /PATH`, or write \(name):/PATH", status: .usage)
            }
            result.append(
                PlacedVolume(name: name.description, path: path, readOnly: request.readOnly || name.snapshot != nil))
        }
        guard !result.isEmpty else {
            throw SystemFailure(
                "the path map", "has no volume", fix: "give one a path with `berth path set NAME /PATH`",
                status: .usage)
        }
        if let failure = Self.conflict(result.map { ($0.name, $0.path) }) { throw failure }
        return result
    }
}
