import FileModel
import LinuxSystem

/// A container's configuration as an engine hands it to a precreate hook (OCI runtime specification, config.md).
package struct RuntimeConfiguration {
    /// A bind mount to add.
    package struct Bind: Equatable {
        var source: String
        var destination: String
        var isReadOnly: Bool

        package init(source: String, destination: String, isReadOnly: Bool) {
            self.source = source
            self.destination = destination
            self.isReadOnly = isReadOnly
        }

        /// The options are those podman gives its own volumes.
        var json: String {
            let words = ["bind", "rprivate", "nosuid", "nodev", isReadOnly ? "ro" : "rw"]
            return "{\"destination\":\(JSONText.quoted(destination)),\"type\":\"bind\","
                + "\"source\":\(JSONText.quoted(source)),\"options\":[\(words.map(JSONText.quoted).joined(separator: ","))]}"
        }
    }

    /// Real ones have some ten or a hundred KiB.
    static let maximumBytes = 16 << 20

    private let text: JSONText

    package init(_ bytes: [UInt8]) throws(SystemFailure) {
        guard let text = JSONText(bytes), case .object = text.root.kind else {
            throw SystemFailure(
                "the container's configuration", "is not a JSON object",
                fix: "this program is started by podman as a hook; see `berth setup`", status: .dataError)
        }
        guard text.text(text.member("ociVersion", of: text.root)) != nil else {
            throw SystemFailure(
                "the container's configuration", "has no ociVersion", fix: "use podman 4 or newer", status: .dataError)
        }
        self.text = text
    }

    /// An annotation's value; nil where there is none, or where it is no string.
    package func annotation(_ name: String) -> String? {
        text.member("annotations", of: text.root).flatMap { text.text(text.member(name, of: $0)) }
    }

    /// One of an annotation's values.
    package struct Annotation: Equatable {
        package var key: String
        package var value: String

        package init(key: String, value: String) {
            self.key = key
            self.value = value
        }
    }

    /// The values of an annotation and of those below it, `NAME` and `NAME.ANYTHING`, in their order. Nil where one
    /// of them is no string.
    package func annotations(_ name: String) -> [Annotation]? {
        guard let node = text.member("annotations", of: text.root), case .object(let members) = node.kind else {
            return []
        }
        var found: [Annotation] = []
        for member in members where member.key.isBytes(of: name) || member.key.startsWithBytes(of: "\(name).") {
            guard let value = text.text(member.value) else { return nil }
            found.append(Annotation(key: member.key, value: value))
        }
        return found
    }

    /// The directory that the container sees as its root.
    var root: String? {
        text.member("root", of: text.root).flatMap { text.text(text.member("path", of: $0)) }
    }

    /// What is bound at a place in the container; nil where nothing is, or more than one thing.
    func source(ofBindAt destination: String) -> String? {
        let mounts = text.member("mounts", of: text.root).flatMap { text.elements(of: $0) } ?? []
        let there = mounts.filter { text.text(text.member("destination", of: $0))?.isBytes(of: destination) == true }
        guard there.count == 1 else { return nil }
        return text.text(text.member("source", of: there[0]))
    }

    /// Where the container has mounts already.
    var destinations: [String] {
        let mounts = text.member("mounts", of: text.root).flatMap { text.elements(of: $0) } ?? []
        return mounts.compactMap { text.text(text.member("destination", of: $0)) }
    }

    private typealias Change = (place: Range<Int>, text: String)

    /// The configuration with more mounts, after the others, and with annotations of these values: those that are there
    /// get them, the others are added at the end. All else is as it was.
    package func changed(adding binds: [Bind], annotations: [Annotation]) throws(SystemFailure) -> [UInt8] {
        var changes: [Change] = []
        if !binds.isEmpty {
            changes.append(try insertion("mounts", binds.map(\.json).joined(separator: ","), brackets: ("[", "]")))
        }
        var added: [String] = []
        for annotation in annotations {
            let value = JSONText.quoted(annotation.value)
            let places = places(of: annotation.key)
            if places.isEmpty { added.append("\(JSONText.quoted(annotation.key)):\(value)") }
            changes += places.map { ($0, value) }
        }
        if !added.isEmpty {
            changes.append(try insertion("annotations", added.joined(separator: ","), brackets: ("{", "}")))
        }
        var bytes = text.bytes
        // From the end, so that earlier places stay right.
        for change in changes.sorted(by: { $0.place.lowerBound > $1.place.lowerBound }) {
            bytes.replaceSubrange(change.place, with: change.text.utf8)
        }
        return bytes
    }

    /// Where an annotation's values stand: readers differ in which they take of several.
    private func places(of key: String) -> [Range<Int>] {
        guard let node = text.member("annotations", of: text.root), case .object(let members) = node.kind else {
            return []
        }
        return members.filter { $0.key.isBytes(of: key) }.map(\.value.range)
    }

    /// What to insert, and where, so that the list or object `key` holds `content` at its end.
    private func insertion(
        _ key: String, _ content: String, brackets: (open: String, close: String)
    ) throws(SystemFailure) -> Change {
        guard let node = text.member(key, of: text.root) else {
            // The root is an object, and has ociVersion.
            let end = text.root.range.upperBound - 1
            return (end..<end, ",\"\(key)\":\(brackets.open)\(content)\(brackets.close)")
        }
        let isEmpty: Bool
        switch node.kind {
        case .array(let elements) where key == "mounts": isEmpty = elements.isEmpty
        case .object(let members) where key == "annotations": isEmpty = members.isEmpty
        default:
            throw SystemFailure(
                "the container's configuration", "has \"\(key)\" of another kind than the OCI specification says",
                status: .dataError)
        }
        let end = node.range.upperBound - 1
        return (end..<end, isEmpty ? content : ",\(content)")
    }
}

/// A container's state as an engine hands it to a poststop hook (OCI runtime specification, runtime.md).
struct RuntimeState {
    static let maximumBytes = 1 << 20

    let id: String
    /// The directory that holds the configuration.
    let bundle: String

    init(_ bytes: [UInt8]) throws(SystemFailure) {
        guard let text = JSONText(bytes), let id = text.text(text.member("id", of: text.root)),
            let bundle = text.text(text.member("bundle", of: text.root)), bundle.startsWithBytes(of: "/")
        else {
            throw SystemFailure(
                "the container's state", "is not the JSON of the OCI specification",
                fix: "this program is started by podman as a hook; see `berth setup`", status: .dataError)
        }
        self.id = id
        self.bundle = bundle
    }
}
