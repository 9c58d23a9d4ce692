import ArgumentParser
import FoundationEssentials
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
            guard let bytes = try AtomicFile.read(record) else {
                throw SystemFailure(record, "is not there", errno: .noEntry, status: .noInput)
            }
            let volume: VolumeRecord
            do {
                volume = try JSONDecoder().decode(VolumeRecord.self, from: Data(bytes))
            } catch {
                throw SystemFailure(record, "is not a volume's record", status: .dataError)
            }
            let bucket = try Bucket(volume)
            switch verb {
            case .claim: try bucket.claim(bytes)
            case .clear: try bucket.clear()
            }
        }
    }
}
