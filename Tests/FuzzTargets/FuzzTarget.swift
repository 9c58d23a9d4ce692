/// Something that takes bytes from outside. A target is a name, a directory of `Tests/Corpora` of that name, and what is
/// done with the bytes; the rest (libFuzzer, the run in the tests) needs no change for another.
public struct FuzzTarget: Sendable {
    public let name: String
    /// Answers which promise the bytes broke. A trap is a finding, too.
    public let run: @Sendable ([UInt8]) -> String?

    public static let all = [
        FuzzTarget(name: "pack", run: PackTarget.run),
        FuzzTarget(name: "pack-mended", run: PackTarget.runMended),
        FuzzTarget(name: "plugin", run: PluginTarget.run),
        FuzzTarget(name: "configuration", run: ConfigurationTarget.run),
        FuzzTarget(name: "control", run: ControlTarget.run),
        FuzzTarget(name: "control-server", run: ControlPeerTargets.server),
        FuzzTarget(name: "control-client", run: ControlPeerTargets.client),
        FuzzTarget(name: "listing", run: TextTargets.listing),
        FuzzTarget(name: "credentials", run: TextTargets.credentials),
        FuzzTarget(name: "paths", run: TextTargets.paths),
        FuzzTarget(name: "tar", run: TarTarget.run),
        FuzzTarget(name: "tar-mended", run: TarTarget.runMended),
        FuzzTarget(name: "dump", run: DumpTarget.run),
        FuzzTarget(name: "dump-mended", run: DumpTarget.runMended),
        FuzzTarget(name: "copies", run: CopiesTarget.run),
        FuzzTarget(name: "copies-mended", run: CopiesTarget.runMended),
    ]
}
