import FoundationEssentials
import LinuxSystem

/// Turns a request into a call of the driver, and what comes of it into a response.
package struct PluginRouter {
    let driver: any VolumeDriver

    package init(driver: any VolumeDriver) { self.driver = driver }

    package func respond(method: String, path: String, body: [UInt8], peer: PeerCredentials) -> PluginResponse {
        guard let route = PluginRoute(rawValue: path) else {
            return .refusal(404, "\(path.prefix(200)): is no request of a volume plugin")
        }
        guard method == "POST" else {
            return .refusal(405, "\(path): is asked with \(method); use POST")
        }
        do throws(SystemFailure) {
            return try respond(route, body, peer)
        } catch {
            return .refusal(error)
        }
    }

    private func respond(
        _ route: PluginRoute, _ body: [UInt8], _ peer: PeerCredentials
    ) throws(SystemFailure) -> PluginResponse {
        switch route {
        case .activate:
            driver.greet(peer)
            return .encoding(["Implements": ["VolumeDriver"]])
        case .capabilities: return .encoding(["Capabilities": ["Scope": "local"]])
        case .list: return .encoding(["Volumes": try driver.volumes()])
        case .create:
            let request = try decode(body, route)
            try driver.create(request.name, request.options ?? [:])
            return .empty
        case .remove:
            try driver.remove(try decode(body, route).name)
            return .empty
        case .mount: return .encoding(["Mountpoint": try driver.mount(try decode(body, route).name, peer: peer)])
        case .unmount:
            driver.unmount(try decode(body, route).name, peer: peer)
            return .empty
        case .path: return .encoding(["Mountpoint": try driver.volume(try decode(body, route).name).mountpoint])
        case .get: return .encoding(["Volume": try driver.volume(try decode(body, route).name)])
        }
    }

    private func decode(_ body: [UInt8], _ route: PluginRoute) throws(SystemFailure) -> PluginRequest {
        do {
            return try JSONDecoder().decode(PluginRequest.self, from: Data(body))
        } catch {
            throw SystemFailure(
                route.rawValue, "the body is not the JSON of a volume request",
                fix: "send {\"Name\": \"…\", \"Opts\": {…}}",
                status: .usage)
        }
    }
}
