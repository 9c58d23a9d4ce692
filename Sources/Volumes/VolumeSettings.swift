import Control
import LinuxSystem

extension VolumeOptions {
    /// What may change after a volume is made: each says of itself what a running server does with it.
    public static let changeable = ["trash", "trash-quota", "trash-truncate"]

    /// Changes options of an existing volume, as `key=value` words.
    mutating func change(_ words: [String]) throws(SystemFailure) {
        for word in words {
            let key = String(word.prefix { $0 != "=" })
            guard Self.changeable.contains(key) else {
                throw SystemFailure(
                    "option \"\(word)\"", "cannot be changed",
                    fix: "those that can are \(Self.changeable.joined(separator: ", "))", status: .usage)
            }
            try apply(word)
        }
    }
}

extension MountService {
    /// Changes what a volume was made with. A server that runs takes it over at once.
    public func change(_ name: VolumeName, _ words: [String]) throws(SystemFailure) -> VolumeRecord {
        let record = try registry.change(name) { record throws(SystemFailure) in
            try record.options.change(words)
        }
        try supervisor.running(registry.paths.volume(record.name))?.ask(.reload, timeout: .seconds(10))
        return record
    }
}
