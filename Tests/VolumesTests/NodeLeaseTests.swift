import FileModel
import Glibc
import LinuxSystem
import Synchronization
import TestSupport
import Testing

@testable import Volumes

/// One file, and no lock at all: what two nodes have where locks are local to each.
@Suite("a volume's lock on two nodes that do not see each other's locks")
struct NodeLeaseTests {
    private let directory = TemporaryDirectory()
    private var path: String { "\(directory.path)/lock" }
    private static let interval = Duration.milliseconds(200)
    private static let first = NodeIdentity(host: "node1", boot: "b1")
    private static let second = NodeIdentity(host: "node2", boot: "b2")

    /// A node's lease, with its own descriptor of the file.
    private struct Node: ~Copyable {
        let descriptor: FileDescriptor
        let lease: NodeLease
        let words: Words

        deinit { lease.end(isClosed: false) }
    }

    private final class Words: Sendable {
        private let lines = Mutex<[String]>([])
        func add(_ line: String) { lines.withLock { $0.append(line) } }
        var all: [String] { lines.withLock { $0 } }
    }

    private func node(
        _ identity: NodeIdentity, interval: Duration = interval, isShared: Bool = true
    ) throws -> Node {
        try Self.node(path, identity, interval: interval, isShared: isShared)
    }

    private static func node(
        _ path: String, _ identity: NodeIdentity, interval: Duration = interval, isShared: Bool = true
    ) throws -> Node {
        let descriptor = try FileDescriptor.open(path, O_RDWR | O_CREAT)
        let words = Words()
        let lease = NodeLease(
            path, descriptor.rawValue, volume: "v", socket: "/run/v.sock", node: identity, interval: interval,
            isShared: isShared, report: { words.add($0) })
        return Node(descriptor: descriptor, lease: lease, words: words)
    }

    private func put(_ note: LockNote) throws { try Array(note.encoded).withUnsafeBytes { try write($0) } }

    private func write(_ bytes: UnsafeRawBufferPointer) throws {
        let file = try FileDescriptor.open(path, O_WRONLY | O_CREAT)
        #expect(pwrite(file.rawValue, bytes.baseAddress, bytes.count, 0) == bytes.count)
        #expect(ftruncate(file.rawValue, off_t(bytes.count)) == 0)
    }

    private func note(_ state: LockNote.State, _ node: NodeIdentity?, beat: UInt64 = 1) -> LockNote {
        LockNote(state: state, processID: 4711, startedAt: 1, socket: nil, node: node, beat: beat)
    }

    private func wait(_ what: String, until condition: () -> Bool) throws {
        let deadline = Deadline(after: .seconds(20))
        while !condition() {
            guard !deadline.hasPassed else { throw TestFailure("never: \(what)") }
            usleep(5000)
        }
    }

    @Test("a living holder on another node is refused, and named; one that ended is not waited for")
    func living() throws {
        let a = try node(Self.first)
        try a.lease.claim()
        let b = try node(Self.second)
        do throws(SystemFailure) {
            try b.lease.claim()
            Issue.record("two nodes have the volume")
        } catch {
            #expect(error.errno == .busy && error.message.contains("node1"), "\(error.message)")
        }
        #expect(b.words.all.count == 1 && b.words.all[0].contains("node1"))
        #expect(LockNote(at: path)?.node == Self.first && a.lease.loss() == nil)
        a.lease.noteClosing()
        a.lease.end(isClosed: true)
        #expect(LockNote(at: path)?.state == .closed)
        let c = try node(Self.second)
        let start = ContinuousClock.now
        try c.lease.claim()
        #expect(ContinuousClock.now - start < Self.interval * 2 && c.words.all.isEmpty)
        #expect(LockNote(at: path)?.node == Self.second)
    }

    @Test("a holder that crashed on another node costs a wait of three beats, and one on this boot nothing")
    func crashed() throws {
        for (holder, isShared, waits) in [
            (note(.serving, Self.first), true, true), (note(.closing, Self.first), true, true),
            (note(.serving, Self.first), false, true),
            // This machine before it was started anew, on a disk of its own.
            (note(.serving, NodeIdentity(host: "node2", boot: "b1")), false, false),
            (note(.serving, NodeIdentity(host: "node2", boot: "b1")), true, true),
            (note(.serving, Self.second), true, false), (note(.closed, Self.first), true, false),
            // Of an older program.
            (note(.serving, nil), true, false),
        ] {
            try put(holder)
            let b = try node(Self.second, isShared: isShared)
            let start = ContinuousClock.now
            try b.lease.claim()
            let waited = ContinuousClock.now - start >= Self.interval * 3
            #expect(waited == waits && b.words.all.isEmpty == !waits, "\(holder), \(isShared)")
            #expect(LockNote(at: path)?.node == Self.second)
        }
        try "".withCString { try write(UnsafeRawBufferPointer(start: $0, count: 0)) }
        try node(Self.second).lease.claim()
    }

    @Test("of two nodes that wait for one that crashed, one gets the volume")
    func two() throws {
        let path = path
        for _ in 0..<5 {
            try put(note(.serving, Self.first))
            let winners = Atomic<Int>(0)
            let done = Atomic<Int>(0)
            let threads = (0..<2).map { number in
                WorkerThread(name: "node") {
                    let identity = NodeIdentity(host: "n\(number)", boot: "n\(number)")
                    guard let node = try? Self.node(path, identity) else { return }
                    if (try? node.lease.claim()) != nil { winners.add(1, ordering: .relaxed) }
                    done.add(1, ordering: .relaxed)
                    // Holds it until the other was refused.
                    while done.load(ordering: .relaxed) < 2 { usleep(1000) }
                }
            }
            for thread in threads { thread.join() }
            let count = winners.load(ordering: .relaxed)
            #expect(count == 1)
        }
    }

    @Test(
        "a node whose file somebody else has taken knows at its next beat, writes nothing there, and takes it back never"
    )
    func lost() throws {
        let a = try node(Self.first)
        try a.lease.claim()
        let told = Words()
        a.lease.whenLost { told.add($0) }
        let before = try #require(LockNote(at: path)).beat
        try wait("a beat") { LockNote(at: path)?.beat ?? 0 > before }
        // What another program has half written is no loss.
        try "".withCString { try write(UnsafeRawBufferPointer(start: $0, count: 0)) }
        try wait("a beat after half a note") { LockNote(at: path)?.node == Self.first }
        #expect(a.lease.loss() == nil && told.all.isEmpty)
        let other = note(.serving, Self.second)
        try put(other)
        try wait("the loss") { !told.all.isEmpty }
        #expect(told.all.count == 1 && told.all[0].contains("node2") && a.lease.loss() == told.all[0])
        a.lease.noteClosing()
        a.lease.end(isClosed: true)
        #expect(LockNote(at: path) == other)
    }

    @Test("a node that stood still looks before it commits, and a server that is replaced looks before it goes on")
    func stoodStill() throws {
        let a = try node(Self.first)
        try a.lease.claim()
        // Its beats end, as those of a machine that sleeps.
        a.lease.end(isClosed: false)
        let other = note(.serving, Self.second)
        try put(other)
        try wait("the loss") { a.lease.loss() != nil }
        let next = try node(Self.first)
        #expect(throws: SystemFailure.self) { try next.lease.resume() }
        #expect(LockNote(at: path) == other)
        try put(note(.serving, Self.first))
        try node(Self.first).lease.resume()
    }

    @Test("a holder that is ending on another node is waited for")
    func closing() throws {
        try put(note(.closing, Self.first))
        let taken = Atomic<Bool>(false)
        let path = path
        let thread = WorkerThread(name: "taker") {
            guard let b = try? Self.node(path, Self.second), (try? b.lease.claim()) != nil else { return }
            taken.store(true, ordering: .relaxed)
        }
        for beat in 2..<12 {
            usleep(100_000)
            try put(note(.closing, Self.first, beat: UInt64(beat)))
            let isTaken = taken.load(ordering: .relaxed)
            #expect(!isTaken)
        }
        try put(note(.closed, Self.first))
        thread.join()
        let isTaken = taken.load(ordering: .relaxed)
        #expect(isTaken)
    }

    @Test("doctor knows which mounts keep locks to one node")
    func reach() throws {
        for (options, isTrouble) in [
            ("nfs4 srv:/home rw,vers=4.2,hard,local_lock=none,addr=10.0.0.1", false),
            ("nfs srv:/home rw,vers=3,hard,local_lock=flock,addr=10.0.0.1", true),
            ("nfs srv:/home rw,vers=3,hard,nolock,local_lock=all,addr=10.0.0.1", true),
            ("nfs srv:/home rw,vers=3,hard,local_lock=posix,addr=10.0.0.1", false),
            ("lustre mds@tcp:/scratch rw,flock,lazystatfs", false),
            ("lustre mds@tcp:/scratch rw,localflock,lazystatfs", true),
            ("lustre mds@tcp:/scratch rw,lazystatfs", true),
            ("beegfs beegfs_nodev rw,cfgFile=/etc/beegfs/beegfs-client.conf", true),
            ("cifs //srv/home rw,vers=3.0,nobrl", true), ("cifs //srv/home rw,vers=3.0", false),
            ("gpfs scratch rw", false), ("ext4 /dev/sda1 rw", false), ("ceph srv:/ rw", false),
        ] {
            let mount = try #require(MountInfo(line: "36 35 0:50 / /home rw,noatime shared:1 - \(options)"))
            let trouble = LockReach(mount).trouble
            #expect((trouble != nil) == isTrouble, "\(options)")
            #expect(trouble?.fix.contains("XDG_DATA_HOME") ?? true)
        }
    }
}
