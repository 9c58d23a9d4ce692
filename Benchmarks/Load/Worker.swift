import CLinux
import Glibc

/// One client: a process that waits for the start with the others, runs its part and hands back what it took.
struct Worker {
    /// Closed by the coordinator when all are ready.
    static let startDescriptor: Int32 = 3
    static let reportDescriptor: Int32 = 4

    let options: Options
    let client: Int

    func run() throws(LoadFailure) {
        // A run that is cut short leaves nobody behind.
        _ = berth_prctl(PR_SET_PDEATHSIG, UInt(SIGKILL))
        switch options.load {
        case .create, .read, .stat, .list, .rename, .unlink, .verify:
            let files = SmallFiles(options, client: client)
            var recorder = Recorder(expected: files.expectedOperations)
            try files.prepare()
            awaitStart(&recorder)
            try files.run(&recorder)
            report(&recorder)
        case .seqwrite, .seqread, .randread, .randwrite, .verifyblocks:
            let files = LargeFiles(options, client: client)
            var recorder = Recorder(expected: files.expectedOperations)
            try files.prepare()
            awaitStart(&recorder)
            try files.run(&recorder)
            report(&recorder)
        }
    }

    private func awaitStart(_ recorder: inout Recorder) {
        var byte = UInt8(0x52)
        _ = write(Self.reportDescriptor, &byte, 1)
        while read(Self.startDescriptor, &byte, 1) < 0 && errno == EINTR {}
        recorder.start()
    }

    private func report(_ recorder: inout Recorder) {
        recorder.finish()
        var head = [recorder.started, recorder.ended, recorder.bytes]
        send(&head, head.count * MemoryLayout<UInt64>.size)
        var latencies = recorder.nanoseconds
        send(&latencies, latencies.count * MemoryLayout<UInt32>.size)
    }

    private func send(_ memory: UnsafeMutableRawPointer, _ count: Int) {
        var done = 0
        while done < count {
            let written = write(Self.reportDescriptor, memory + done, count - done)
            guard written > 0 else { exit(1) }
            done += written
        }
    }
}
