import FoundationEssentials
import LinuxSystem

/// The words of the Docker volume plugin protocol, version 1.
/// Source: docs.docker.com/engine/extend/plugins_volume, and what podman 4.3 sends.
enum PluginRoute: String, CaseIterable {
    case activate = "/Plugin.Activate"
    case create = "/VolumeDriver.Create"
    case remove = "/VolumeDriver.Remove"
    case mount = "/VolumeDriver.Mount"
    case unmount = "/VolumeDriver.Unmount"
    case path = "/VolumeDriver.Path"
    case get = "/VolumeDriver.Get"
    case list = "/VolumeDriver.List"
    case capabilities = "/VolumeDriver.Capabilities"
}

/// The body of every request that names a volume.
struct PluginRequest: Decodable {
    var name: String
    var options: [String: String]?

    enum CodingKeys: String, CodingKey {
        case name = "Name"
        case options = "Opts"
    }
}

/// A volume as `Get` and `List` tell of it.
public struct PluginVolume: Encodable, Sendable, Equatable {
    public var name: String
    public var mountpoint: String
    public var createdAt: String
    public var status: [String: String]

    public init(name: String, mountpoint: String, createdAt: String, status: [String: String]) {
        self.name = name
        self.mountpoint = mountpoint
        self.createdAt = createdAt
        self.status = status
    }

    enum CodingKeys: String, CodingKey {
        case name = "Name"
        case mountpoint = "Mountpoint"
        case createdAt = "CreatedAt"
        case status = "Status"
    }
}

/// A response: an HTTP status and JSON. Podman takes 200 with an error inside for success, so an error always
/// has another status, too.
package struct PluginResponse: Sendable {
    package var status: Int
    package var body: [UInt8]
    var contentType = pluginType

    private static let pluginType = "application/vnd.docker.plugins.v1.1+json"

    static let empty = PluginResponse(status: 200, body: Array("{}".utf8))

    static func encoding(_ value: some Encodable) -> PluginResponse {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let body = try? encoder.encode(value) else { return .refusal(500, "the answer cannot be encoded") }
        return PluginResponse(status: 200, body: Array(body))
    }

    static func refusal(_ status: Int, _ message: String) -> PluginResponse {
        let body = (try? JSONEncoder().encode(["Err": message])) ?? Data("{\"Err\":\"error\"}".utf8)
        return PluginResponse(status: status, body: Array(body))
    }

    static func refusal(_ failure: SystemFailure) -> PluginResponse {
        let status =
            switch failure.status {
            case .usage, .dataError: 400
            case .noInput: 404
            case .temporaryFailure: 409
            default: 500
            }
        return refusal(status, failure.message)
    }
}
