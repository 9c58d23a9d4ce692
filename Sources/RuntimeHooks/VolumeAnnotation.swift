import FileModel
import LinuxSystem
import Volumes

/// The values of `berth.volume` and of `berth.volume.ANYTHING`: `NAME[:/PATH][:ro|:rw]`, and more such words after
/// commas. Podman's command line splits an annotation at a comma unless it is quoted for it, so that several
/// annotations are the easier way to name several volumes.
package struct VolumeAnnotation: Equatable {
    static let name = "berth.volume"

    struct Word: Equatable {
        var volume: VolumeName
        /// Nil: the path kept with the volume.
        var path: String?
        var isReadOnly = false
    }

    /// Each is a mount of its own.
    private static let maximumWords = 16
    private static let maximumBytes = 8192
    private static let form = "write \(name)=VOLUME[:/PATH][:ro]"

    var words: [Word]

    package init(_ configuration: RuntimeConfiguration) throws(SystemFailure) {
        guard let values = configuration.annotations(Self.name) else {
            throw SystemFailure("annotation \(Self.name)", "is no string", fix: Self.form, status: .dataError)
        }
        try self.init(values)
    }

    init(_ values: [String]) throws(SystemFailure) {
        let parts = values.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false) }
        guard values.reduce(0, { $0 + $1.utf8.count }) <= Self.maximumBytes, parts.count <= Self.maximumWords else {
            throw SystemFailure(
                "annotation \(Self.name)", "names more than \(Self.maximumWords) volumes", fix: "name fewer",
                status: .usage)
        }
        words = []
        for part in parts { words.append(try Self.word(part)) }
    }

    private static func word(_ text: Substring) throws(SystemFailure) -> Word {
        let subject = "annotation \(name), \"\(text.prefix(200))\""
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard let first = parts.first, !first.isEmpty else {
            throw SystemFailure(subject, "names no volume", fix: form, status: .usage)
        }
        var word = Word(volume: try VolumeName(first))
        var rest = parts.dropFirst()
        if let last = rest.last, last == "ro" || last == "rw" {
            word.isReadOnly = last == "ro"
            rest = rest.dropLast()
        }
        guard rest.count <= 1 else {
            throw SystemFailure(subject, "has a ':' too many; a path cannot hold one", fix: form, status: .usage)
        }
        if let path = rest.first { word.path = try AnnotationPath.checked(path, subject) }
        return word
    }
}

/// Where a volume may appear in a container.
enum AnnotationPath {
    /// What the container itself is made of.
    private static let reserved = ["/proc", "/sys", "/dev"]

    static func checked(_ path: String, _ subject: String) throws(SystemFailure) -> String {
        func refusal(_ cause: String) -> SystemFailure {
            SystemFailure(subject, cause, fix: "give an absolute path in the container, such as /data", status: .usage)
        }
        guard path.hasPrefix("/") else { throw refusal("the path \"\(path.prefix(200))\" is not absolute") }
        guard path.utf8.count < 4096 else { throw refusal("the path is longer than 4095 bytes") }
        guard path.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw refusal("the path holds a newline or another control character")
        }
        var parts = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        if parts.last == "" { parts = parts.dropLast() }
        guard !parts.isEmpty else { throw refusal("the path \"/\" would hide the whole container") }
        guard parts.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." }) else {
            throw refusal("the path \"\(path)\" holds \"..\", \".\" or an empty part")
        }
        let clean = "/" + parts.joined(separator: "/")
        guard !reserved.contains(where: { clean == $0 || clean.hasPrefix("\($0)/") }) else {
            throw refusal("the path \"\(clean)\" belongs to the container's system")
        }
        return clean
    }

    /// Refuses paths that meet one another, or a mount that the container has.
    static func checkConflicts(
        _ places: [(volume: String, path: String)], taken: [String]
    ) throws(SystemFailure) {
        for (index, place) in places.enumerated() {
            if taken.contains(place.path) {
                throw SystemFailure(
                    "volume \"\(place.volume)\"", "its path \(place.path) has another mount in this container",
                    fix: "leave out that mount, or give the volume another path", status: .usage)
            }
            for other in places[..<index] where meet(place.path, other.path) {
                throw SystemFailure(
                    "volume \"\(place.volume)\"",
                    "its path \(place.path) and \(other.path) of volume \"\(other.volume)\" are in each other's way",
                    fix: "give one of them another path", status: .usage)
            }
        }
    }

    private static func meet(_ first: String, _ second: String) -> Bool {
        first == second || first.hasPrefix("\(second)/") || second.hasPrefix("\(first)/")
    }
}
