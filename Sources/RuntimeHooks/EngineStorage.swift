import Control
import FileModel
import LinuxSystem

/// A container as the storage of podman (containers/storage) knows it.
struct EngineContainer: Equatable {
    /// 64 hexadecimal digits.
    var id: String
    /// Nil where the storage tells none.
    var name: String?
    /// The image's name, or its id; nil for a container without an image.
    var image: String?
    /// Where the runtime will write the pid of the container's first process.
    var pidFile: String?
}

/// What the engine's storage says of a container that is being made. Podman itself cannot be asked: it waits for the hook,
/// and holds its locks.
///
/// The container's configuration comes from podman, and names places in the storage. What lies there counts if it belongs
/// to the engine's user and nobody else may write it: then podman read the same files.
struct EngineStorage {
    /// Keys of annotations that an image has, or why nobody can tell.
    enum ImageKeys: Equatable {
        case known(Set<[UInt8]>)
        case unknown(String)
    }

    /// Ten thousand containers. A longer list takes a hook's time.
    private static let maximumListBytes = 16 << 20
    /// The most that containers/image takes of a registry.
    private static let maximumManifestBytes = 4 << 20
    /// An image has two or three: by digest, and the newest one.
    private static let maximumManifests = 64

    /// `<root>/<driver>-containers`, `-images`.
    private struct Place: Hashable {
        var root: String
        var driver: String
    }

    private let configuration: RuntimeConfiguration

    init(_ configuration: RuntimeConfiguration) {
        self.configuration = configuration
    }

    /// The container, where it can be told, and what its image annotates.
    func look() -> (container: EngineContainer?, keys: ImageKeys) {
        let own = configuration.source(ofBindAt: "/run/.containerenv").flatMap(Self.userData)
        let shared = configuration.source(ofBindAt: "/dev/shm").flatMap(Self.userData)
        let layer = configuration.root.flatMap(Self.layer)
        let pidFile = own.map { "\($0.place.root)/\($0.place.driver)-containers/\($0.container)/userdata/pidfile" }
        let unlisted = own.map { EngineContainer(id: $0.container, pidFile: pidFile) }
        var places: [Place] = []
        for place in [layer?.place, shared?.place, own?.place].compactMap({ $0 }) where !places.contains(place) {
            places.append(place)
        }
        for place in places {
            do throws(SystemFailure) {
                for list in ["containers.json", "volatile-containers.json"] {
                    guard let bytes = try Self.list(place, list) else { continue }
                    let found =
                        layer.map { Self.record(in: bytes, "layer", $0.layer) }
                        ?? own.map { Self.record(in: bytes, "id", $0.container) } ?? nil
                    guard var record = found else { continue }
                    record.container.pidFile = pidFile
                    return (record.container, Self.keys(of: record, places))
                }
            } catch {
                return (unlisted, .unknown(error.message))
            }
        }
        return (unlisted, .unknown("the engine's storage does not list the container"))
    }

    // MARK: Places

    /// `<root>/<driver>-containers/<container>/userdata/...`
    private static func userData(_ path: String) -> (place: Place, container: String)? {
        let parts = path.parts(at: "/")
        guard parts.count >= 5, parts[0].utf8.isEmpty, PathBytes.isClean(path) else { return nil }
        for index in parts.indices.dropFirst().dropLast(2) {
            guard let driver = name(parts[index], endingWith: "-containers"), isID(parts[index + 1]),
                parts[index + 2].isBytes(of: "userdata")
            else { continue }
            return (
                Place(root: parts[..<index].joined(separator: "/"), driver: driver), String(parts[index + 1])
            )
        }
        return nil
    }

    /// A container's own layer, from the directory that it sees as its root: each driver has its own form of it.
    private static func layer(_ path: String) -> (place: Place, layer: String)? {
        let forms: [(driver: String, middle: String?, end: String?)] = [
            ("overlay", nil, "merged"), ("vfs", "dir", nil), ("btrfs", "subvolumes", nil), ("zfs", "graph", nil),
        ]
        guard PathBytes.isClean(path), path.startsWithBytes(of: "/") else { return nil }
        for form in forms {
            var parts = path.parts(at: "/")
            if let end = form.end {
                guard parts.popLast()?.isBytes(of: end) == true else { continue }
            }
            guard let layer = parts.popLast(), isID(layer) else { continue }
            if let middle = form.middle {
                guard parts.popLast()?.isBytes(of: middle) == true else { continue }
            }
            guard parts.popLast()?.isBytes(of: form.driver) == true, parts.count > 1 else { continue }
            return (Place(root: parts.joined(separator: "/"), driver: form.driver), String(layer))
        }
        return nil
    }

    private static func name(_ part: Substring, endingWith suffix: String) -> String? {
        guard part.endsWithBytes(of: suffix) else { return nil }
        let name = part.droppingBytes(last: suffix.utf8.count)
        return !name.utf8.isEmpty && name.utf8.allSatisfy { (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) }
            ? String(name) : nil
    }

    private static func isID(_ text: some StringProtocol) -> Bool {
        text.utf8.count == 64 && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    // MARK: Lists

    /// A container's entry in a list.
    private struct Record {
        var container: EngineContainer
        /// The image's id; empty for a container of the user's own directory (--rootfs).
        var image: String
    }

    private static func list(_ place: Place, _ name: String) throws(SystemFailure) -> [UInt8]? {
        let path = "\(place.root)/\(place.driver)-containers"
        return try OwnFiles.open(path)?.read(name, limit: maximumListBytes)
    }

    /// The object in a list of objects whose member `key` is this text. Most of the list is only passed over.
    private static func record(in bytes: [UInt8], _ key: String, _ value: String) -> Record? {
        for range in JSONObjects.ranges(in: bytes, holding: Array(value.utf8)) {
            guard let text = JSONText(Array(bytes[range])),
                text.text(text.member(key, of: text.root))?.isBytes(of: value) == true,
                let id = text.text(text.member("id", of: text.root)), isID(id)
            else { continue }
            var container = EngineContainer(id: id)
            let names = text.member("names", of: text.root).flatMap { text.elements(of: $0) } ?? []
            container.name = names.first.flatMap { text.text($0) }
            let image = text.text(text.member("image", of: text.root)) ?? "?"
            // Podman's own words on the container, as JSON in a string.
            let metadata = text.text(text.member("metadata", of: text.root)).flatMap { JSONText(Array($0.utf8)) }
            let imageName = metadata.flatMap { $0.text($0.member("image-name", of: $0.root)) } ?? image
            container.image = imageName.utf8.isEmpty ? nil : imageName
            return Record(container: container, image: image)
        }
        return nil
    }

    // MARK: Images

    /// The keys in all manifests that are stored of an image: podman takes the newest, or one of a certain digest. All
    /// objects' keys count, as readers of JSON differ in how they know "annotations" again.
    private static func keys(of record: Record, _ places: [Place]) -> ImageKeys {
        let image = record.image
        guard isID(image) else {
            return image.utf8.isEmpty ? .known([]) : .unknown("the engine's storage names no image of the container")
        }
        for place in places {
            do throws(SystemFailure) {
                guard let files = try OwnFiles.open("\(place.root)/\(place.driver)-images/\(image)") else { continue }
                let names = try files.names().filter(isManifest)
                guard names.contains("manifest"), names.count <= maximumManifests else {
                    return .unknown("its image has no manifest, or more than \(maximumManifests)")
                }
                var keys: Set<[UInt8]> = []
                for name in names {
                    guard let bytes = try files.read(name, limit: maximumManifestBytes), let text = JSONText(bytes)
                    else {
                        return .unknown("a manifest of its image is no JSON")
                    }
                    keys.formUnion(text.keys(in: text.root))
                }
                return .known(keys)
            } catch {
                return .unknown(error.message)
            }
        }
        return .unknown("the engine's storage does not have its image")
    }

    /// `manifest` and `manifest-DIGEST`; the storage writes names that are not all lower case letters as "=BASE64".
    private static func isManifest(_ name: String) -> Bool {
        name.isBytes(of: "manifest") || name.startsWithBytes(of: "manifest-")
            || name.startsWithBytes(of: "=bWFuaWZlc3Qt")
    }
}
