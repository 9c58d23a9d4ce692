import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing
import Volumes

@Suite("volumes' records")
struct RegistryTests {
    private let directory = TemporaryDirectory()

    private var registry: VolumeRegistry {
        VolumeRegistry(
            paths: SitePaths(environment: ["HOME": directory.path, "BERTH_RUNTIME_DIR": "\(directory.path)/run"]))
    }

    @Test("creating is idempotent with the same options and refused with others")
    func create() throws {
        let name = try VolumeName("data")
        let options = try VolumeOptions(words: ["size=1G", "path=/data"])
        let first = try registry.create(name, options, now: "2026-01-01T00:00:00Z")
        #expect(try registry.create(name, options, now: "2027-01-01T00:00:00Z") == first)
        let failure = #expect(throws: SystemFailure.self) { try registry.create(name, VolumeOptions(), now: "x") }
        #expect(failure?.errno == .alreadyExists)
        #expect(try registry.list().records == [first])
    }

    @Test("what a crash leaves of a volume half made is not a volume, and is swept away")
    func leftovers() throws {
        _ = try registry.create(try VolumeName("data"), VolumeOptions(), now: "x")
        // The number of no process; that of this one is making a volume.
        try SecureDirectory.make("\(registry.paths.volumes)/.new-other-\(Int32.max)-2/sub")
        try SecureDirectory.make("\(registry.paths.volumes)/.new-more-\(getpid())-2")
        #expect(try registry.list().records.map(\.name) == ["data"])
        registry.sweep()
        #expect(Set(try FileTree.names(in: registry.paths.volumes)) == ["data", ".new-more-\(getpid())-2"])
    }

    @Test("a volume in a store has a directory of its own there, which is not shared with another")
    func store() throws {
        let store = "\(directory.path)/store"
        try SecureDirectory.make(store)
        let options = try VolumeOptions(words: ["store=file://\(store)"])
        let record = try registry.create(try VolumeName("data"), options, now: "x")
        #expect(access("\(store)/data", F_OK) == 0)
        let other = VolumeRegistry(
            paths: SitePaths(environment: [
                "HOME": "\(directory.path)/h2", "BERTH_RUNTIME_DIR": "\(directory.path)/run2",
            ]))
        #expect(throws: SystemFailure.self) { try other.create(try VolumeName("data"), options, now: "x") }
        #expect(try other.list().records.isEmpty)
        try registry.remove(record, caches: [])
        #expect(access("\(store)/data", F_OK) != 0 && access(store, F_OK) == 0)
    }

    @Test("a record of another format or name is refused")
    func format() throws {
        let name = try VolumeName("data")
        _ = try registry.create(name, VolumeOptions(), now: "x")
        let path = registry.paths.volume("data").record
        let text = String(decoding: try AtomicFile.read(path) ?? [], as: UTF8.self)
        for (from, to) in [("\"format\" : 1", "\"format\" : 9"), ("\"name\" : \"data\"", "\"name\" : \"other\"")] {
            let changed = text.split(separator: from, omittingEmptySubsequences: false).joined(separator: to)
            try #require(changed != text)
            try AtomicFile.replace(path, Array(changed.utf8))
            #expect(throws: SystemFailure.self) { try registry.record(name) }
        }
    }

    @Test("plugin options of a Kubernetes claim are taken as ours, podman's own are left to it")
    func pluginOptions() throws {
        let options = try VolumeOptions(plugin: ["device": "", "type": "", "o": "size=10M,timeout=30,path=/data"])
        #expect(options.size == 10 << 20 && options.path == "/data")
        #expect(throws: SystemFailure.self) { try VolumeOptions(plugin: ["device": "/dev/sda"]) }
        #expect(throws: SystemFailure.self) { try VolumeOptions(plugin: ["colour": "blue"]) }
    }
}
