import ArgumentParser
import Control
import FileModel
import LinuxSystem
import Volumes

struct CacheCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cache", abstract: "Show, drop, pin and verify this machine's copies of packs.",
        subcommands: [List.self, Drop.self, Pin.self, Unpin.self, Verify.self])

    /// What went of a volume, and what stayed.
    static func tell(_ name: String, _ packs: Int, _ bytes: UInt64, _ pinned: Int) {
        print("dropped \(packs) packs, \(Output.bytes(bytes))")
        if pinned > 0 { print("\(pinned) pinned packs stay; let go of them with: berth cache unpin \(name)") }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "ls", abstract: "Show what the caches hold.")

        @Argument(help: "The volume; all where none is named.")
        var name: String?

        @Flag(help: "Print as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let settings = try UserSettings.load(site.paths)
                var views: [CacheView] = []
                let records =
                    if let name { [try site.registry.record(try VolumeName(name))] } else {
                        try site.registry.list().records
                    }
                for record in records { views.append(try CacheView(record, settings, site)) }
                if json { return try Output.json(views) }
                Output.table([CacheView.header] + views.map(\.row))
            }
        }
    }

    struct Drop: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Drop copies; the store keeps the data.", discussion: "Pinned ones stay, without --pinned.")

        @Argument(help: "NAME or NAME:/path, several of one volume.")
        var places: [String] = []

        @Flag(help: "Of all volumes.")
        var all = false

        @Flag(help: "Pinned copies, too; they are pinned no more.")
        var pinned = false

        func validate() throws {
            guard all == places.isEmpty else { throw ValidationError("name volumes, or give --all") }
        }

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                if all {
                    for record in try site.registry.list().records {
                        print("\(record.name): ", terminator: "")
                        try drop(try VolumeName(record.name), DataSelection(paths: [[]], hasList: false), site)
                    }
                    return
                }
                let (name, selection) = try DataPlace.selection(places, hasList: false)
                try drop(name, selection, site)
            }
        }

        private func drop(_ name: VolumeName, _ selection: DataSelection, _ site: Site) throws(SystemFailure) {
            // A volume that nobody serves needs no server, and no store, to lose its copies.
            if selection.isAll,
                let gone = try site.mounts.clearCache(try site.registry.record(name), pinnedToo: pinned)
            {
                return CacheCommand.tell("\(name)", gone.packs, gone.bytes, gone.pinned)
            }
            let client = try DataPlace.client(name, site)
            let reply = try DataPlace.ask(.evict(selection, pinnedToo: pinned), of: client, list: nil)
            guard case .evicted(let packs, let bytes, let pinned) = reply else {
                throw client.confused
            }
            CacheCommand.tell("\(name)", packs, bytes, pinned)
        }
    }

    struct Pin: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Bring data here as `berth warm` does, and keep it until it is unpinned.")

        @Argument(help: "NAME or NAME:/path, several of one volume.")
        var places: [String]

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                try PackJob(places: places, threads: 8, purpose: .pin).run(site, inBackground: false)
            }
        }
    }

    struct Unpin: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Let pinned data go again when the cache needs room.")

        @Argument(help: "NAME or NAME:/path, several of one volume.")
        var places: [String]

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let (name, selection) = try DataPlace.selection(places, hasList: false)
                let client = try DataPlace.client(name, site)
                guard case .unpinned(let packs) = try DataPlace.ask(.unpin(selection), of: client, list: nil) else {
                    throw client.confused
                }
                print("unpinned \(packs) packs")
            }
        }
    }

    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prove every frame of a volume's copies; damaged copies are dropped.",
            discussion: "Exit status 0: all that is here is right; 65: some was damaged, with a line that says what.")

        @Argument(help: "The volume.")
        var name: String

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                try PackJob(places: ["\(try VolumeName(name))"], threads: 4, purpose: .verify).run(
                    site, inBackground: false)
            }
        }
    }
}

/// A volume's cache as people and scripts see it, and what the volume takes beside it.
struct CacheView: Encodable {
    static let header = [
        "VOLUME", "LIVE", "TRASH", "STORED", "STAGED", "COPIES", "LIMIT", "PINNED", "HITS", "DIRECTORY",
    ]

    var volume: String
    var directory: String
    var bytes: UInt64
    var limit: UInt64
    /// Bytes at most of copies that nobody pinned or warmed up; nil: no bound but `limit`.
    var unaskedLimit: UInt64?
    /// Bytes of the file system that are left free.
    var free: UInt64
    var packs: Int
    var pinnedPacks: Int
    var pinnedBytes: UInt64
    /// Of a volume that nobody serves as its last server left it; nil where that said nothing.
    var live: VolumeSpace.Amount?
    var trash: VolumeSpace.Amount?
    var stored: VolumeSpace.Amount?
    var staged: VolumeSpace.Amount
    var metadata: VolumeSpace.Amount
    /// Of reads since the server started, those that asked the store for nothing; nil before the first.
    var hitRatio: Double?
    var isServed: Bool

    init(_ record: VolumeRecord, _ settings: UserSettings, _ site: Site) throws(SystemFailure) {
        let report: CacheReport
        let client = try site.mounts.supervisor.running(site.paths.volume(record.name))
        if case .cache(let served) = try client?.ask(.cache, timeout: .seconds(10)) {
            report = served
        } else {
            report = try Self.look(record, settings, site)
        }
        volume = record.name
        directory = report.directory
        bytes = report.bytes
        limit = report.limit
        unaskedLimit = report.unasked
        free = report.free
        let paths = site.paths.volume(record.name)
        let space = report.space ?? SpaceNote.last(of: paths)
        (live, trash, stored) = (space?.live, space?.trash, space?.stored)
        let local = LocalSpace(paths)
        (staged, metadata) = (local.staged, local.metadata)
        packs = report.packs
        pinnedPacks = report.pinnedPacks
        pinnedBytes = report.pinnedBytes
        if let hits = report.hits, let misses = report.misses, hits + misses > 0 {
            hitRatio = Double(hits) / Double(hits + misses)
        }
        isServed = report.hits != nil
    }

    /// Without a server the directory tells.
    private static func look(
        _ record: VolumeRecord, _ settings: UserSettings, _ site: Site
    ) throws(SystemFailure) -> CacheReport {
        let caches = site.mounts.cacheSite
        let directory = caches.places(record, settings).likely
        let copies = try CacheDirectory.copies(in: directory)
        let pins = try CacheDirectory.pins(in: directory)
        let share = caches.share(
            of: record, in: directory, quarter: CacheShare.usual(in: directory), settings,
            besideStore: caches.isBesideStore(record, directory))
        return CacheReport(
            directory: directory, bytes: copies.reduce(0) { $0 + UInt64($1.bytes) }, limit: share.bytes,
            unasked: share.unasked, free: share.free, packs: copies.count, pinnedPacks: pins.count,
            pinnedBytes: copies.reduce(0) { $0 + (pins[$1.id] != nil ? UInt64($1.bytes) : 0) })
    }

    var row: [String] {
        [
            volume, Self.text(live), Self.text(trash), Self.text(stored), Self.text(staged),
            Self.text(VolumeSpace.Amount(bytes: bytes, files: UInt64(packs))), Output.bytes(unaskedLimit ?? limit),
            pinnedPacks == 0 ? "-" : "\(pinnedPacks) (\(Output.bytes(pinnedBytes)))",
            hitRatio.map { "\(Int(($0 * 100).rounded(.down))) %" } ?? "-", directory,
        ]
    }

    /// Bytes, and files or objects.
    private static func text(_ amount: VolumeSpace.Amount?) -> String {
        amount.map { "\(Output.bytes($0.bytes)) (\($0.files))" } ?? "-"
    }

    /// For `berth doctor`: in words.
    var words: String {
        let parts: [(String, VolumeSpace.Amount?)] = [
            ("live", live), ("trash", trash), ("stored", stored), ("staged", staged),
            ("cached", VolumeSpace.Amount(bytes: bytes, files: UInt64(packs))), ("metadata", metadata),
        ]
        let told = parts.map { name, amount in
            amount.map { "\(name) \(Output.bytes($0.bytes)) in \($0.files)" } ?? "\(name) unknown until it is mounted"
        }
        let bound = unaskedLimit.map {
            "; copies share the store's disk or quota, so at most \(Output.bytes($0)) stay unasked"
        }
        return told.joined(separator: ", ") + " files or objects" + (bound ?? "")
    }
}
