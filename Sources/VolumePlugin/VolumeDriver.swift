import LinuxSystem
import Volumes

/// What the plugin asks of the volumes. Calls block, and come from several threads.
public protocol VolumeDriver: Sendable {
    /// An engine's process is about to use volumes: some that it has had mounted before, it may not mount again.
    func greet(_ peer: PeerCredentials)
    func create(_ name: String, _ options: [String: String]) throws(SystemFailure)
    func remove(_ name: String) throws(SystemFailure)
    /// Returns the mount point. `peer` is the engine's process, whose namespaces the mount is for.
    func mount(_ name: String, peer: PeerCredentials) throws(SystemFailure) -> String
    /// Cannot be refused: an engine that is told of a failure counts the volume as mounted for good.
    func unmount(_ name: String, peer: PeerCredentials)
    func volume(_ name: String) throws(SystemFailure) -> PluginVolume
    /// Every volume of which `volume` tells.
    func volumes() throws(SystemFailure) -> [PluginVolume]
}
