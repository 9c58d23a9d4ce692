import FileModel
import LinuxSystem

/// The files that tell podman when to start `berth-hook` (oci-hooks(5)).
public struct HookFiles: Sendable {
    public static let stages = ["precreate", "poststop"]
    /// A hook may wait for a server to start, and for its log to be replayed.
    private static let timeoutSeconds = 120

    /// The program, an absolute path.
    public let program: String
    /// `KEY=value` words: a hook gets no other environment.
    public let environment: [String]

    public init(program: String, environment: [String: String]) {
        self.program = program
        self.environment = environment.filter { Self.isNeeded($0.key) }.map { "\($0.key)=\($0.value)" }.sorted()
    }

    /// What says where a user's things lie. The runtime directory changes with each login: the hook takes it from
    /// the shell that podman was started in.
    private static func isNeeded(_ key: String) -> Bool {
        ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "BERTH_RUNTIME_DIR"]
            .contains(key)
    }

    public static func name(_ stage: String) -> String { "50-berth-\(stage).json" }

    /// Podman repeats the words of a hook that failed: the last one tells where the reason is.
    public func text(_ stage: String) -> String {
        let words = environment.map { "\n            \(Self.quoted($0))" }.joined(separator: ",")
        return """
            {
                "version": "1.0.0",
                "hook": {
                    "path": \(Self.quoted(program)),
                    "args": ["berth-hook", "\(stage)", "(for the reason run: berth log)"],
                    "env": [\(words)\(words.isEmpty ? "" : "\n        ")],
                    "timeout": \(Self.timeoutSeconds)
                },
                "when": {
                    "annotations": {"^berth\\\\.volume(\\\\..+)?$": ".*"}
                },
                "stages": ["\(stage)"]
            }

            """
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\":
                result += "\\"
                result.unicodeScalars.append(scalar)
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
