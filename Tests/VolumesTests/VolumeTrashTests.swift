import Glibc
import LinuxSystem
import TestSupport
import Testing
import Volumes

/// Volumes that a container engine removes: no server, no mount, no engine.
@Suite("volumes that an engine removed")
struct VolumeTrashTests {
    private let directory = TemporaryDirectory()

    private var paths: SitePaths {
        SitePaths(environment: ["HOME": directory.path, "BERTH_RUNTIME_DIR": "\(directory.path)/run"])
    }
    private var service: MountService { MountService(paths: paths, environment: [:], program: "/nonexistent/berth") }

    private func name(_ text: String) throws -> VolumeName { try VolumeName(text) }

    /// A volume with a file of its own in the directory.
    @discardableResult
    private func make(_ text: String, _ words: [String] = [], content: String = "x") throws -> VolumePaths {
        let record = try service.create(try name(text), try VolumeOptions(words: words), now: "x")
        let volume = paths.volume(record.name)
        try AtomicFile.replace("\(volume.directory)/content", Array(content.utf8))
        return volume
    }

    private func content(_ text: String) throws -> String? {
        try AtomicFile.read("\(paths.volume(text).directory)/content").map { String(decoding: $0, as: UTF8.self) }
    }

    private func keep(_ value: String) throws {
        try AtomicFile.replace(paths.settings, Array("volume-trash = \(value)\n".utf8))
    }

    private func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    @Test("what an engine removes comes back whole, the latest of a name first, and its name can be used meanwhile")
    func restore() throws {
        try make("v", ["size=1G", "path=/v"], content: "first")
        try service.discard(try name("v"), now: 100)
        #expect(try service.registry.find(try name("v")) == nil)
        try make("v", content: "second")
        try service.discard(try name("v"), now: 200)
        try make("v", content: "third")
        let entries = try service.trash.list().entries
        #expect(entries.map(\.removedAt) == [100, 200])
        // Refused where it exists, and the advice is followed as it stands.
        let refusal = #expect(throws: SystemFailure.self) { try service.restore(try name("v"), id: nil, as: nil) }
        #expect(refusal?.fix?.contains("berth volume restore v --id \(entries[1].id) --as OTHER") == true)
        _ = try service.restore(try name("v"), id: entries[1].id, as: try name("other"))
        #expect(try content("other") == "second" && content("v") == "third")
        #expect(try service.registry.record(try name("other")).name == "other")
        try service.remove(try name("v"))
        let back = try service.restore(try name("v"), id: nil, as: nil)
        #expect(try content("v") == "first")
        #expect(back.options.words["size"] == "1073741824" && back.options.path == "/v")
        #expect(!exists("\(paths.removedVolumes)/v"))
        #expect(throws: SystemFailure.self) { try service.restore(try name("v"), id: nil, as: nil) }
    }

    @Test("what another node may be serving is removed by neither engine nor user, and the refusal says how to go on")
    func servedElsewhere() throws {
        let volume = try make("v")
        var note = LockNote(
            state: .serving, processID: 4711, startedAt: 1, node: NodeIdentity(host: "elsewhere", boot: "0-f"), beat: 7)
        for state in [LockNote.State.serving, .closing] {
            note.state = state
            try AtomicFile.replace(volume.lock, note.encoded)
            let refusal = #expect(throws: SystemFailure.self) { try service.discard(try name("v"), now: 1) }
            #expect(refusal?.message.contains("elsewhere") == true && refusal?.fix?.contains("berth sync v") == true)
            #expect(throws: SystemFailure.self) { try service.remove(try name("v")) }
            #expect(try content("v") == "x")
        }
        note.state = .closed
        try AtomicFile.replace(volume.lock, note.encoded)
        try service.discard(try name("v"), now: 1)
        #expect(try service.trash.list().entries.count == 1)
    }

    @Test("it is kept as long as the user set, and not at all with 0 and off")
    func expiry() throws {
        try make("v")
        try service.discard(try name("v"), now: 1000)
        #expect(service.expireRemoved(now: 1000 + 7 * 86_400 - 1).names == [])
        // Jumps of the clock, and numbers that nobody can mean.
        #expect(service.expireRemoved(now: -1).names == [] && service.expireRemoved(now: .min).names == [])
        try keep("10d")
        #expect(service.expireRemoved(now: 1000 + 7 * 86_400).names == [])
        try keep("nonsense")
        #expect(service.expireRemoved(now: 1000 + 700 * 86_400).names == [], "nobody knows how long")
        try keep("30s")
        #expect(service.expireRemoved(now: 1030).names == ["v"])
        #expect(try service.trash.list().entries.isEmpty)
        for value in ["0", "off"] {
            try keep(value)
            try make("w")
            try service.discard(try name("w"), now: 1000)
            #expect(try service.trash.list().entries.isEmpty && service.registry.list().records.isEmpty)
        }
        try keep("30s")
        try SecureDirectory.make("\(paths.removedVolumes)/v/9223372036854775807-1")
        try AtomicFile.replace(
            "\(paths.removedVolumes)/v/9223372036854775807-1/volume.json",
            VolumeRegistry.encode(VolumeRecord(name: try name("v"), createdAt: "x", options: VolumeOptions())))
        #expect(service.expireRemoved(now: .max).names == [])
    }

    @Test("of a store that was named nothing goes but by `berth volume rm`, and what is nowhere else stays with it")
    func namedStore() throws {
        let store = "\(directory.path)/s"
        try SecureDirectory.make(store)
        let words = ["store=file://\(store)"]
        let volume = try make("v", words)
        try AtomicFile.replace("\(store)/v/pack", [1])
        try keep("off")
        try service.discard(try name("v"), now: 1000)
        let entry = try #require(try service.trash.list().entries.first)
        #expect(!entry.mayExpire, "no copy of its metadata is in the store")
        #expect(service.expireRemoved(now: .max).names == [])
        // The place is taken: said with the way out.
        let refusal = #expect(throws: SystemFailure.self) { try make("v", words) }
        #expect(refusal?.fix?.contains("berth volume ls --removed") == true)
        let renamed = #expect(throws: SystemFailure.self) {
            try service.restore(try name("v"), id: nil, as: try name("w"))
        }
        #expect(renamed?.fix?.contains("berth volume restore v`") == true)
        _ = try service.restore(try name("v"), id: nil, as: nil)
        try AtomicFile.replace(volume.copiedMark, [])
        try SecureDirectory.make(volume.staging)
        try AtomicFile.replace("\(volume.staging)/1.raw", [1])
        try service.discard(try name("v"), now: 1000)
        #expect(try service.trash.list().entries.count == 1, "what is staged is not in the store")
        _ = try service.restore(try name("v"), id: nil, as: nil)
        unlink("\(volume.staging)/1.raw")
        try SecureDirectory.make(volume.snapshots)
        try AtomicFile.replace("\(volume.snapshots)/monday.db", [1])
        try service.discard(try name("v"), now: 1000)
        #expect(try service.trash.list().entries.count == 1, "snapshots are nowhere else")
        _ = try service.restore(try name("v"), id: nil, as: nil)
        unlink("\(volume.snapshots)/monday.db")
        try service.discard(try name("v"), now: 1000)
        #expect(try service.trash.list().entries.isEmpty)
        #expect(try AtomicFile.read("\(store)/v/pack") == [1])
    }

    @Test("removed for good goes what was named, and nothing of a volume that has the same place in a store now")
    func forGood() throws {
        let store = "\(directory.path)/s"
        try SecureDirectory.make(store)
        let words = ["store=file://\(store)"]
        try make("v", words)
        try AtomicFile.replace("\(store)/v/pack", [1])
        try service.discard(try name("v"), now: 1000)
        let entry = try service.trash.entry(try name("v"), id: nil)
        // As `recover` makes it: of a store that is there.
        rename("\(store)/v", "\(store)/aside")
        try make("v", words)
        rmdir("\(store)/v")
        rename("\(store)/aside", "\(store)/v")
        #expect(try service.removeForGood(entry, keepData: false))
        #expect(try AtomicFile.read("\(store)/v/pack") == [1])
        try service.discard(try name("v"), now: 2000)
        #expect(try !service.removeForGood(try service.trash.entry(try name("v"), id: nil), keepData: false))
        #expect(!exists("\(store)/v") && exists(store))
    }

    @Test("a removal or restoration that a crash cut short leaves a whole volume in one of the two places")
    func crashes() throws {
        try make("v", content: "kept")
        try service.discard(try name("v"), now: 1000)
        let entry = try service.trash.entry(try name("v"), id: nil)
        // Killed after the record had its new name and before the rename.
        var record = entry.record
        record.name = "other"
        try AtomicFile.replace("\(entry.directory)/volume.json", VolumeRegistry.encode(record))
        #expect(try service.trash.list().entries.map(\.record.name) == ["v"])
        _ = try service.restore(try name("v"), id: nil, as: try name("third"))
        #expect(try content("third") == "kept")
        // Killed before the rename, and while one is taken apart.
        try SecureDirectory.make("\(paths.removedVolumes)/third")
        #expect(try service.trash.list().entries.isEmpty && content("third") == "kept")
        try service.discard(try name("third"), now: 1000)
        let doomed = try service.trash.entry(try name("third"), id: nil)
        rename(doomed.directory, "\(paths.volumes)/.old-third-1-1")
        service.registry.sweep()
        #expect(try FileTree.names(in: paths.volumes) == [".removed"])
    }

    @Test("links that somebody planted are neither followed nor taken for volumes")
    func planted() throws {
        let victim = "\(directory.path)/victim"
        try SecureDirectory.make(victim)
        try AtomicFile.replace("\(victim)/precious", [1])
        try make("v")
        symlink(victim, "\(paths.volume("v").directory)/link")
        try service.discard(try name("v"), now: 1)
        try make("w")
        let record = try #require(try AtomicFile.read(paths.volume("w").record))
        try AtomicFile.replace("\(victim)/volume.json", record)
        try SecureDirectory.make("\(paths.removedVolumes)/w")
        symlink(victim, "\(paths.removedVolumes)/w/1-1")
        symlink(victim, "\(paths.removedVolumes)/x")
        #expect(try service.trash.list().entries.map(\.record.name) == ["v"])
        #expect(try service.trash.list().failures.count == 1)
        #expect(service.expireRemoved(now: .max).names == ["v"])
        #expect(try FileTree.names(in: victim).sorted() == ["precious", "volume.json"])
    }

    @Test("an original stays while a clone of it is kept, and a new clone does not take the kept one's place")
    func clones() throws {
        try make("v")
        try make("c")
        var record = try service.registry.record(try name("c"))
        record.bases = [VolumeBase(volume: "v", lastEpoch: 1, options: VolumeOptions())]
        try AtomicFile.replace(paths.volume("c").record, VolumeRegistry.encode(record))
        try service.discard(try name("c"), now: 1)
        for attempt in [{ try service.remove(try name("v")) }, { try service.discard(try name("v"), now: 2) }] {
            let refusal = #expect(throws: SystemFailure.self) { try attempt() }
            #expect(refusal?.fix?.contains("berth volume rm --removed c") == true)
        }
        let refusal = #expect(throws: SystemFailure.self) {
            try service.clone(try VolumeReference("v"), as: try name("c"), now: "x")
        }
        #expect(refusal?.fix?.contains("berth volume restore c") == true)
        #expect(throws: SystemFailure.self) { try service.restore(try name("c"), id: nil, as: try name("d")) }
        _ = try service.restore(try name("c"), id: nil, as: nil)
        #expect(try service.registry.record(try name("c")).bases?.first?.volume == "v")
    }
}
