import FileModel
import Glibc
import LinuxSystem
import Metrics
import ObjectStorage

/// Objects in a bucket of S3, or of a service that speaks its protocol.
///
/// Invariants
/// - An object is never overwritten: a put asks the store to refuse where there is one (`If-None-Match: *`). Where it is
///   not known that the store does so, a put looks first, too; where it is known that it does not, looking is all there is.
public final class S3Store: ObjectStore {
    private let client: S3Client
    private let conditions: Conditions
    private let runsInBackground: Bool
    private let errand: StoreErrand?

    /// Reads the credentials, and asks the store nothing yet. `certificates` is a file of trusted CAs beside the
    /// system's. `witness` names a small object that is there: with its help it is found out whether conditions hold.
    public init(
        _ location: S3Location, certificates: String?, witness: ObjectName? = nil, limits: S3Limits = S3Limits(),
        surroundings: S3Surroundings, meter: StoreMeter = StoreMeter(),
        credentials: @escaping @Sendable () throws(SystemFailure) -> S3Credentials
    ) throws(SystemFailure) {
        client = try S3Client(
            location, certificates: certificates, limits: limits, surroundings: surroundings, meter: meter,
            credentials: credentials)
        conditions = Conditions(witness: witness)
        runsInBackground = false
        errand = nil
    }

    private init(of store: S3Store, inBackground: Bool, on errand: StoreErrand?) {
        client = store.client
        conditions = store.conditions
        runsInBackground = inBackground
        self.errand = errand
    }

    public var inBackground: any ObjectStore {
        runsInBackground ? self : S3Store(of: self, inBackground: true, on: errand)
    }

    public func on(_ errand: StoreErrand) -> any ObjectStore {
        S3Store(of: self, inBackground: runsInBackground, on: errand)
    }

    /// The bound on memory and the store's limits bite before more would help.
    public var parallelPuts: Int { 8 }

    /// `s3://bucket/prefix`.
    public var url: String { client.location.url }

    // MARK: Verbs

    public func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        if !conditions.hold(learning: { learnConditions(by: $0) }), let found = try sizeIfThere(name) {
            guard found == UInt64(bytes.count), try isSame(name, bytes) else { throw .exists }
            return
        }
        do throws(S3Failure) {
            try put(name, bytes, condition: conditions.areUnderstood)
        } catch {
            switch error.kind {
            case .unknownFeature where conditions.areUnderstood:
                conditions.note(.unknown)
                try translating(name, "cannot be stored") { () throws(S3Failure) in
                    try put(name, bytes, condition: false)
                }
            case .taken:
                // By an earlier attempt of ours whose reply was lost, or by somebody else.
                guard try size(name, .upload) == UInt64(bytes.count), try isSame(name, bytes) else { throw .exists }
            default: throw translate(error, name, "cannot be stored")
            }
        }
    }

    /// Puts an object that is there once more, as it is: a store that takes it pays no heed to conditions.
    private func learnConditions(by witness: ObjectName) -> Conditions.Answer? {
        guard let found = try? tail(witness, count: Self.witnessBytes, .learning),
            found.size == UInt64(found.bytes.count)
        else {
            return nil
        }
        let refusal = found.bytes.withUnsafeBytes { bytes -> S3Failure? in
            do throws(S3Failure) { try put(witness, bytes, condition: true) } catch { return error }
            return nil
        }
        switch refusal?.kind {
        case .taken: return .hold
        case .unknownFeature: return .unknown
        case .away: return nil
        default: return .ignored
        }
    }

    private static let witnessBytes = 64 << 10

    private func sizeIfThere(_ name: ObjectName) throws(ObjectStoreError) -> UInt64? {
        do throws(ObjectStoreError) {
            return try size(name, .upload)
        } catch {
            guard error == .missing else { throw error }
            return nil
        }
    }

    private func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer, condition: Bool) throws(S3Failure) {
        var call = S3Call(
            method: .put, key: key(name), body: bytes, permission: "s3:PutObject",
            budget: .upload)
        if condition { call.headers["if-none-match"] = "*" }
        _ = try send(call)
    }

    public func get(
        _ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) {
        guard !buffer.isEmpty else {
            _ = try size(name)
            return
        }
        let range = offset...offset.addingClamped(UInt64(buffer.count) - 1)
        _ = try translating(name, "cannot be read") { () throws(S3Failure) in
            try send(
                S3Call(
                    method: .get, key: key(name),
                    headers: ["range": "bytes=\(range.lowerBound)-\(range.upperBound)"], target: buffer,
                    permission: "s3:GetObject", inBackground: runsInBackground,
                    check: { RangeCheck(range: range).fault($0) }))
        }
    }

    public func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 { try size(name, .transfer) }

    /// As `size`, for somebody who waits at a prompt.
    public func look(for name: ObjectName) throws(ObjectStoreError) { _ = try size(name, .question) }

    private func size(_ name: ObjectName, _ budget: RetryBudget) throws(ObjectStoreError) -> UInt64 {
        do throws(S3Failure) {
            let reply = try send(
                S3Call(method: .head, key: key(name), permission: "s3:GetObject", budget: budget))
            if let size = reply.headers["content-length"].flatMap({ UInt64($0) }) { return size }
        } catch {
            // Passing faults were tried often enough. A reply to HEAD has no body that says why.
            if error.kind == .away { throw translate(error, name, "cannot be examined") }
        }
        return try translating(name, "cannot be examined") { () throws(S3Failure) in try sizeByRange(name, budget) }
    }

    /// As HEAD does, with a document where it fails.
    private func sizeByRange(_ name: ObjectName, _ budget: RetryBudget) throws(S3Failure) -> UInt64 {
        do throws(S3Failure) {
            let reply = try send(
                S3Call(
                    method: .get, key: key(name), headers: ["range": "bytes=0-0"], permission: "s3:GetObject",
                    budget: budget))
            let length = reply.headers["content-range"]?.words(at: "/").last.flatMap { UInt64($0) }
            guard let length = length ?? reply.headers["content-length"].flatMap({ UInt64($0) }) else {
                throw S3Failure(kind: .refused(.io), cause: "the store does not say how long it is")
            }
            return length
        } catch {
            guard error.kind == .pastEnd else { throw error }
            return 0
        }
    }

    public func tail(_ name: ObjectName, count: Int) throws(ObjectStoreError) -> ObjectTail {
        try tail(name, count: count, .transfer)
    }

    private func tail(
        _ name: ObjectName, count: Int, _ budget: RetryBudget
    ) throws(ObjectStoreError) -> ObjectTail {
        let reply = try translating(name, "cannot be read") { () throws(S3Failure) in
            try send(
                S3Call(
                    method: .get, key: key(name), headers: ["range": "bytes=-\(count)"], permission: "s3:GetObject",
                    budget: budget, inBackground: runsInBackground, check: { TailCheck(count: count).fault($0) }))
        }
        guard let size = TailCheck(count: count).size(reply) else { throw .short }
        return ObjectTail(bytes: reply.body, size: size)
    }

    public func delete(_ name: ObjectName) throws(ObjectStoreError) {
        do throws(S3Failure) {
            _ = try send(S3Call(method: .delete, key: key(name), permission: "s3:DeleteObject"))
        } catch {
            guard error.kind != .missing else { return }
            throw translate(error, name, "cannot be removed")
        }
    }

    public func list() throws(ObjectStoreError) -> [ObjectName] {
        var names: [ObjectName] = []
        try allPages { page in names += page.objects.compactMap { name($0.key) } }
        return names
    }

    public func objects() throws(ObjectStoreError) -> [ObjectInfo] {
        var found: [ObjectInfo] = []
        try allPages { page in
            found += page.objects.compactMap { object in
                name(object.key).map { ObjectInfo(name: $0, size: object.size ?? 0, modified: object.modified) }
            }
        }
        return found
    }

    private func allPages(_ take: (ListingPage) -> Void) throws(ObjectStoreError) {
        try client.listing(of: "store \(url)") { () throws(S3Failure) in
            try client.list(below: keysBegin, budget: .transfer, errand: errand) { page in
                take(page)
                return true
            }
        }
    }

    public func capacity() -> (total: UInt64, free: UInt64)? { nil }

    /// Asks the store for as little as possible, to find out what is wrong. True where it holds objects already.
    public func probe() throws(ObjectStoreError) -> Bool {
        let page = try client.listing(of: "store \(url)") { () throws(S3Failure) in
            try client.page(below: keysBegin, limit: 1, budget: .question, errand: errand)
        }
        return page.objects.contains { name($0.key) != nil }
    }

    // MARK: Parts

    private func send(_ call: S3Call) throws(S3Failure) -> HTTPReply {
        var call = call
        call.errand = errand
        return try client.send(call)
    }

    private var keysBegin: String { client.location.prefix.isEmpty ? "" : client.location.prefix + "/" }

    private func key(_ name: ObjectName) -> String { client.location.key(name.description) }

    private func name(_ key: String) -> ObjectName? {
        key.startsWithBytes(of: keysBegin) ? ObjectName(String(key.droppingBytes(first: keysBegin.utf8.count))) : nil
    }

    private func isSame(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) -> Bool {
        let found = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
        defer { found.deallocate() }
        try get(name, at: 0, into: found)
        guard let one = found.baseAddress, let other = bytes.baseAddress else { return true }
        return memcmp(one, other, bytes.count) == 0
    }

    private func translating<Result>(
        _ name: ObjectName, _ doing: String, _ body: () throws(S3Failure) -> Result
    ) throws(ObjectStoreError) -> Result {
        do throws(S3Failure) {
            return try body()
        } catch {
            throw translate(error, name, doing)
        }
    }

    private func translate(_ failure: S3Failure, _ name: ObjectName, _ doing: String) -> ObjectStoreError {
        switch failure.kind {
        case .missing: .missing
        case .pastEnd: .short
        case .taken: .exists
        default: .failed(failure.errno, "object \(url)/\(name) \(doing): \(failure.words)")
        }
    }
}

extension S3Failure {
    var errno: Errno {
        switch kind {
        case .refused(let errno): errno
        case .missing: .noEntry
        case .away: Errno(EHOSTUNREACH)
        default: .io
        }
    }
}

extension TransferFailure {
    static var noMemory: TransferFailure { TransferFailure(code: CurlHandle.noMemory, words: "out of memory") }
}
