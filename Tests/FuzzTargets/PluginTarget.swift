import FoundationEssentials
import LinuxSystem
import VolumePlugin
import Volumes

/// What comes over the plugin's socket: a path in the first line, and a body.
enum PluginTarget {
    /// Checks names and options as the real driver does, and does nothing.
    private struct Driver: VolumeDriver {
        func greet(_ peer: PeerCredentials) {}
        func create(_ name: String, _ options: [String: String]) throws(SystemFailure) {
            _ = try VolumeName(name)
            _ = try VolumeOptions(plugin: options)
        }
        func remove(_ name: String) throws(SystemFailure) { _ = try VolumeName(name) }
        func mount(_ name: String, peer: PeerCredentials) throws(SystemFailure) -> String {
            "/mnt/" + (try VolumeName(name)).description
        }
        func unmount(_ name: String, peer: PeerCredentials) {}
        func volume(_ name: String) throws(SystemFailure) -> PluginVolume {
            PluginVolume(name: (try VolumeName(name)).description, mountpoint: "", createdAt: "", status: [:])
        }
        func volumes() throws(SystemFailure) -> [PluginVolume] { [] }
    }

    @Sendable static func run(_ bytes: [UInt8]) -> String? {
        let parts = bytes.split(separator: 0x0A, maxSplits: 1, omittingEmptySubsequences: false)
        let path = String(decoding: parts[0], as: UTF8.self)
        let response = PluginRouter(driver: Driver()).respond(
            method: "POST", path: path, body: Array(parts.count > 1 ? parts[1] : []),
            peer: PeerCredentials(processID: 1, userID: 0, groupID: 0))
        guard (try? JSONDecoder().decode(Answer.self, from: Data(response.body))) != nil else {
            return "the answer is no JSON object: \(String(decoding: response.body, as: UTF8.self))"
        }
        let says = String(decoding: response.body, as: UTF8.self)
        if response.status == 200 && says.contains("\"Err\":\"") { return "an error with status 200: \(says)" }
        return nil
    }

    private struct Answer: Decodable {}
}
