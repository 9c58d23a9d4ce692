import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

/// Runs `berth-simulate`. It is a program of its own, because it defines the calls of the C library itself.
@Suite("simulated histories", .serialized)
struct SimulationTests {
    /// The output where all went well.
    private func simulate(_ arguments: String, timeout: Duration = .seconds(120)) throws -> String {
        try Shell.root.run("'\(try Programs.built())/berth-simulate' \(arguments) 2>&1", timeout: timeout)
    }

    /// `BERTH_SEED=N swift test --filter SimulationTests` runs that history alone.
    private var chosen: String? { ProcessEnvironment.current()["BERTH_SEED"] }

    @Test(
        "thousands of histories with crashes, power failures, full and failing disks, and lost replies keep every promise"
    )
    func histories() throws {
        if let chosen {
            _ = try simulate("--seed \(chosen)")
            return
        }
        // The same seeds each time, and as many that nobody chose.
        let fresh = UInt64.random(in: 1_000_000...1_000_000_000_000)
        for first in [1, fresh] {
            let line = try simulate("--from \(first) --count 2000 --jobs 2 --seconds 30")
            print("seeds from \(first): \(line)")
            #expect(line.contains(" 0 failures"))
        }
    }

    @Test("a seed is one history: each goes the same way again, switch by switch")
    func replay() throws {
        #expect(try simulate("--from 1 --count 40 --jobs 2 --twice").contains(" 0 failures"))
    }

    @Test(
        "killed, or without power, at each step between two durable states, a volume is whole and lost nothing it promised"
    )
    func points() throws {
        guard chosen == nil else { return }
        let output = try simulate("--points", timeout: .seconds(900))
        for name in Self.names { #expect(output.contains(" \(name)\n"), "no history comes by: \(name)") }
    }

    /// The steps by name: a change that removes one, or its failure point, is seen here.
    private static let names = [
        // Opening
        "open database", "mkdir staging directory", "mkdir cache directory", "sync directory",
        // A write, and its commit
        "open raw", "open runs", "set aside raw", "write raw", "write runs", "sync raw", "sync staging directory",
        "write log", "sync log",
        // A checkpoint
        "write database", "sync database", "truncate log",
        // A snapshot, a clone, and a copy of the metadata
        "mkdir snapshot directory", "sync snapshot directory", "open snapshot", "write snapshot", "sync snapshot",
        "rename snapshot", "unlink snapshot", "open clone", "write clone", "sync clone", "rename clone",
        "open copy of metadata", "write copy of metadata", "rename copy of metadata", "unlink copy of metadata",
        // A pack on its way to the store
        "truncate raw", "put", "reply of put", "rename raw", "write cached pack", "unlink runs",
        "open object", "write object", "sync object", "link object", "sync store directory", "mkdir store directory",
        // and back, and away
        "open cached pack", "unlink raw", "unlink cached pack", "delete", "unlink object",
    ]
}

@Suite("the model")
struct ModelTests {
    @Test("the model answers as the host's file system does, and ends with the same picture", arguments: 0..<8)
    func host(group: Int) throws {
        for seed in UInt64(group * 40)..<UInt64(group * 40 + 40) {
            let directory = TemporaryDirectory()
            let host = HostTree(root: "\(directory.path)/host")
            try #require(mkdir(host.root, 0o755) == 0)
            var generator = SeededGenerator(seed: seed)
            var model = ModelTree()
            for step in 0..<150 {
                let operation = Operation.random(&generator)
                let expected = host.perform(operation)
                let found = model.perform(operation)
                try #require(found == expected, "seed \(seed), step \(step): \(operation) is \(found), not \(expected)")
            }
            #expect(try host.picture() == model.picture(), "seed \(seed)")
        }
    }
}
