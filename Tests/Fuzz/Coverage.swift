#if BERTH_FUZZING
    import CFuzzer
    import FuzzTargets
    import Glibc

    /// libFuzzer on one target: an input that reaches what none before it reached is kept and changed further. Never
    /// returns: libFuzzer ends the process, with 0 where nothing broke.
    enum Coverage {
        // libFuzzer calls a function without context, from one thread.
        nonisolated(unsafe) private static var target: FuzzTarget?
        nonisolated(unsafe) private static var seconds = 0.0
        nonisolated(unsafe) private static var count = 0

        /// What breaks a promise, or the process, is kept in the file `artifact`.
        static func fuzz(_ target: FuzzTarget, seconds: Double, seed: UInt64, artifact: String) throws -> Never {
            self.target = target
            self.seconds = seconds
            let words = [
                "berth-fuzz", "-seed=\(UInt32(truncatingIfNeeded: seed))", "-exact_artifact_path=\(artifact)",
                // New inputs stay in memory: a directory would be written to.
                "-seed_inputs=\(try target.corpusPaths().joined(separator: ","))", "-max_len=65536",
                // By the clock: on a busy machine one input may wait for minutes.
                "-timeout=600", "-report_slow_units=600", "-detect_leaks=0", "-verbosity=0", "-print_funcs=0",
                "-print_final_stats=1",
            ]
            var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = .allocate(capacity: words.count + 1)
            for (index, word) in words.enumerated() { arguments?[index] = strdup(word) }
            arguments?[words.count] = nil
            var count = CInt(words.count)
            exit(LLVMFuzzerRunDriver(&count, &arguments) { Coverage.test($0, $1) })
        }

        private static func test(_ start: UnsafePointer<UInt8>?, _ length: Int) -> CInt {
            count += 1
            // Of the processor: a busy machine fuzzes later and not less. The signal ends libFuzzer after this input.
            if count % 64 == 0, Fuzz.processorSeconds() >= seconds {
                say("target \(target?.name ?? ""): \(count) inputs in \(Int(seconds)) s")
                seconds = .infinity
                raise(SIGUSR1)
            }
            let bytes = Array(UnsafeBufferPointer(start: start, count: length))
            guard let target, let problem = target.run(bytes) else { return 0 }
            say("target \(target.name): \(problem)")
            abort()
        }
    }
#endif
