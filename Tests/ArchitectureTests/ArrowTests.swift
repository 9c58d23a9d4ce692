import LinuxSystem
import TestSupport
import Testing

/// The import arrows of `docs/ARCHITECTURE.md`: they point down only.
@Suite("architecture")
struct ArrowTests {
    /// What each module may import of the project.
    private static let allowed: [String: Set<String>] = [
        "FileModel": [],
        "LinuxSystem": ["CLinux", "FileModel"],
        "Metrics": [],
        "Metadata": ["FileModel"],
        "SQLiteMetadata": ["CSQLite", "FileModel", "LinuxSystem", "Metadata"],
        "ObjectStorage": ["CLinux", "FileModel", "LinuxSystem", "Metrics"],
        "Archives": ["FileModel"],
        "S3Storage": ["CCurl", "Crypto", "FileModel", "LinuxSystem", "Metrics", "ObjectStorage"],
        "Packs": ["CLinux", "CXXHash", "CZstd", "FileModel", "LinuxSystem", "Metrics", "ObjectStorage"],
        "VFS": ["FileModel", "LinuxSystem", "Metadata", "Metrics", "ObjectStorage", "Packs"],
        "FUSEBridge": ["CFUSE", "CLinux", "FileModel", "LinuxSystem", "Metrics", "VFS"],
        "MetadataCopies": ["FileModel", "LinuxSystem", "ObjectStorage", "Packs"],
        "Sandbox": ["CLinux", "CSeccomp", "FileModel", "LinuxSystem"],
        "Control": ["CLinux", "FileModel", "LinuxSystem", "Metrics"],
        "Volumes": ["CLinux", "Control", "FileModel", "LinuxSystem", "Logging", "Metrics"],
        "VolumePlugin": ["FileModel", "LinuxSystem", "Logging", "NIOCore", "NIOHTTP1", "NIOPosix", "Volumes"],
        "RuntimeHooks": ["CLinux", "Control", "FileModel", "LinuxSystem", "Volumes"],
        "berth": [
            "ArgumentParser", "CLinux", "Control", "FileModel", "LinuxSystem", "Logging", "Metrics", "VolumePlugin",
            "Volumes",
        ],
        "berth-hook": ["Control", "FileModel", "LinuxSystem", "RuntimeHooks", "Volumes"],
        "berthfs": [
            "Archives", "ArgumentParser", "CLinux", "Control", "FUSEBridge", "FileModel", "LinuxSystem", "Logging",
            "Metadata",
            "Metrics", "MetadataCopies", "ObjectStorage", "Packs", "S3Storage", "SQLiteMetadata", "Sandbox", "VFS",
            "Volumes",
        ],
    ]

    private static let everywhere: Set<String> = ["Glibc", "Synchronization", "FoundationEssentials"]

    @Test("every import follows an arrow of the design")
    func arrows() throws {
        for file in try SourceFile.all(below: "Sources") {
            let permitted = Self.allowed[file.module]
            #expect(permitted != nil || file.isHeader, "\(file.module) is no module of the design")
            for imported in file.imports {
                #expect(
                    permitted?.contains(imported) == true || Self.everywhere.contains(imported),
                    "\(file.path) imports \(imported)")
            }
        }
    }

    /// What the programs of `Benchmarks` may import of the project: floors only, so that they measure nothing of it. The
    /// memory file system receives requests as Berth does, and answers them itself: the difference is the file system.
    private static let benchmarks: [String: Set<String>] = [
        "Load": ["CLinux"],
        "MemoryFS": ["CFUSE", "FUSEBridge", "FileModel", "LinuxSystem"],
    ]

    @Test("the programs that measure use no more of Berth than they must")
    func benchmarkArrows() throws {
        for file in try SourceFile.all(below: "Benchmarks") {
            let permitted = try #require(Self.benchmarks[file.module], "\(file.path)")
            let imported = Set(file.imports).subtracting(Self.everywhere)
            #expect(imported.isSubset(of: permitted), "\(file.path) imports \(imported)")
        }
    }

    @Test("full Foundation is imported nowhere, and each C library by one module")
    func libraries() throws {
        var importers: [String: Set<String>] = [:]
        for file in try SourceFile.all(below: "Sources") {
            #expect(!file.imports.contains("Foundation"), "\(file.path)")
            for library in ["CCurl", "CFUSE", "CSeccomp", "CSQLite", "CXXHash", "CZstd"]
            where file.imports.contains(library) {
                importers[library, default: []].insert(file.module)
            }
        }
        #expect(importers.values.allSatisfy { $0.count == 1 }, "\(importers)")
        #expect(importers.count == 6)
    }

    @Test("a program under test links no full Foundation and no ICU")
    func linked() throws {
        let text = try Shell.root.run(
            "cd '\(try Programs.built())'; for p in berth berthfs berth-hook; do ldd $p; done")
        #expect(!text.contains("libFoundation.so") && !text.contains("libicu") && !text.contains("_FoundationICU"))
    }
}
