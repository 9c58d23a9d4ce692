import FileModel
import Glibc
import LinuxSystem

/// Something a test needs did not work.
public struct TestFailure: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}

/// The programs under test and the scripts that prepare a machine for them.
public enum Programs {
    private static let checkout: String = {
        // Tests/TestSupport/Programs.swift
        let parts = #filePath.split(separator: "/").dropLast(3)
        return "/" + parts.joined(separator: "/")
    }()

    public static func packaging(_ script: String) -> String { "\(checkout)/packaging/\(script)" }

    /// A script of the tests' own.
    public static func script(_ name: String) -> String { "\(checkout)/Tests/Servers/\(name)" }

    /// Makes a program of a C file of the tests' own, where ordinary users can start it.
    public static func compile(_ source: String, _ options: String) throws -> String {
        let path = "\(try shared())/\(source.dropLast(2))"
        try Shell.root.run("cc -O1 -o '\(path)' '\(script(source))' \(options) && chmod 0755 '\(path)'")
        return path
    }

    /// A program that `install-dependencies.sh test` has put beside the checkout.
    public static func tool(_ name: String) throws -> String {
        let path = "\(checkout)/.build/test-tools/bin/\(name)"
        guard access(path, X_OK) == 0 else {
            throw TestFailure("\(path) is missing; run packaging/install-dependencies.sh test")
        }
        return path
    }

    /// What `make dist` left: the one file whose name ends so.
    public static func distributed(_ ending: String) throws -> String {
        let directory = "\(checkout)/dist"
        let found = ((try? FileTree.names(in: directory)) ?? []).filter { $0.hasSuffix(ending) }
        guard found.count == 1 else {
            throw TestFailure("\(directory) has \(found.count) files *\(ending); make them first: make dist")
        }
        return "\(directory)/\(found[0])"
    }

    /// Where `berth`, `berthfs` and `berth-hook` were built.
    public static func built() throws -> String {
        let environment = ProcessEnvironment.current()
        let places = [environment["BERTH_PROGRAMS"], "\(checkout)/.build/debug"].compactMap { $0 }
        guard let found = places.first(where: { access("\($0)/berthfs", X_OK) == 0 }) else {
            throw TestFailure("berthfs is in none of \(places); build it first: swift build")
        }
        return found
    }

    /// A copy that ordinary users can start: the checkout may lie where they cannot look. Made once per process.
    public static func shared() throws -> String {
        switch copy {
        case .success(let directory): return directory
        case .failure(let error): throw error
        }
    }

    private static let copy: Result<String, any Error> = Result {
        let directory = "/tmp/berth-programs-\(getpid())"
        let script =
            "set -e; rm -rf '\(directory)'; mkdir -m 0755 '\(directory)'; "
            + "cp '\(try built())'/berth '\(try built())'/berthfs '\(try built())'/berth-hook '\(directory)/'; chmod 0755 '\(directory)'/*"
        try Shell.root.run(script)
        removeAtExit { FileTree.remove("/tmp/berth-programs-\(getpid())") }
        return directory
    }

    private static func removeAtExit(_ body: @escaping @convention(c) () -> Void) { atexit(body) }
}
