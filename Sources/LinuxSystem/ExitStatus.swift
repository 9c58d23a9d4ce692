/// A process's exit status, with the meanings of `<sysexits.h>`.
public enum ExitStatus: Int32, Sendable, Codable {
    case success = 0
    case failure = 1
    /// The command was used wrongly.
    case usage = 64
    /// The input data was wrong.
    case dataError = 65
    /// An input did not exist or could not be read.
    case noInput = 66
    /// A service is unavailable.
    case unavailable = 69
    /// An error of the program itself.
    case software = 70
    /// Something the operating system should have done could not be done.
    case systemError = 71
    /// An output could not be made.
    case cannotCreate = 73
    case inputOutputError = 74
    /// Try again later.
    case temporaryFailure = 75
    case noPermission = 77
    case configuration = 78
}
