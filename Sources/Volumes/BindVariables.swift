import Control
import FileModel
import LinuxSystem

/// A bind of a host path to a container path.
public struct Bind: Equatable, Sendable {
    public var source: String
    public var path: ContainerPath
    public var readOnly: Bool

    public init(source: String, path: ContainerPath, readOnly: Bool) {
        self.source = source
        self.path = path
        self.readOnly = readOnly
    }

    /// `SOURCE:PATH[:ro]`.
    public var word: String { "\(source):\(path)\(readOnly ? ":ro" : "")" }
}

/// The values of the variables in which Apptainer and Singularity look for binds.
///
/// Observed with Apptainer 1.4.5: where APPTAINER_BIND is set SINGULARITY_BIND is not read. So whoever sets the
/// former must put into it what the latter holds.
public struct BindVariables: Sendable {
    public static let apptainer = "APPTAINER_BIND"
    public static let singularity = "SINGULARITY_BIND"
    /// Charliecloud reads no variable: this one holds arguments for ch-run.
    public static let charliecloud = "BERTH_CH_BIND"
    /// Names the variable that was unset before we set it to another's value.
    static let borrowed = "BERTH_ENV_BORROWED"

    private let environment: [String: String]

    public init(_ environment: [String: String]) {
        self.environment = environment
    }

    /// Each variable's new value with these binds added; nil stands for unset. Binds of ours that were there before go.
    /// One of somebody else for a path of ours is refused.
    public func adding(_ binds: [Bind], ours prefix: String) throws(SystemFailure) -> [String: String?] {
        if let bad = binds.first(where: { $0.source.utf8.contains { ":,\\".utf8.contains($0) } }) {
            throw SystemFailure(
                "\(bad.source)", "holds a character that no bind can carry",
                fix: "set BERTH_RUNTIME_DIR to another directory", status: .configuration)
        }
        var result: [String: String?] = [:]
        let before = removing(ours: prefix)
        let singularity = before[Self.singularity] ?? nil
        let own = before[Self.apptainer] ?? nil
        let apptainer = own ?? singularity
        result.updateValue(own == nil && singularity != nil ? "1" : nil, forKey: Self.borrowed)
        for (name, value) in [(Self.apptainer, apptainer), (Self.singularity, singularity)] {
            result.updateValue(try joined(value, binds, name), forKey: name)
        }
        // A shell splits them at blanks: then none rather than wrong ones.
        let words = binds.flatMap { ["--bind", "\($0.source):\($0.path)"] }
        result.updateValue(
            words.contains { $0.hasByte(" ") } ? nil : words.joined(separator: " "), forKey: Self.charliecloud)
        return result
    }

    /// Each variable's value without what we added; nil stands for unset.
    public func removing(ours prefix: String) -> [String: String?] {
        var result: [String: String?] = [Self.charliecloud: nil, Self.borrowed: nil]
        for name in [Self.apptainer, Self.singularity] {
            let rest = environment[name].map { value in
                Self.words(value).filter { !$0.startsWithBytes(of: prefix + "/") }.joined(separator: ",")
            }
            result.updateValue(rest?.isEmpty == false ? rest : nil, forKey: name)
        }
        if environment[Self.borrowed] != nil, result[Self.apptainer] == result[Self.singularity] {
            result.updateValue(nil, forKey: Self.apptainer)
        }
        return result
    }

    private func joined(_ value: String?, _ binds: [Bind], _ name: String) throws(SystemFailure) -> String {
        var words = value.map { Self.words($0) } ?? []
        for bind in binds {
            // Apptainer reads both.
            let second = "\(name)PATH"
            if let other = Self.words(environment[second] ?? "").first(where: {
                Self.target(of: $0) == bind.path.description
            }) {
                throw Self.taken(second, other, bind)
            }
            let same = words.first { Self.target(of: $0) == bind.path.description }
            if let same {
                guard same == bind.word || same == "\(bind.source):\(bind.path):rw" else {
                    throw Self.taken(name, same, bind)
                }
                continue
            }
            words.append(bind.word)
        }
        return words.joined(separator: ",")
    }

    private static func taken(_ name: String, _ word: String, _ bind: Bind) -> SystemFailure {
        SystemFailure(
            name, "binds \(word) already, and \(bind.word) wants the same path",
            fix: "take one out, or give the volume another path with `berth path set`", errno: .alreadyExists,
            status: .configuration)
    }

    /// Commas separate binds, and the options of an image bind: a part that is no path belongs to the one before.
    private static func words(_ value: String) -> [String] {
        var words: [String] = []
        for part in value.words(at: ",").map(String.init) {
            if let last = words.last, last.hasByte(":"), !part.hasByte(":"), !part.startsWithBytes(of: "/") {
                words[words.count - 1] = "\(last),\(part)"
            } else {
                words.append(part)
            }
        }
        return words
    }

    /// The container path of `SOURCE[:PATH[:OPTIONS]]`, without slashes at the end.
    private static func target(of word: String) -> String {
        let parts = word.parts(at: ":")
        var target = parts.count > 1 ? parts[1] : parts[0]
        while target.utf8.count > 1, target.endsWithBytes(of: "/") { target = target.droppingBytes(last: 1) }
        return String(target)
    }
}
