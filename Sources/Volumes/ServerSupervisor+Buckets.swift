import LinuxSystem

extension ServerSupervisor {
    /// Clearing removes objects one by one: a hundred a second, and 1.6 TB.
    static let bucketTimeout = Duration.seconds(1200)

    /// Has berthfs, which alone speaks with stores, claim or clear a volume's place in its bucket. `record` is the path
    /// of the volume's record. The program finds the keys itself: none is on its command line.
    func askBucket(_ verb: String, _ record: String) throws(SystemFailure) {
        _ = try askStore(["bucket", verb, record])
    }

    /// Has berthfs do something with a store, and answers what it printed.
    func askStore(
        _ words: [String], timeout: Duration = ServerSupervisor.bucketTimeout
    ) throws(SystemFailure) -> String {
        let command = Command(
            try Self.sibling("berthfs", of: program, environment), words,
            environment: Self.inherited(environment, withKeys: true))
        let outcome = try Spawn.run(command, timeout: timeout, limit: 64 << 10)
        guard !outcome.succeeded else { return outcome.output }
        let line = outcome.errors.split(whereSeparator: \.isNewline).last.map(String.init) ?? "berthfs: \(outcome.end)"
        let words = line.hasPrefix("berthfs: ") ? String(line.dropFirst(9)) : line
        var status = ExitStatus.unavailable
        if case .exited(let code) = outcome.end { status = ExitStatus(rawValue: code) ?? status }
        throw SystemFailure(passingOn: words, status: status)
    }

    /// What a background process needs of the environment; secrets of the caller's shell stay out, but for those of a
    /// store where the process needs them.
    static func inherited(
        _ environment: [String: String], withKeys: Bool, names: Set<String> = []
    ) -> [String: String] {
        environment.filter { key, _ in
            names.contains(key)
                || ["HOME", "PATH", "TMPDIR", "LANG", "LD_LIBRARY_PATH"].contains(key)
                || key.hasPrefix("XDG_") || key.hasPrefix("BERTH_") || key.hasPrefix("CONTAINERS_")
                || (withKeys && isForStore(key))
        }
    }

    /// Keys and settings as AWS's tools take them, proxies, and CAs to trust.
    private static func isForStore(_ key: String) -> Bool {
        key.hasPrefix("AWS_")
            || [
                "http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "curl_ca_bundle",
            ]
            .contains(key.lowercased())
    }

    /// Whether a volume's server must find keys.
    func needsKeys(_ volume: VolumePaths) -> Bool {
        guard let name = try? VolumeName(volume.name), let record = try? VolumeRegistry(paths: paths).record(name)
        else {
            return false
        }
        if case .bucket = record.place(volume) { return true }
        return record.reachesBuckets == true
    }
}
