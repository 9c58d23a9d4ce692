import LinuxSystem
import TestSupport
import Volumes

/// An account whose podman configuration a test changes.
struct EngineSite {
    let directory = TemporaryDirectory()

    var paths: SitePaths {
        SitePaths(environment: ["HOME": directory.path, "BERTH_RUNTIME_DIR": "\(directory.path)/run"])
    }

    func write(_ path: String, _ text: String) throws {
        try SecureDirectory.make(String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]))
        try AtomicFile.replace(path, Array(text.utf8))
    }

    func read(_ path: String) throws -> String? {
        try AtomicFile.read(path).map { String(decoding: $0, as: UTF8.self) }
    }
}

extension EngineConfiguration {
    func register() throws {
        for change in try changesToRegister() { try apply(change) }
    }

    func unregister() throws {
        for change in try changesToUnregister() { try apply(change) }
    }
}
