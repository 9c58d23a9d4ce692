import ArgumentParser
import LinuxSystem
import FileModel
import Control
struct MountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "mount")
    @Argument var name: String
    @Argument var directory: String
    func run() throws {
        let site = SitePaths(environment: ProcessEnvironment.current())
        let fd = try Fusermount(environment: ProcessEnvironment.current()).mount(volume: name, at: directory, readOnly: false)
        let c = try ServerClient(socket: site.volume(name).controlSocket)
        try c.ask(.attach(Attachment(session: "abcd", mountpoint: directory, readOnly: false, identity: .oneToOne)), passing: fd.rawValue, timeout: .seconds(5))
    }
}
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "check")
}
