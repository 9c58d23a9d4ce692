import FileModel
import Glibc
import LinuxSystem
import ObjectStorage
import S3Storage
import Synchronization
import TestSupport
import Testing

/// What is asked of a store, counted by what stands before it, and how fast.
@Suite("requests and rates", .serialized)
struct TransportTests {
    private let proxy: FaultyProxy
    private let prefix = "transport/\(Buckets.unique())"
    private let witness = ObjectName("volume.json")
    private let bytes = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 / 5) }

    init() throws { proxy = try FaultyProxy(before: try S3Server.shared()) }

    private func name(_ number: UInt32) -> ObjectName { ObjectName(pack: PackID(epoch: 1, sequence: number)) }

    private func store(limits: S3Limits = S3Limits()) throws -> S3Store {
        try Buckets.store(
            prefix: prefix, endpoint: proxy.endpoint, witness: witness, limits: limits, sleep: { _ in })
    }

    /// A store in a place that has been claimed, as a volume's server finds it.
    private func claimed(limits: S3Limits = S3Limits()) throws -> S3Store {
        if let witness { try Buckets.store(prefix: prefix).put(witness, Array("{}".utf8)) }
        return try store(limits: limits)
    }

    private func methods() throws -> [String] {
        try proxy.requests().map { $0.split(separator: " ").first.map(String.init) ?? "" }
    }

    @Test("an object costs one request once the store has shown that it does not overwrite")
    func oneRequest() throws {
        let store = try claimed()
        try proxy.set("")
        try store.put(name(1), bytes)
        #expect(try methods() == ["GET", "PUT", "PUT"], "the witness, the witness again, the object")
        #expect(try proxy.requests()[1].contains(" 412"))
        try proxy.set("")
        for number in UInt32(2)...9 { try store.put(name(number), bytes) }
        #expect(try methods() == Array(repeating: "PUT", count: 8))
        // Put once all the same, and what was put already is recognised.
        try store.put(name(3), bytes)
        #expect(throws: ObjectStoreError.exists) { try store.put(name(3), [1]) }
        try proxy.set("PUT lose-reply 1")
        try store.put(name(10), bytes)
        #expect(try store.get(name(10), 0, bytes.count) == bytes)
    }

    @Test("where the store overwrites, or there is nothing to learn from, every put looks first")
    func looksFirst() throws {
        let store = try claimed()
        try proxy.set("PUT ignore-conditions 1000")
        try store.put(name(1), bytes)
        #expect(try methods() == ["GET", "PUT", "HEAD", "GET", "PUT"])
        #expect(throws: ObjectStoreError.exists) { try store.put(name(1), [1]) }
        #expect(try store.get(name(1), 0, bytes.count) == bytes)
        let unclaimed = try Buckets.store(prefix: "\(prefix)/x", endpoint: proxy.endpoint, witness: witness)
        try proxy.set("")
        try unclaimed.put(name(1), bytes)
        #expect(try methods().suffix(3) == ["HEAD", "GET", "PUT"])
    }

    @Test("a store that is away while it is to be asked is asked again later")
    func learnsLater() throws {
        let store = try claimed()
        try proxy.set("* close 1000")
        #expect(words { try store.put(name(1), bytes) } != "no failure")
        try proxy.set("")
        try store.put(name(1), bytes)
        try proxy.set("")
        try store.put(name(2), bytes)
        #expect(try methods() == ["PUT"])
    }

    private func seconds(_ body: () throws -> Void) rethrows -> Double {
        let start = ContinuousClock.now
        try body()
        return start.duration(to: .now) / .seconds(1)
    }

    @Test("all connections together send and fetch no more than the limits")
    func limits() async throws {
        let store = try claimed(limits: S3Limits(upload: 2 << 20, download: 4 << 20))
        let large = [UInt8](repeating: 7, count: 2 << 20)
        func together(_ body: @escaping @Sendable (UInt32) throws -> Void) async throws -> Double {
            let start = ContinuousClock.now
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in UInt32(1)...4 { group.addTask { try body(number) } }
                try await group.waitForAll()
            }
            return start.duration(to: .now) / .seconds(1)
        }
        // 8 MiB at 2 MiB/s and at 4 MiB/s, less what the bucket of tokens holds and a piece a connection.
        let up = try await together { try store.put(ObjectName(pack: PackID(epoch: 1, sequence: $0)), large) }
        // How much longer than that is the machine's business.
        #expect(up > 3, "\(up) s up")
        let down = try await together {
            _ = try store.get(ObjectName(pack: PackID(epoch: 1, sequence: $0)), 0, 2 << 20)
        }
        #expect(down > 1.4, "\(down) s down")
    }

    @Test("under a limit, what somebody waits for comes before what nobody waits for")
    func demandFirst() throws {
        let store = try claimed(limits: S3Limits(download: 1 << 20))
        let object = name(1)
        try store.put(object, [UInt8](repeating: 7, count: 4 << 20))
        let background = (0..<3).map { _ in
            WorkerThread(name: "background") { _ = try? store.inBackground.get(object, 0, 2 << 20) }
        }
        usleep(300_000)
        // Of 7 MiB at 1 MiB/s a fair share would let it wait for 4 s.
        let demand = try seconds { _ = try store.get(object, 0, 1 << 20) }
        #expect(demand > 0.5 && demand < 2.5, "\(demand) s")
        for thread in background { thread.join() }
    }

    @Test("requests under way end soon with their errand, and those of other errands go on, whatever verb they use")
    func errands() throws {
        let store = try claimed()
        try store.put(name(1), bytes)
        try proxy.set("GET hang 1")
        let object = name(1)
        let (reading, copying) = (StoreErrand(), StoreErrand())
        let (reader, copier) = (store.on(reading), store.on(copying))
        let ending = WorkerThread(name: "end") {
            usleep(300_000)
            reading.finish()
        }
        let took = seconds { #expect(words { _ = try reader.get(object, 0, 10) }.contains("is ending")) }
        ending.join()
        #expect(took < 10, "\(took) s")
        #expect(words { try reader.put(name(2), bytes) }.contains("is ending"))
        try copier.put(name(2), bytes)
        #expect(try copier.list().contains(object) && copier.inBackground.get(object, 0, 10) == Array(bytes[..<10]))
        #expect(try copier.tail(object, count: 10).size == UInt64(bytes.count) && copier.size(object) > 0)
        try copier.delete(object)
        // Its time is over, and so is the pause before another try.
        try proxy.set("* error 100")
        copying.finish(after: 0.5)
        let late = seconds { #expect(words { _ = try copier.list() } != "no failure") }
        #expect(late < 10, "\(late) s")
        try eventually("its moment comes") { copying.isOver }
        #expect(words { try copier.put(name(3), bytes) }.contains("is ending"))
        try proxy.set("")
        try store.put(name(3), bytes)
    }
}

/// The ways to a store.
@Suite("ways to a bucket", .serialized)
struct WayTests {
    @Test("a bucket in the host's name is the same bucket")
    func virtualHost() throws {
        let server = try S3Server(options: "-s3.domainName=localhost")
        defer { server.stop() }
        let name = ObjectName(pack: PackID(epoch: 1, sequence: 2))
        let byHost = try Buckets.store(
            prefix: "p", endpoint: "http://localhost:\(server.port)", isPathStyle: false)
        try byHost.put(name, [1, 2, 3])
        #expect(try byHost.get(name, 1, 2) == [2, 3] && byHost.list() == [name])
        let byPath = try Buckets.store(prefix: "p", endpoint: server.endpoint, isPathStyle: true)
        #expect(try byPath.list() == [name] && byPath.get(name, 0, 3) == [1, 2, 3])
        // The first label is the bucket: another one is not there.
        let other = try Buckets.store(
            bucket: "other", prefix: "p", endpoint: "http://localhost:\(server.port)", isPathStyle: false)
        #expect(words { _ = try other.list() }.contains("there is no bucket \"other\""))
    }

    @Test("a session token goes with each request, signed, and one that has expired is read again")
    func sessionToken() throws {
        let proxy = try FaultyProxy(before: try S3Server.shared())
        guard
            let location = S3Location(
                store: "s3://berth/t", endpoint: proxy.endpoint, region: "us-east-1", isPathStyle: nil)
        else { throw TestFailure("no location") }
        let tokens = Mutex(["OLD", "NEW"])
        let store = try S3Store(
            location, certificates: nil,
            surroundings: S3Surroundings(now: { time(nil) }, chance: { 0 }, sleep: { _ in }),
            credentials: { () throws(SystemFailure) in
                S3Credentials(
                    accessKey: "A", secretKey: "S",
                    sessionToken: tokens.withLock { $0.count > 1 ? $0.removeFirst() : $0[0] },
                    source: "the test")
            })
        try proxy.set("GET token-NEW 2")
        #expect(try store.list().isEmpty)
        let refused = try proxy.requests().map { $0.contains(" 403 ") }
        #expect(refused == [true, false])
        try proxy.set("GET token-NEWER 9")
        #expect(
            words { _ = try store.list() }.contains("the session token of the test has expired or is wrong; renew it"))
    }
}
