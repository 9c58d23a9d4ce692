import Control
import FileModel
import LinuxSystem
import Volumes

/// The values of `berth.volume` and of `berth.volume.ANYTHING`: `NAME[:/PATH][:ro|:rw][:token=TOKEN]`, and more such words
/// after commas. Podman's command line splits an annotation at a comma unless it is quoted for it, so that several
/// annotations are the easier way to name several volumes. An empty value asks for nothing: it overrides one of the image.
package struct VolumeAnnotation: Equatable {
    static let name = "berth.volume"

    struct Word: Equatable {
        /// The annotation that it stands in.
        var key: String
        var volume: VolumeName
        /// Nil: the path kept with the volume.
        var path: ContainerPath?
        var isReadOnly = false
        /// Shows that the user has allowed it (decision 0070).
        var token: String?
    }

    /// Each is a mount of its own.
    private static let maximumWords = 16
    private static let maximumBytes = 8192
    private static let form = "write \(name)=VOLUME[:/PATH][:ro]"
    private static let tokenMark = "token="

    var words: [Word]
    /// The annotations that held a token, without it: nobody behind the hook needs it.
    private(set) var withoutTokens: [RuntimeConfiguration.Annotation]

    package init(_ configuration: RuntimeConfiguration) throws(SystemFailure) {
        guard let values = configuration.annotations(Self.name) else {
            throw SystemFailure("annotation \(Self.name)", "is no string", fix: Self.form, status: .dataError)
        }
        try self.init(values)
    }

    init(_ values: [RuntimeConfiguration.Annotation]) throws(SystemFailure) {
        let values = values.filter { !$0.value.utf8.isEmpty }
        let parts = values.map { $0.value.parts(at: ",") }
        guard values.reduce(0, { $0 + $1.value.utf8.count }) <= Self.maximumBytes,
            parts.reduce(0, { $0 + $1.count }) <= Self.maximumWords
        else {
            throw SystemFailure(
                "annotation \(Self.name)", "names more than \(Self.maximumWords) volumes", fix: "name fewer",
                status: .usage)
        }
        words = []
        withoutTokens = []
        for (annotation, parts) in zip(values, parts) {
            var bare: [String] = []
            for part in parts {
                let (text, token) = Self.split(part)
                words.append(try Self.word(text, token, key: annotation.key))
                bare.append(text)
            }
            if bare.count != parts.count || !zip(bare, parts).allSatisfy({ $0.isBytes(of: $1) }) {
                withoutTokens.append(.init(key: annotation.key, value: bare.joined(separator: ",")))
            }
        }
    }

    /// A word without its token, and the token.
    private static func split(_ text: Substring) -> (text: String, token: String?) {
        var parts = text.parts(at: ":")
        guard parts.count > 1, let last = parts.last, last.startsWithBytes(of: tokenMark) else {
            return (String(text), nil)
        }
        parts.removeLast()
        return (parts.joined(separator: ":"), String(last.droppingBytes(first: tokenMark.utf8.count)))
    }

    private static func word(_ text: String, _ token: String?, key: String) throws(SystemFailure) -> Word {
        let subject = "annotation \(key), \"\(String(text.unicodeScalars.prefix(200)))\""
        let parts = text.parts(at: ":").map(String.init)
        guard let first = parts.first, !first.utf8.isEmpty else {
            throw SystemFailure(subject, "names no volume", fix: form, status: .usage)
        }
        var word = Word(key: key, volume: try VolumeName(first), token: token)
        var rest = parts.dropFirst()
        if let last = rest.last, last.isBytes(of: "ro") || last.isBytes(of: "rw") {
            word.isReadOnly = last.isBytes(of: "ro")
            rest = rest.dropLast()
        }
        guard rest.count <= 1 else {
            throw SystemFailure(
                subject, "has a ':' too many; a path cannot hold one, and a token is the last", fix: form,
                status: .usage)
        }
        if let path = rest.first {
            do throws(SystemFailure) {
                word.path = try ContainerPath(path)
            } catch {
                throw SystemFailure(subject, error.message, status: .usage)
            }
        }
        return word
    }

    /// Refuses paths that meet one another, or a mount that the container has.
    static func checkConflicts(
        _ places: [(volume: String, path: ContainerPath)], taken: [String]
    ) throws(SystemFailure) {
        for (index, place) in places.enumerated() {
            if taken.contains(where: { $0.isBytes(of: place.path.description) }) {
                throw SystemFailure(
                    "volume \"\(place.volume)\"", "its path \(place.path) has another mount in this container",
                    fix: "leave out that mount, or give the volume another path", status: .usage)
            }
            for other in places[..<index]
            where place.path == other.path || place.path.contains(other.path) || other.path.contains(place.path) {
                throw SystemFailure(
                    "volume \"\(place.volume)\"",
                    "its path \(place.path) and \(other.path) of volume \"\(other.volume)\" are in each other's way",
                    fix: "give one of them another path", status: .usage)
            }
        }
    }
}
