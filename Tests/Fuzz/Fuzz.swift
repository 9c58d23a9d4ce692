import FileModel
import FuzzTargets
import Glibc
import LinuxSystem
import TestSupport

/// What to fuzz, from the command line.
private struct Request {
    var target: String?
    var seconds = 60.0
    var seed = UInt64.random(in: 0 ... .max)
    var jobs = 1
    /// Runs the bytes of this file once.
    var input: String?
    /// Of a process that has one target: where it notes each input before it is tried.
    var note: String?

    static let usage = """
        usage: berth-fuzz [--target NAME] [--seconds N] [--seed N] [--jobs N] [--input FILE]
        Gives each target what libFuzzer makes of its corpus (built without it: seeded mutation), for N seconds of
        processor time. What breaks a promise, or the process, is kept in a file, which --input tries again.
        """

    init?(_ arguments: [String]) {
        var words = arguments[...]
        while let word = words.popFirst() {
            guard let value = words.popFirst() else { return nil }
            switch word {
            case "--target": target = value
            case "--input": input = value
            case "--note": note = value
            case "--seconds": seconds = Double(value) ?? seconds
            case "--jobs": jobs = max(1, Int(value) ?? 1)
            case "--seed":
                guard let number = UInt64(value) else { return nil }
                seed = number
            default: return nil
            }
        }
        if let target, !FuzzTarget.all.contains(where: { $0.name == target }) { return nil }
        if target == nil && (input != nil || note != nil) { return nil }
    }
}

@main
struct Fuzz {
    static func main() {
        guard let request = Request(Array(CommandLine.arguments.dropFirst())) else {
            say(Request.usage)
            exit(64)
        }
        do {
            exit(try run(request) ? 0 : 1)
        } catch {
            say("berth-fuzz: \(error)")
            exit(70)
        }
    }

    private static func run(_ request: Request) throws -> Bool {
        let targets = FuzzTarget.all.filter { request.target == nil || $0.name == request.target }
        if let input = request.input, let target = targets.first {
            let problem = target.run(try AtomicFile.read(input) ?? [])
            say("target \(target.name): \(problem ?? "nothing is wrong")")
            return problem == nil
        }
        if let note = request.note, let target = targets.first {
            #if BERTH_FUZZING
                try Coverage.fuzz(target, seconds: request.seconds, seed: request.seed, artifact: note)
            #else
                return try fuzz(target, request, note)
            #endif
        }
        return try runAll(targets, request)
    }

    // MARK: One process for each target

    /// A trap ends a process, and not the others.
    private static func runAll(_ targets: [FuzzTarget], _ request: Request) throws -> Bool {
        var waiting = targets[...]
        var running: [(target: FuzzTarget, child: pid_t, note: String)] = []
        var isWhole = true
        while !waiting.isEmpty || !running.isEmpty {
            if running.count < request.jobs, let target = waiting.popFirst() {
                let note = "/dev/shm/berth-fuzz-\(getpid())-\(target.name)"
                let arguments = [
                    "--target", target.name, "--seconds", "\(request.seconds)", "--seed", "\(request.seed)", "--note",
                    note,
                ]
                let command = Command("/proc/self/exe", arguments, environment: ProcessEnvironment.current())
                running.append((target, try Spawn.start(command), note))
                continue
            }
            let (target, child, note) = running.removeFirst()
            let end = Spawn.wait(for: child)
            if end != .exited(0) {
                isWhole = false
                let kept = "fuzz-\(target.name)-\(request.seed)"
                try keep(note, as: kept)
                say(
                    "target \(target.name): \(end.map { "\($0)" } ?? "it was lost")\n"
                        + "  again: berth-fuzz --target \(target.name) --input \(kept)")
            }
            unlink(note)
        }
        return isWhole
    }

    // MARK: One target

    private static let noteBytes = 1 << 20

    private static func fuzz(_ target: FuzzTarget, _ request: Request, _ path: String) throws -> Bool {
        let corpus = try target.corpus()
        let note = try mapped(path)
        var generator = SeededGenerator(seed: request.seed)
        var count = 0
        while processorSeconds() < request.seconds {
            let bytes = Mutation.of(corpus, using: &generator)
            let kept = min(bytes.count, noteBytes - 8)
            note.storeBytes(of: kept, as: Int.self)
            note.advanced(by: 8).copyMemory(from: bytes, byteCount: kept)
            if let problem = target.run(bytes) {
                say("target \(target.name), seed \(request.seed), try \(count): \(problem)")
                return false
            }
            count += 1
        }
        say("target \(target.name): \(count) inputs in \(Int(request.seconds)) s, seed \(request.seed)")
        return count > 0
    }

    /// Keeps what a process that is gone was trying. libFuzzer has written it as it is, if at all.
    private static func keep(_ note: String, as path: String) throws {
        #if BERTH_FUZZING
            try AtomicFile.replace(path, try AtomicFile.read(note) ?? [])
        #else
            try AtomicFile.replace(path, try noted(note))
        #endif
    }

    /// What a process that is gone was trying.
    private static func noted(_ path: String) throws -> [UInt8] {
        let note = try mapped(path)
        let count = min(max(0, note.load(as: Int.self)), noteBytes - 8)
        return Array(UnsafeRawBufferPointer(start: note.advanced(by: 8), count: count))
    }

    private static func mapped(_ path: String) throws -> UnsafeMutableRawPointer {
        let file = try FileDescriptor.open(path, O_RDWR | O_CREAT, mode: 0o600)
        guard ftruncate(file.rawValue, off_t(noteBytes)) == 0 else { throw Errno.current }
        let memory = mmap(nil, noteBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.rawValue, 0)
        guard let memory, memory != MAP_FAILED else { throw Errno.current }
        return memory
    }

    static func processorSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}

/// A whole line at once, from whatever process.
func say(_ text: String) {
    let line = Array((text + "\n").utf8)
    _ = Glibc.write(1, line, line.count)
}
