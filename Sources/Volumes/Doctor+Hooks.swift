import FileModel
import Glibc
import LinuxSystem

extension Doctor {
    /// Whether podman starts our hooks for containers with an annotation.
    func hooks() -> Finding {
        let check = "OCI hooks"
        let fix = "run: berth setup"
        for stage in HookFiles.stages {
            let path = "\(paths.hooks)/\(HookFiles.name(stage))"
            guard let bytes = (try? AtomicFile.read(path)) ?? nil else {
                return Finding(check, .warn, "are not registered: annotations name no volumes (no \(path))", fix: fix)
            }
            let lines = String(decoding: bytes, as: UTF8.self).words(at: "\n")
            let words = lines.first { $0.contains("\"path\":") }?.words(at: "\"")
            guard let program = words.flatMap({ $0.count > 3 ? String($0[3]) : nil }) else {
                return Finding(check, .fail, "\(path) names no program", fix: fix)
            }
            guard access(program, X_OK) == 0 else {
                return Finding(check, .fail, "\(path) names \(program), which cannot be started", fix: fix)
            }
        }
        return Finding(check, .pass, "podman is told of them in \(paths.hooks)")
    }

    /// Whether podman means our volumes by their names: nothing to say where there are none, or it is not told of the plugin.
    func engineVolumes() -> [Finding] {
        let check = "podman's volumes"
        let names = ((try? VolumeRegistry(paths: paths).list())?.records ?? []).map(\.name)
        let engine = EngineVolumes(paths, environment: environment)
        guard !names.isEmpty, engine.isInUse else { return [] }
        let differences = engine.differences(names)
        guard !differences.isEmpty else {
            return [Finding(check, .pass, "podman lists all \(names.count) of Berth's by their names")]
        }
        return differences.map { Finding(check, .warn, "\($0.subject) \($0.cause)", fix: $0.fix) }
    }
}
