import Control
import FileModel
import Glibc
import LinuxSystem

/// The process of `berth serve`. It is known by the socket that it always makes itself: the plugin's own may have been
/// made by systemd, and its other end would then be systemd.
enum PluginProcess {
    /// Its pid, or nil where nobody answers.
    static func running(_ paths: SitePaths) -> Int32? {
        guard let socket = try? UnixSocket.connect(to: paths.supervisorSocket, timeout: .seconds(2)) else { return nil }
        // The kernel keeps who called listen.
        return (try? UnixSocket.peer(of: socket))?.processID
    }

    /// The version it runs, or nil where it does not say.
    static func version(_ paths: SitePaths) -> String? {
        guard let client = (try? SupervisorClient(socket: paths.supervisorSocket)) ?? nil,
            case .version(let version)? = try? client.ask(.version, timeout: .seconds(2))
        else { return nil }
        return version
    }

    /// Whether systemd listens on its socket and starts it when somebody asks.
    static func isAwaited(_ paths: SitePaths) -> Bool {
        running(paths) == nil && SocketActivation.isListenedOn(paths.pluginSocket)
    }

    /// Has systemd start it. Returns its pid.
    static func wake(_ paths: SitePaths) throws(SystemFailure) -> Int32? {
        _ = try SupervisorClient(waking: paths)
        return running(paths)
    }
}

/// The version that a process runs, beside the version of this program: after an upgrade they differ.
enum RunningVersion {
    /// Nil where both are the same. `restart` says what makes them so.
    static func note(_ running: String?, restart: String) -> String? {
        guard running != Release.version else { return nil }
        return "runs \(running ?? "an older version"), this is \(Release.version); restart with: \(restart)"
    }
}
