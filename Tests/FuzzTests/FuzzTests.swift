import FuzzTargets
import Glibc
import LinuxSystem
import TestSupport
import Testing

@Suite("bytes from outside", .serialized)
struct FuzzTests {
    private static let corpora = "/" + #filePath.split(separator: "/").dropLast(2).joined(separator: "/") + "/Corpora"

    private func corpus(_ target: FuzzTarget) throws -> [[UInt8]] {
        let directory = "\(Self.corpora)/\(target.name)"
        return try FileTree.names(in: directory).sorted().map { name in
            try AtomicFile.read("\(directory)/\(name)") ?? []
        }
    }

    @Test("nothing of the corpus breaks a promise", arguments: FuzzTarget.all.map(\.name))
    func known(name: String) throws {
        let target = try #require(FuzzTarget.all.first { $0.name == name })
        let corpus = try corpus(target)
        try #require(!corpus.isEmpty)
        for bytes in corpus { #expect(target.run(bytes) == nil) }
    }

    /// Without coverage to guide it. A trap names no seed, so it is printed first.
    @Test("nor does what is made of it by chance", arguments: FuzzTarget.all.map(\.name))
    func mutated(name: String) throws {
        let target = try #require(FuzzTarget.all.first { $0.name == name })
        let corpus = try corpus(target)
        let seed = ProcessEnvironment.current()["BERTH_SEED"].flatMap { UInt64($0) } ?? .random(in: 0 ... .max)
        print("target \(name): BERTH_SEED=\(seed)")
        var generator = SeededGenerator(seed: seed)
        let seconds = ProcessEnvironment.current()["BERTH_SECONDS"].flatMap { Int($0) } ?? 1
        let start = ContinuousClock.now
        var count = 0
        while start.duration(to: .now) < .seconds(seconds) {
            let bytes = Mutation.of(corpus, &generator)
            let problem = target.run(bytes)
            #expect(problem == nil, "seed \(seed), try \(count): \(bytes.prefix(2000))")
            if problem != nil { return }
            count += 1
        }
        #expect(count > 10)
    }
}

/// Small damage to a known input, as a fuzzer does it.
private enum Mutation {
    static func of(_ corpus: [[UInt8]], _ generator: inout SeededGenerator) -> [UInt8] {
        var bytes = corpus.randomElement(using: &generator) ?? []
        for _ in 0..<Int.random(in: 1...6, using: &generator) {
            let position = Int.random(in: 0...bytes.count, using: &generator)
            switch Int.random(in: 0..<6, using: &generator) {
            case 0 where position < bytes.count: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            case 1 where position < bytes.count: bytes[position] = .random(in: 0...255, using: &generator)
            case 2: bytes.insert(.random(in: 0...255, using: &generator), at: position)
            case 3:
                bytes.removeSubrange(position..<min(bytes.count, position + Int.random(in: 0...9, using: &generator)))
            case 4: bytes = Array(bytes[..<position])
            default:
                let other = corpus.randomElement(using: &generator) ?? []
                bytes.insert(contentsOf: other.prefix(Int.random(in: 0...40, using: &generator)), at: position)
            }
        }
        return bytes
    }
}
