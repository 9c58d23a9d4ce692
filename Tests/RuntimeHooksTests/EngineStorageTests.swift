import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing
import Volumes

@testable import RuntimeHooks

/// A storage of podman's form, written by hand: what the hook finds of an image there, and when it says that it cannot tell.
@Suite("the engine's storage")
struct EngineStorageTests {
    private static let layer = String(repeating: "1a", count: 32)
    private static let container = String(repeating: "2b", count: 32)
    private static let image = String(repeating: "3c", count: 32)

    private let directory = TemporaryDirectory()
    private var root: String { "\(directory.path)/storage" }

    /// `manifests` are the image's files by name.
    private func make(_ driver: String = "overlay", manifests: [String: String], list: String? = nil) throws {
        let images = "\(root)/\(driver)-images/\(Self.image)"
        for path in [images, "\(root)/\(driver)-containers"] { try SecureDirectory.make(path) }
        for (name, text) in manifests { try AtomicFile.replace("\(images)/\(name)", Array(text.utf8)) }
        try AtomicFile.replace("\(root)/\(driver)-containers/containers.json", Array((list ?? self.list).utf8))
    }

    private var list: String {
        """
        [{"id":"\(String(repeating: "f", count: 64))","names":["} ] \\" \(Self.layer)"],"layer":"0","metadata":"\\"\(Self.layer)\\"["},
         {"id":"\(Self.container)","names":["one"],"image":"\(Self.image)","layer":"\(Self.layer)",
          "metadata":"{\\"image-name\\":\\"localhost/evil:latest\\",\\"name\\":\\"one\\"}"}]
        """
    }

    private func look(_ rootPath: String, mounts: String = "") throws -> (
        container: EngineContainer?, keys: EngineStorage.ImageKeys
    ) {
        let text = #"{"ociVersion":"1","root":{"path":"\#(rootPath)"},"mounts":[\#(mounts)]}"#
        return EngineStorage(try RuntimeConfiguration(Array(text.utf8))).look()
    }

    private func known(_ keys: EngineStorage.ImageKeys, _ key: String) -> Bool? {
        guard case .known(let found) = keys else { return nil }
        return found.contains(Array(key.utf8))
    }

    @Test(
        "keys are those of all manifests of the container's image, for each driver's form of a layer",
        arguments: [("overlay", "overlay/LAYER/merged"), ("vfs", "vfs/dir/LAYER"), ("btrfs", "btrfs/subvolumes/LAYER")])
    func found(driver: String, form: String) throws {
        try make(
            driver,
            manifests: [
                "manifest": #"{"annotations":{"a.b":"c"}}"#,
                "=bWFuaWZlc3Qtc2hhMjU2OjAw": #"{"annotations":{"berth.volume":"data"}}"#,
                "=c2hhMjU2OjAw": "no manifest",
            ])
        let (container, keys) = try look("\(root)/\(form.replacing("LAYER", with: Self.layer))")
        #expect(container == EngineContainer(id: Self.container, name: "one", image: "localhost/evil:latest"))
        #expect(known(keys, "berth.volume") == true && known(keys, "a.b") == true && known(keys, "x") == false)
    }

    @Test(
        "a key is found however the manifest writes it",
        arguments: [
            #"{"Annotations":{"berth.volume":"d"}}"#, #"{"annotation\u017f":{"berth.volume":"d"}}"#,
            #"{"annotations":{"\u0062erth.volum\u0065":"d"}}"#,
            #"{"annotations":{},"ANNOTATIONS":{"berth.volume":"d"}}"#,
            #"{"annotations":{"berth.volume":"a"},"annotations":{}}"#,
            #"{"manifests":[{"annotations":{"berth.volume":"a"}}]}"#,
        ])
    func spellings(manifest: String) throws {
        try make(manifests: ["manifest": manifest])
        #expect(known(try look("\(root)/overlay/\(Self.layer)/merged").keys, "berth.volume") == true)
    }

    @Test("what is missing, damaged, somebody else's or too long leaves it open whose the annotation is")
    func unknown() throws {
        let path = "\(root)/overlay/\(Self.layer)/merged"
        let good = ["manifest": "{}"]
        try make(manifests: good)
        #expect(known(try look(path).keys, "x") == false)
        let file = "\(root)/overlay-images/\(Self.image)/manifest"
        let list = "\(root)/overlay-containers/containers.json"
        let damages: [() throws -> Void] = [
            { try AtomicFile.replace(file, Array("{}x".utf8)) }, { unlink(file) },
            { try AtomicFile.replace("\(file)-sha256.x", Array("{\"a\":\"\u{01}\"}".utf8)) },
            { chmod(file, 0o620) }, { chmod("\(root)/overlay-images/\(Self.image)", 0o770) }, { chmod(list, 0o602) },
            { chmod("\(root)/overlay-containers", 0o707) },
            { try AtomicFile.replace(file, Array(repeating: 0x20, count: 5 << 20)) },
            { try AtomicFile.replace(list, Array(repeating: 0x20, count: 17 << 20)) },
            { try AtomicFile.replace(list, Array("[]".utf8)) },
            {
                rename(file, file + "2"); symlink(file + "2", file)
            }, { unlink(list) },
        ]
        for (index, damage) in damages.enumerated() {
            FileTree.remove(root)
            try make(manifests: good)
            try damage()
            #expect(known(try look(path).keys, "x") == nil, "damage \(index)")
        }
        FileTree.remove(root)
        try make(manifests: good)
        for other in [
            "/overlay/\(Self.layer)", "/else/\(Self.layer)/merged", "/overlay/../overlay/\(Self.layer)/merged", "",
        ] {
            #expect(known(try look(root + other).keys, "x") == nil, "\(other)")
        }
    }

    @Test("a container of the user's own directory has no image, if the storage lists it so")
    func rootfs() throws {
        try make(manifests: ["manifest": "{}"])
        func mounts(_ id: String) -> String {
            #"{"destination":"/run/.containerenv","source":"/run/c/overlay-containers/\#(id)/userdata/.containerenv"},"#
                + #"{"destination":"/dev/shm","source":"\#(root)/overlay-containers/\#(id)/userdata/shm"}"#
        }
        let other = String(repeating: "9", count: 64)
        #expect(known(try look("/home/me/tree", mounts: mounts(other)).keys, "x") == nil)
        try make(manifests: ["manifest": "{}"], list: #"[{"id":"\#(other)","names":["r"],"image":"","layer":"0"}]"#)
        #expect(try look("/home/me/tree", mounts: mounts(other)).keys == .known([]))
        #expect(try look("/home/me/tree", mounts: mounts(other)).container?.image == nil)
        for wrong in ["x", "../\(Self.image)"] {
            try make(
                manifests: ["manifest": "{}"],
                list: #"[{"id":"\#(other)","names":["r"],"image":"\#(wrong)","layer":"0"}]"#)
            #expect(known(try look("/home/me/tree", mounts: mounts(other)).keys, "x") == nil)
        }
        try make(manifests: ["manifest": "{}"])
        #expect(known(try look("/home/me/tree", mounts: mounts(Self.container)).keys, "x") == false)
        #expect(try look("/home/me/tree", mounts: mounts(Self.container)).container?.name == "one")
        #expect(known(try look("/home/me/tree").keys, "x") == nil)
        #expect(known(try look("\(root)/overlay/\(other)/merged", mounts: mounts(other)).keys, "x") == nil)
    }

    @Test("only a lease of this very container counts, whatever else an annotation names")
    func leases() throws {
        let paths = SitePaths(environment: ["HOME": directory.path, "BERTH_RUNTIME_DIR": "\(directory.path)/run"])
        try paths.prepare()
        let leases = Leases(paths)
        let me = try #require(ProcessIdentity(of: getpid()))
        let lease = try leases.take(
            me, [try VolumeName("data")],
            for: LeasedContainer(id: Self.container, name: "a\nb", image: nil, pidFile: nil))
        #expect(leases.volumes(lease, ofContainer: Self.container)?.map(\.description) == ["data"])
        #expect(leases.volumes(lease, ofContainer: Self.layer) == nil)
        #expect(leases.isHeld(lease, by: me, for: Self.container) && !leases.isHeld(lease, by: me, for: Self.layer))
        #expect(!leases.isHeld(lease, by: me, for: nil))
        #expect(leases.containers(with: try VolumeName("data")).map(\.name) == ["a\\nb"])
        let planted = "\(directory.path)/leases"
        try SecureDirectory.make(planted)
        try AtomicFile.replace("\(planted)/1-1", try AtomicFile.read(lease) ?? [])
        let name = lease.split(separator: "/").last.map(String.init) ?? ""
        for wrong in [
            "\(planted)/1-1", "\(paths.leases)/../leases/\(name)", "\(paths.leases)/", "\(paths.leases)/x",
            "\(paths.leases)/\u{0301}\(name)",
            "\(lease)\u{0301}", name, "",
        ] {
            #expect(!leases.isLease(wrong) && leases.volumes(wrong, ofContainer: Self.container) == nil, "\(wrong)")
            leases.end(wrong)
        }
        #expect(access("\(planted)/1-1", F_OK) == 0)
        leases.end(lease)
        #expect(access(lease, F_OK) != 0)
    }
}
