import ArgumentParser
import Control
import FileModel
import LinuxSystem
import Volumes

/// Prints an annotation that shows that it is the user's (decision 0070).
struct AnnotateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "annotate",
        abstract: "Print the annotation that gives a container a volume, with the volume's token.",
        discussion: """
            Without the token an annotation counts where the container's image cannot have set it. The token is a secret: an \
            image that knows it gets the volume.
            """)

    @Argument(help: "The volume, as NAME[:/PATH][:ro].")
    var volume: String

    @Flag(help: "Make another token; annotations with the one before count no more.")
    var renew = false

    @Flag(help: "Print as JSON.")
    var json = false

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let request = try VolumeRequest(volume)
            let record = try site.registry.record(try VolumeName(request.name))
            let token = AnnotationToken(site.paths.volume(record.name))
            var words = [record.name]
            if let path = request.path { words.append(path.description) }
            if request.readOnly { words.append("ro") }
            words.append("token=\(renew ? try token.renewed() : try token.value())")
            let value = words.joined(separator: ":")
            if json { return try Output.json(["annotation": "berth.volume", "value": value]) }
            print("berth.volume=\(value)")
        }
    }
}
