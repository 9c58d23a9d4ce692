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

    /// The values of an annotation and of those below it, `NAME` and `NAME.ANYTHING`, in their order. Nil where one
    /// of them is no string.
    package func annotations(_ name: String) -> [String]? {
        guard let node = text.member("annotations", of: text.root), case .object(let members) = node.kind else {
            return []
        }
        var values: [String] = []
        for member in members where member.key == name || member.key.hasPrefix("\(name).") {
            guard let value = text.text(member.value) else { return nil }
            values.append(value)
        }
        return values
    }

    /// Where the container has mounts already.
    var destinations: [String] {
        let mounts = text.member("mounts", of: text.root).flatMap { text.elements(of: $0) } ?? []
        return mounts.compactMap { text.text(text.member("destination", of: $0)) }
    }

    /// The configuration with more mounts, after the others, and one more annotation. All else is as it was.
    package func adding(_ binds: [Bind], annotation: (name: String, value: String)) throws(SystemFailure) -> [UInt8] {
        let note = "\(JSONText.quoted(annotation.name)):\(JSONText.quoted(annotation.value))"
        var changes = [try insertion("mounts", binds.map(\.json).joined(separator: ","), brackets: ("[", "]"))]
        changes.append(try insertion("annotations", note, brackets: ("{", "}")))
        var bytes = text.bytes
        // From the end, so that earlier places stay right.
        for change in changes.sorted(by: { $0.place > $1.place }) {
            bytes.insert(contentsOf: change.text.utf8, at: change.place)
        }
        return bytes
    }

    /// What to insert, and where, so that the list or object `key` holds `content` at its end.
    private func insertion(
        _ key: String, _ content: String, brackets: (open: String, close: String)
    ) throws(SystemFailure) -> (place: Int, text: String) {
        guard let node = text.member(key, of: text.root) else {
            // The root is an object, and has ociVersion.
            return (text.root.range.upperBound - 1, ",\"\(key)\":\(brackets.open)\(content)\(brackets.close)")
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
        return (node.range.upperBound - 1, isEmpty ? content : ",\(content)")
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
            let bundle = text.text(text.member("bundle", of: text.root)), bundle.hasPrefix("/")
        else {
            throw SystemFailure(
                "the container's state", "is not the JSON of the OCI specification",
                fix: "this program is started by podman as a hook; see `berth setup`", status: .dataError)
        }
        self.id = id
        self.bundle = bundle
    }
}
