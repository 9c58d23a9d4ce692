import FileModel
import Glibc
import LinuxSystem
import Testing

@Suite("Processes")
struct ProcessTests {
    let environment = ["PATH": "/usr/bin:/bin"]

    @Test("a program's output, errors and exit status are kept apart")
    func run() throws {
        let outcome = try Spawn.run(
            Command("/bin/sh", ["-c", "echo out; echo err >&2; exit 7"], environment: environment),
            timeout: .seconds(10))
        #expect(outcome.end == .exited(7))
        #expect(outcome.output == "out\n")
        #expect(outcome.errors == "err\n")
    }

    @Test("more output than the limit is dropped, and the program still ends")
    func limit() throws {
        let outcome = try Spawn.run(
            Command("/bin/sh", ["-c", "head -c 300000 /dev/zero"], environment: environment), timeout: .seconds(10),
            limit: 10)
        #expect(outcome.succeeded)
        #expect(outcome.output.utf8.count == 10)
    }

    @Test("a program that does not end in time is killed and named")
    func timeout() {
        #expect(throws: SystemFailure.self) {
            try Spawn.run(Command("/bin/sleep", ["60"], environment: environment), timeout: .milliseconds(200))
        }
    }

    @Test("a program that does not exist is an error, not a child")
    func missing() {
        #expect(throws: SystemFailure.self) { try Spawn.start(Command("/nonexistent/x", [], environment: [:])) }
    }

    @Test("two descriptors can change places in a child")
    func swap() throws {
        let first = try FileDescriptor.pipe()
        let second = try FileDescriptor.pipe()
        var command = Command("/bin/bash", ["-c", "echo a >&\(second.second.rawValue)"], environment: environment)
        command.descriptors = [
            .init(from: first.second.rawValue, to: second.second.rawValue),
            .init(from: second.second.rawValue, to: first.second.rawValue),
        ]
        let child = try Spawn.start(command)
        // Required: else the read would wait for our own end of the pipe.
        try #require(Spawn.wait(for: child) == .exited(0))
        var bytes = [UInt8](repeating: 0, count: 8)
        #expect(read(first.first.rawValue, &bytes, 8) == 2)
    }

    @Test("a child in a session of its own leads it")
    func session() throws {
        var command = Command("/bin/sleep", ["5"], environment: environment)
        command.newSession = true
        let child = try Spawn.start(command)
        #expect(getsid(child) == child)
        kill(child, SIGKILL)
        #expect(Spawn.wait(for: child) == .killed(signal: SIGKILL))
    }

    private func readiness(_ script: String, timeout: Duration = .seconds(10)) throws {
        let pipe = try ReadinessPipe()
        var command = Command("/bin/sh", ["-c", script], environment: environment)
        command.descriptors = [.init(from: pipe.childEnd, to: 3)]
        let child = try Spawn.start(command)
        defer { _ = Spawn.wait(for: child) }
        try pipe.wait(for: "the child", log: "its log", timeout: timeout)
    }

    @Test("a child that says ready is ready")
    func ready() throws {
        try readiness("echo ready >&3")
    }

    @Test("a child's own words and exit status reach the one that started it")
    func refused() {
        let failure = #expect(throws: SystemFailure.self) { try readiness("echo 'error 65 meta.db: corrupt' >&3") }
        #expect(failure?.status == .dataError)
        #expect(failure?.message == "the child: meta.db: corrupt")
    }

    @Test("a child that dies without a word is noticed at once")
    func died() {
        let failure = #expect(throws: SystemFailure.self) { try readiness("exit 1") }
        #expect(failure?.message == "the child: ended before it was ready; see its log")
    }

    @Test("a child that never answers is given up after the timeout")
    func silent() {
        let failure = #expect(throws: SystemFailure.self) { try readiness("sleep 1", timeout: .milliseconds(100)) }
        #expect(failure?.errno == Errno(ETIMEDOUT))
    }
}
