import FileModel
import Glibc
import LinuxSystem

/// A stage of an OCI hook, named on the hook's command line.
public enum HookStage: String, Sendable {
    case precreate
    case poststop

    /// Reads standard input, does the stage's work, and answers the exit status. A failure is a line in the log,
    /// on standard error, and where the person sees it.
    public func run(environment: [String: String]) -> ExitStatus {
        do throws(SystemFailure) {
            let caller = try HookCaller(environment: environment)
            do throws(SystemFailure) {
                try run(caller)
                return .success
            } catch {
                HookLog(caller.paths).note(
                    "error", complaint, [("cause", error.message), ("stage", rawValue)])
                caller.tell("berth: \(error.message)")
                throw error
            }
        } catch {
            ProcessEnvironment.complain("berth-hook: \(error.message)")
            return error.status
        }
    }

    private var complaint: String {
        switch self {
        case .precreate: "the container gets no volume"
        case .poststop: "the container's volumes are not in order"
        }
    }

    private func run(_ caller: HookCaller) throws(SystemFailure) {
        switch self {
        case .precreate:
            let output = try PrecreateHook(caller).run(
                try Self.standardInput("the container's configuration", RuntimeConfiguration.maximumBytes))
            try explaining("the engine", "does not take the container's configuration") { () throws(Errno) in
                try FileDescriptor.copy(of: 1).write(output)
            }
        case .poststop:
            try PoststopHook(caller).run(try Self.standardInput("the container's state", RuntimeState.maximumBytes))
        }
    }

    private static func standardInput(_ what: String, _ limit: Int) throws(SystemFailure) -> [UInt8] {
        do {
            return try FileDescriptor.copy(of: 0).readAll(limit: limit)
        } catch  where error == .fileTooLarge {
            throw SystemFailure(
                what, "has more than \(limit) bytes", fix: "give the container fewer mounts and settings",
                status: .dataError)
        } catch {
            throw SystemFailure(what, "cannot be read from standard input", error, status: .noInput)
        }
    }
}
