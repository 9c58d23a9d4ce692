import FuzzTargets
import LinuxSystem
import TestSupport
import Testing

@Suite("bytes from outside", .serialized)
struct FuzzTests {
    @Test("nothing of the corpus breaks a promise", arguments: FuzzTarget.all.map(\.name))
    func known(name: String) throws {
        let target = try #require(FuzzTarget.all.first { $0.name == name })
        let corpus = try target.corpus()
        try #require(!corpus.isEmpty)
        for bytes in corpus { #expect(target.run(bytes) == nil) }
    }

    /// A short look; `make test` has `berth-fuzz` go on for longer beside it. A trap names no seed, so it is printed first.
    @Test("nor does what is made of it by chance", arguments: FuzzTarget.all.map(\.name))
    func mutated(name: String) throws {
        let target = try #require(FuzzTarget.all.first { $0.name == name })
        let corpus = try target.corpus()
        let seed = ProcessEnvironment.current()["BERTH_SEED"].flatMap { UInt64($0) } ?? .random(in: 0 ... .max)
        print("target \(name): BERTH_SEED=\(seed)")
        var generator = SeededGenerator(seed: seed)
        let start = ContinuousClock.now
        var count = 0
        while start.duration(to: .now) < .seconds(1) || count <= 10 {
            let bytes = Mutation.of(corpus, using: &generator)
            let problem = target.run(bytes)
            #expect(problem == nil, "seed \(seed), try \(count): \(bytes.prefix(2000))")
            if problem != nil { return }
            count += 1
        }
        #expect(count > 10)
    }
}
