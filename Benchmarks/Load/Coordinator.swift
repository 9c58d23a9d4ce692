import Glibc

/// Starts the clients, lets them go at once, and sums up what they took.
struct Coordinator {
    private struct Client {
        var process: pid_t
        var output: Int32
    }

    let options: Options
    let arguments: [String]

    /// Runs the load and answers its line of JSON.
    func run() throws(LoadFailure) -> String {
        let start = try Self.pipe()
        var clients: [Client] = []
        for index in 0..<options.clients { clients.append(try self.start(index, waitingOn: start.read)) }
        close(start.read)
        do throws(LoadFailure) {
            for client in clients where readBytes(client.output, 1).count != 1 {
                throw LoadFailure("a client ended before the start")
            }
            close(start.write)
            var reports: [Report] = []
            for client in clients { reports.append(try report(of: client)) }
            return summary(reports)
        } catch {
            // A half load is no load.
            for client in clients { kill(client.process, SIGKILL) }
            throw error
        }
    }

    private func start(_ index: Int, waitingOn gate: Int32) throws(LoadFailure) -> Client {
        let output = try Self.pipe()
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, gate, Worker.startDescriptor)
        posix_spawn_file_actions_adddup2(&actions, output.write, Worker.reportDescriptor)
        var argv = (["berth-load"] + arguments + ["--worker", "\(index)"]).map { strdup($0) } + [nil]
        defer { for text in argv { free(text) } }
        var environment: [UnsafeMutablePointer<CChar>?] = [nil]
        var process = pid_t()
        let result = posix_spawn(&process, "/proc/self/exe", &actions, nil, &argv, &environment)
        guard result == 0 else { throw LoadFailure("a client cannot be started: \(String(cString: strerror(result)))") }
        close(output.write)
        return Client(process: process, output: output.read)
    }

    private func report(of client: Client) throws(LoadFailure) -> Report {
        let bytes = readBytes(client.output, .max)
        var status: Int32 = 0
        while waitpid(client.process, &status, 0) < 0 && errno == EINTR {}
        let head = 3 * MemoryLayout<UInt64>.size
        guard status == 0, bytes.count >= head else { throw LoadFailure("a client failed") }
        return bytes.withUnsafeBytes { raw in
            let count = (raw.count - head) / MemoryLayout<UInt32>.size
            return Report(
                started: raw.loadUnaligned(fromByteOffset: 0, as: UInt64.self),
                ended: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
                bytes: raw.loadUnaligned(fromByteOffset: 16, as: UInt64.self),
                nanoseconds: (0..<count).map { raw.loadUnaligned(fromByteOffset: head + $0 * 4, as: UInt32.self) })
        }
    }

    /// At most `limit` bytes, fewer at the end of the stream.
    private func readBytes(_ descriptor: Int32, _ limit: Int) -> [UInt8] {
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while result.count < limit {
            let count = read(descriptor, &buffer, min(buffer.count, limit - result.count))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { break }
            result.append(contentsOf: buffer[..<count])
        }
        return result
    }

    /// Close-on-exec: a client that held the start pipe's other end would wait for ever.
    private static func pipe() throws(LoadFailure) -> (read: Int32, write: Int32) {
        var ends: [Int32] = [-1, -1]
        guard Glibc.pipe(&ends) == 0 else { throw .system("pipe", "") }
        // High numbers: `adddup2` of a descriptor to itself would keep close-on-exec.
        let high = ends.map { fcntl($0, F_DUPFD_CLOEXEC, 100) }
        for end in ends { close(end) }
        guard high.allSatisfy({ $0 >= 0 }) else { throw .system("dup", "") }
        return (high[0], high[1])
    }

    private func summary(_ reports: [Report]) -> String {
        let started = reports.map(\.started).min() ?? 0
        let ended = reports.map(\.ended).max() ?? 0
        let seconds = Double(ended - started) / 1e9
        let latencies = reports.flatMap(\.nanoseconds).sorted()
        let bytes = reports.map(\.bytes).reduce(0, +)
        func percentile(_ share: Double) -> Double {
            guard !latencies.isEmpty else { return 0 }
            return Double(latencies[min(latencies.count - 1, Int(Double(latencies.count) * share))]) / 1e3
        }
        let fields: [(String, String)] = [
            ("load", "\"\(options.load.rawValue)\""), ("clients", "\(options.clients)"),
            ("operations", "\(latencies.count)"), ("bytes", "\(bytes)"), ("seconds", "\(seconds)"),
            ("rate", "\(Double(latencies.count) / max(seconds, 1e-9))"),
            ("megabytes_per_second", "\(Double(bytes) / 1e6 / max(seconds, 1e-9))"),
            ("p50_us", "\(percentile(0.5))"), ("p99_us", "\(percentile(0.99))"), ("max_us", "\(percentile(1))"),
        ]
        return "{" + fields.map { "\"\($0)\": \($1)" }.joined(separator: ", ") + "}"
    }
}
