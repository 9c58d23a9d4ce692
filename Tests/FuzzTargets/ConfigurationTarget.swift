import FoundationEssentials
import RuntimeHooks

/// A container's configuration, as an engine hands it to the hook.
enum ConfigurationTarget {
    private struct Anything: Decodable {}

    @Sendable static func run(_ bytes: [UInt8]) -> String? {
        guard let configuration = try? RuntimeConfiguration(bytes) else { return nil }
        _ = configuration.annotation("berth.volume")
        _ = configuration.annotations("berth.volume")
        _ = try? VolumeAnnotation(configuration)
        let bind = RuntimeConfiguration.Bind(source: "/a\"\\", destination: "/b", isReadOnly: true)
        guard
            let changed = try? configuration.changed(
                adding: [bind], annotations: [.init(key: "berth.lease", value: "x\"y")])
        else { return nil }
        // What another reader takes for JSON must still be JSON, every byte of it kept, and the annotation in it.
        let decoder = JSONDecoder()
        guard (try? decoder.decode(Anything.self, from: Data(bytes))) != nil else { return nil }
        guard (try? decoder.decode(Anything.self, from: Data(changed))) != nil else {
            return "what was added made it no JSON: \(String(decoding: changed, as: UTF8.self))"
        }
        guard (try? RuntimeConfiguration(changed))?.annotation("berth.lease") == "x\"y" else {
            return "the annotation that was added is not found: \(String(decoding: changed, as: UTF8.self))"
        }
        return nil
    }
}
