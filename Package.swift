// swift-tools-version: 6.1
import PackageDescription

/// `berth-fuzz` with libFuzzer: its coverage and the address sanitizer in our own code alone.
let isFuzzing = Context.environment["BERTH_FUZZING"] != nil
let fuzzer = ["-sanitize=fuzzer,address"]

/// Warnings are errors in our own code; dependencies keep their own settings.
let strict: [SwiftSetting] =
    [.unsafeFlags(["-warnings-as-errors"])] + (isFuzzing ? [.unsafeFlags(fuzzer), .define("BERTH_FUZZING")] : [])

func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func program(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

/// A program of the benchmark harness, which nothing installs.
func benchmark(_ name: String, _ directory: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: name, dependencies: dependencies, path: "Benchmarks/\(directory)", swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies + ["TestSupport"], swiftSettings: strict)
}

let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "NIOHTTP1", package: "swift-nio"),
]

/// The data plane and its tests alone, which `make sanitize` builds: no more than that is run under sanitizers, and the
/// rest would take most of the time.
let isDataPlaneOnly = Context.environment["BERTH_DATA_PLANE_ONLY"] != nil
let dataPlane = [
    "CLinux", "CSQLite", "CXXHash", "CZstd", "FileModel", "LinuxSystem", "Metadata", "Metrics", "ObjectStorage",
    "Packs",
    "SQLiteMetadata", "VFS", "TestSupport", "LinuxSystemTests", "MetadataTests", "PacksTests", "VFSTests",
]

let package = Package(
    name: "berth",
    products: [
        .executable(name: "berth", targets: ["berth"]),
        .executable(name: "berthfs", targets: ["berthfs"]),
        .executable(name: "berth-hook", targets: ["berth-hook"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    ],
    targets: [
        // C libraries: each is imported by one module only.
        .systemLibrary(name: "CCurl"),
        .systemLibrary(name: "CFUSE"),
        .systemLibrary(name: "CLinux"),
        .systemLibrary(name: "CSeccomp"),
        .systemLibrary(name: "CSQLite"),
        .systemLibrary(name: "CXXHash"),
        .systemLibrary(name: "CZstd"),

        // The floor.
        module("FileModel", []),
        module("LinuxSystem", ["CLinux", "FileModel"]),
        module("Metrics", []),

        // The data plane.
        module("Metadata", ["FileModel"]),
        module("SQLiteMetadata", ["CSQLite", "FileModel", "LinuxSystem", "Metadata"]),
        module("ObjectStorage", ["CLinux", "FileModel", "LinuxSystem", "Metrics"]),
        module("Archives", ["FileModel"]),
        module("S3Storage", ["CCurl", "FileModel", "LinuxSystem", "Metrics", "ObjectStorage", crypto]),
        module("Packs", ["CLinux", "CXXHash", "CZstd", "FileModel", "LinuxSystem", "Metrics", "ObjectStorage"]),
        module("MetadataCopies", ["FileModel", "LinuxSystem", "ObjectStorage", "Packs"]),
        module("VFS", ["FileModel", "LinuxSystem", "Metadata", "Metrics", "ObjectStorage", "Packs"]),
        module("FUSEBridge", ["CFUSE", "CLinux", "FileModel", "LinuxSystem", "Metrics", "VFS"]),
        module("Sandbox", ["CLinux", "CSeccomp", "FileModel", "LinuxSystem"]),

        // The control plane.
        module("Control", ["CLinux", "FileModel", "LinuxSystem", "Metrics"]),
        module("Volumes", ["CLinux", "Control", "FileModel", "LinuxSystem", "Metrics", logging]),
        module("VolumePlugin", ["FileModel", "LinuxSystem", "Volumes", logging] + nio),
        module("RuntimeHooks", ["CLinux", "Control", "FileModel", "LinuxSystem", "Volumes"]),

        // Composition roots.
        program(
            "berth",
            [
                "CLinux", "Control", "FileModel", "LinuxSystem", "Metrics", "VolumePlugin", "Volumes", arguments,
                logging,
            ]),
        program("berth-hook", ["Control", "FileModel", "LinuxSystem", "RuntimeHooks", "Volumes"]),
        program(
            "berthfs",
            [
                "Archives", "CLinux", "Control", "FUSEBridge", "FileModel", "LinuxSystem", "Metadata", "MetadataCopies",
                "Metrics",
                "ObjectStorage",
                "Packs", "S3Storage", "SQLiteMetadata", "Sandbox", "VFS", "Volumes", arguments, logging,
            ]),

        // What `make bench` measures with.
        benchmark("berth-load", "Load", ["CLinux"]),
        benchmark("berth-memfs", "MemoryFS", ["CFUSE", "FUSEBridge", "FileModel", "LinuxSystem"]),

        // Tests.
        .target(
            name: "TestSupport",
            dependencies: [
                "CLinux", "FileModel", "LinuxSystem", "Metadata", "ObjectStorage", "Packs", "SQLiteMetadata", "VFS",
            ],
            path: "Tests/TestSupport", swiftSettings: strict),
        .target(name: "CSimulation", path: "Tests/CSimulation"),
        .executableTarget(
            name: "berth-simulate",
            dependencies: [
                "CSimulation", "FileModel", "LinuxSystem", "Metadata", "MetadataCopies", "ObjectStorage", "Packs",
                "SQLiteMetadata", "TestSupport", "VFS",
            ],
            path: "Tests/Simulation", swiftSettings: strict),
        .target(
            name: "FuzzTargets",
            dependencies: [
                "Archives", "Control", "FileModel", "LinuxSystem", "MetadataCopies", "ObjectStorage", "Packs",
                "RuntimeHooks", "S3Storage", "SQLiteMetadata", "VolumePlugin", "Volumes",
            ], path: "Tests/FuzzTargets", swiftSettings: strict),
        .systemLibrary(name: "CFuzzer", path: "Tests/CFuzzer"),
        .executableTarget(
            name: "berth-fuzz", dependencies: ["CFuzzer", "FileModel", "FuzzTargets", "LinuxSystem", "TestSupport"],
            path: "Tests/Fuzz", swiftSettings: strict,
            // gold gives up on the sanitizers' libraries.
            linkerSettings: isFuzzing ? [.unsafeFlags(fuzzer + ["-Xclang-linker", "-fuse-ld=lld"])] : []),
        tests("ArchitectureTests", ["LinuxSystem"]),
        tests("CommandTests", ["LinuxSystem"]),
        tests("ContainerTests", ["LinuxSystem"]),
        tests("FuzzTests", ["FuzzTargets", "LinuxSystem"]),
        tests("FileModelTests", ["FileModel"]),
        tests("MetricsTests", ["LinuxSystem", "Metrics"]),
        tests("MetadataTests", ["FileModel", "LinuxSystem", "Metadata", "SQLiteMetadata"]),
        tests(
            "MetadataCopiesTests",
            ["FileModel", "LinuxSystem", "MetadataCopies", "ObjectStorage", "Packs", "SQLiteMetadata", "VFS"]),
        tests("MountTests", ["CLinux", "FileModel", "LinuxSystem"]),
        tests("RuntimeTests", ["Control", "FileModel", "LinuxSystem", "Volumes"]),
        tests("PackagingTests", ["FileModel", "LinuxSystem"]),
        tests("PacksTests", ["FileModel", "LinuxSystem", "ObjectStorage", "Packs"]),
        tests(
            "VFSTests",
            [
                "Archives", "CLinux", "FileModel", "LinuxSystem", "Metadata", "ObjectStorage", "Packs",
                "SQLiteMetadata", "VFS",
            ]),
        tests("SimulationTests", ["FileModel", "LinuxSystem"]),
        tests("ArchivesTests", ["Archives", "FileModel"]),
        tests("StorageTests", ["FileModel", "LinuxSystem", "ObjectStorage", "S3Storage"]),
        tests("VolumePluginTests", ["LinuxSystem", "VolumePlugin", logging]),
        tests("VolumesTests", ["Control", "FileModel", "LinuxSystem", "Volumes", logging]),
        tests("ControlTests", ["Control", "FileModel", "LinuxSystem"]),
        tests("LinuxSystemTests", ["FileModel", "LinuxSystem"]),
        tests("RuntimeHooksTests", ["FileModel", "LinuxSystem", "RuntimeHooks", "Volumes"]),
    ],
    swiftLanguageModes: [.v6]
)

if isDataPlaneOnly {
    package.products = []
    package.dependencies = []
    package.targets.removeAll { !dataPlane.contains($0.name) }
}
