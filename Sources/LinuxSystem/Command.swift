/// A program to run: an absolute path, its arguments and environment, and what it inherits.
public struct Command: Sendable {
    /// The descriptor `from` here becomes `to` in the child.
    public struct Remap: Sendable {
        public var from: Int32
        public var to: Int32

        public init(from: Int32, to: Int32) {
            self.from = from
            self.to = to
        }
    }

    public var executable: String
    public var arguments: [String]
    public var environment: [String: String]
    /// Everything else but 0, 1 and 2 is closed in the child, as all our descriptors are close-on-exec.
    public var descriptors: [Remap] = []
    /// Starts a session of its own, away from the caller's terminal and process group.
    public var newSession = false
    public var directory: String?

    /// `arguments` come after the program's name.
    public init(_ executable: String, _ arguments: [String], environment: [String: String]) {
        self.executable = executable
        self.arguments = arguments
        self.environment = environment
    }
}

/// How a child process ended.
public enum ChildEnd: Equatable, Sendable {
    case exited(Int32)
    case killed(signal: Int32)
}

/// What a program that was run to its end left.
public struct Outcome: Sendable {
    public var end: ChildEnd
    public var output: String
    public var errors: String

    public var succeeded: Bool { end == .exited(0) }
}
