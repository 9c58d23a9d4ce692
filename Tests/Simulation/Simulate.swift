import CSimulation
import FileModel
import Glibc
import LinuxSystem
import TestSupport

/// What to simulate, from the command line.
private struct Request {
    var first: UInt64 = 0
    var count: UInt64 = 1
    var jobs: UInt64 = 1
    var seconds = Int.max
    var isTraced = false
    var runsTwice = false
    var enumerates = false

    static let usage = """
        usage: berth-simulate [--seed N | --from N --count N] [--jobs N] [--seconds N] [--twice] [--trace]
               berth-simulate --points
        A history of a volume for each seed: threads one at a time in an order of the seed's, a disk that fails and loses
        what was not synchronized, a store that refuses. --twice runs each again and holds the two against each other;
        --points ends fixed histories at each of their steps.
        """

    init?(_ arguments: [String]) {
        var words = arguments[...]
        while let word = words.popFirst() {
            switch word {
            case "--trace": isTraced = true
            case "--twice": runsTwice = true
            case "--points": enumerates = true
            case "--seed", "--from", "--count", "--jobs", "--seconds":
                guard let value = words.popFirst().flatMap({ UInt64($0) }) else { return nil }
                switch word {
                case "--count": count = value
                case "--jobs": jobs = max(1, value)
                case "--seconds": seconds = Int(clamping: value)
                default: first = value
                }
            default: return nil
            }
        }
    }
}

@main
struct Simulate {
    private let request: Request
    private let directory: String
    /// One for each job, in memory that the processes share.
    private let totals: UnsafeMutableBufferPointer<Totals>

    static func main() {
        simulation_settle(CommandLine.unsafeArgv)
        guard let request = Request(Array(CommandLine.arguments.dropFirst())) else {
            say(Request.usage)
            exit(64)
        }
        do {
            let simulate = try Simulate(request)
            let isWhole = try request.enumerates ? simulate.enumerate() : simulate.runAll()
            FileTree.remove(simulate.directory)
            exit(isWhole ? 0 : 1)
        } catch {
            say("berth-simulate: \(error)")
            exit(70)
        }
    }

    private init(_ request: Request) throws {
        self.request = request
        // Memory: a history is some thousand files, and none of them matters after it.
        directory = "/dev/shm/berth-simulate-\(getpid())"
        guard mkdir(directory, 0o700) == 0 else { throw Errno.current }
        let bytes = MemoryLayout<Totals>.stride * Int(request.jobs)
        let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
        guard let memory, memory != MAP_FAILED else { throw Errno.current }
        let first = memory.bindMemory(to: Totals.self, capacity: Int(request.jobs))
        totals = UnsafeMutableBufferPointer(start: first, count: Int(request.jobs))
        totals.initialize(repeating: Totals())
    }

    private func runAll() throws -> Bool {
        let start = ContinuousClock.now
        let jobs = try (0..<request.jobs).map { job in
            let child = simulation_fork()
            guard child >= 0 else { throw Errno.current }
            if child == 0 {
                simulation_pin(Int32(job))
                work(job, start)
                exit(0)
            }
            return child
        }
        let areOver = jobs.map { simulation_wait($0) }.allSatisfy { $0 == 0 }
        var sum = Totals()
        for part in totals { sum.add(part) }
        let seconds = (start.duration(to: .now) / .seconds(1)).rounded()
        say(
            "\(sum.histories) histories in \(Int(seconds)) s: \(sum.lives) lives, \(sum.kills) kills, "
                + "\(sum.takeovers) taken over, "
                + "\(sum.powerLosses) power failures, \(sum.faultyLives) lives with faults; \(sum.operations) operations, "
                + "\(sum.steps) steps on the disk, \(sum.switches) switches of threads, "
                + "\(sum.simulatedSeconds / 3600) simulated hours; \(sum.failures) failures")
        return areOver && sum.failures == 0
    }

    private func work(_ job: UInt64, _ start: ContinuousClock.Instant) {
        for seed in stride(from: request.first + job, to: request.first + request.count, by: Int(request.jobs)) {
            guard start.duration(to: .now) < .seconds(min(request.seconds, 1 << 30)) else { return }
            guard run(seed, Int(job)) else { continue }
            let first = totals[Int(job)].fingerprint
            guard request.runsTwice, run(seed, Int(job)), totals[Int(job)].fingerprint != first else { continue }
            totals[Int(job)].failures += 1
            say("seed \(seed): the second run went another way than the first")
        }
    }

    /// One history in a process of its own: it cannot leave anything to the next, and a replay begins as it did.
    private func run(_ seed: UInt64, _ job: Int) -> Bool {
        let child = simulation_fork()
        if child == 0 {
            do {
                totals[job].fingerprint = try once(seed, job)
                exit(0)
            } catch {
                say("seed \(seed): \(error)\n  again: berth-simulate --seed \(seed) --trace")
                exit(1)
            }
        }
        if child > 0 && simulation_wait(child) == 0 { return true }
        totals[job].failures += 1
        return false
    }

    /// Answers the history's fingerprint.
    private func once(_ seed: UInt64, _ job: Int) throws -> UInt64 {
        let root = "\(directory)/\(seed)"
        defer { FileTree.remove(root) }
        let (traits, scripts) = History.scripts(seed: seed, isTraced: request.isTraced)
        var history = try History(root, seed: seed, traits)
        defer {
            totals[job].add(history.totals)
            munmap(history.report, MemoryLayout<simulation_report>.size)
        }
        history.totals.histories = 1
        for script in scripts { try history.live(script) }
        try history.finish(scripts.last?.plan)
        return history.fingerprint
    }

    /// Six ways to end, each in a process of its own.
    private func enumerate() throws -> Bool {
        var children: [pid_t] = []
        for storesOnDisk in [false, true] {
            for ending in [LifePlan.Ending.kill, .killedServer, .powerLoss] {
                let child = simulation_fork()
                guard child >= 0 else { throw Errno.current }
                if child == 0 {
                    simulation_pin(Int32(children.count % 2))
                    exit(enumerate(ending, storesOnDisk))
                }
                children.append(child)
            }
        }
        return children.map { simulation_wait($0) }.allSatisfy { $0 == 0 }
    }

    private func enumerate(_ ending: LifePlan.Ending, _ storesOnDisk: Bool) -> Int32 {
        let place = storesOnDisk ? "in a directory" : "in a bucket"
        var failures: Int32 = 0
        do {
            let points = FailurePoints(directory: "\(directory)/\(ending)-\(storesOnDisk)")
            let (names, count) = try points.enumerate(ending, storesOnDisk: storesOnDisk) { point, problem in
                failures += 1
                say("\(point), \(ending), store \(place): \(problem)")
            }
            for (name, times) in names.sorted(by: { $0.key < $1.key }) { say("  \(times) \(name)") }
            say("\(count) points, \(ending), store \(place): \(failures) failures")
        } catch {
            say("\(ending), store \(place): \(error)")
            failures += 1
        }
        return min(failures, 1)
    }
}

/// A whole line at once, from whatever process.
private func say(_ text: String) {
    let line = Array((text + "\n").utf8)
    _ = Glibc.write(1, line, line.count)
}

extension Totals {
    mutating func add(_ other: Totals) {
        histories += other.histories
        lives += other.lives
        kills += other.kills
        powerLosses += other.powerLosses
        takeovers += other.takeovers
        faultyLives += other.faultyLives
        operations += other.operations
        steps += other.steps
        switches += other.switches
        simulatedSeconds += other.simulatedSeconds
        failures += other.failures
    }
}
