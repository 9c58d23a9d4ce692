import ArgumentParser
import LinuxSystem
import Volumes

/// What `berth volume create` and `rm` need of a bucket. Keys come from the user's files or the environment.
struct BucketCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bucket", abstract: "Claim or clear a volume's place in its bucket.", shouldDisplay: false)

    enum Verb: String, ExpressibleByArgument, CaseIterable {
        case claim
        case clear
    }

    @Argument(help: "claim or clear.")
    var verb: Verb

    @Argument(help: "The path of the volume's record.")
    var record: String

    func run() throws {
        try berthfs.run { () throws(SystemFailure) in
            let bucket = try Bucket(try VolumePlace(record).record)
            switch verb {
            case .claim: try bucket.claim(try AtomicFile.read(record) ?? [])
            case .clear: try bucket.clear()
            }
        }
    }
}
