import CLinux
import FileModel
import Glibc

/// Mounts in the namespace of the caller: through the setuid helper `fusermount3`, or directly where the
/// caller is the machine's root.
public struct Fusermount: Sendable {
    private let environment: [String: String]

    /// `environment` is where `fusermount3` is looked for (PATH).
    public init(environment: [String: String]) {
        self.environment = environment
    }

    /// Mounts a volume at an absolute path free of links and answers the `/dev/fuse` descriptor of the
    /// session, which must be served at once: until INIT is answered, whoever looks there waits.
    public func mount(
        volume: String, at directory: String, readOnly: Bool, allowOther: Bool = false
    ) throws(SystemFailure) -> FileDescriptor {
        if KernelMount.isRealRoot() {
            let device = try KernelMount.openDevice()
            // Root may keep set-user-id files and devices, as on any file system it mounts.
            try KernelMount.mount(device, name: volume, at: directory, flags: 0, readOnly: readOnly)
            return device
        }
        var options = "fsname=berth:\(volume),subtype=berth,default_permissions,nosuid,nodev"
        if readOnly { options += ",ro" }
        if allowOther { options += ",allow_other" }
        return try ask(options, directory)
    }

    /// Unmounts; `lazy` also where files are still open.
    public func unmount(_ directory: String, lazy: Bool) throws(SystemFailure) {
        if KernelMount.isRealRoot() {
            do {
                return try KernelMount.unmount(directory, lazy: lazy)
            } catch {
                throw Self.cannotUnmount(directory, error.description, errno: error)
            }
        }
        let arguments = (lazy ? ["-u", "-z"] : ["-u"]) + ["--", directory]
        let outcome = try Spawn.run(
            Command(try program(), arguments, environment: environment), timeout: .seconds(30))
        guard outcome.succeeded else {
            let busy = outcome.errors.contains("busy")
            throw Self.cannotUnmount(directory, Self.lastLine(outcome.errors), errno: busy ? .busy : nil)
        }
    }

    private static func cannotUnmount(_ directory: String, _ cause: String, errno: Errno?) -> SystemFailure {
        SystemFailure(
            directory, "cannot be unmounted: \(cause)",
            fix: errno == .busy ? "end the programs that use it, or add --lazy" : nil, errno: errno,
            status: errno == .busy ? .temporaryFailure : .inputOutputError)
    }

    private func ask(_ options: String, _ directory: String) throws(SystemFailure) -> FileDescriptor {
        let ends = try explaining(directory, "no socket for fusermount3 can be made") { () throws(Errno) in
            try UnixSocket.pair()
        }
        // Not 0, 1 or 2: fusermount3 writes its complaints there.
        let number: Int32 = 3
        var command = Command(
            try program(), ["-o", options, "--", directory],
            environment: environment.merging(["_FUSE_COMMFD": "\(number)"]) { $1 })
        command.descriptors = [.init(from: ends.second.rawValue, to: number)]
        let outcome = try Spawn.run(command, timeout: .seconds(30))
        guard outcome.succeeded else {
            throw SystemFailure(
                directory, "cannot be mounted: \(Self.lastLine(outcome.errors))",
                fix: "run `berth doctor`", status: .unavailable)
        }
        var byte: UInt8 = 0
        var passed: Int32 = -1
        // It has ended: what it sent is already in the socket.
        guard berth_receive_with_fd(ends.first.rawValue, &byte, 1, &passed) == 1, passed >= 0 else {
            throw SystemFailure(directory, "fusermount3 sent no descriptor", status: .unavailable)
        }
        return FileDescriptor(owning: passed)
    }

    private func program() throws(SystemFailure) -> String {
        if let path = Spawn.find("fusermount3", path: environment["PATH"]) { return path }
        throw SystemFailure(
            "fusermount3", "is not installed", fix: "ask the administrator to install the fuse3 package",
            errno: .noEntry, status: .unavailable)
    }

    private static func lastLine(_ text: String) -> String {
        text.split(separator: "\n").last.map(String.init) ?? "fusermount3 failed without a word"
    }
}
