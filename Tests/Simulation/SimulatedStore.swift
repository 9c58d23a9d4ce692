import CSimulation
import FileModel
import Glibc
import LinuxSystem
import ObjectStorage

/// What goes wrong on the way to a bucket: one in so many; 0: none.
struct BucketPlan {
    /// Half of them have stored the object.
    var refusedPuts: UInt64 = 0
    var refusedGets: UInt64 = 0
    /// One bit of what a get brings is turned over.
    var flippedGets: UInt64 = 0
}

/// A bucket: objects appear whole, survive everything, and the way to them is bad.
struct SimulatedStore: ObjectStore {
    /// Outside of the simulated disk.
    let root: String
    let clock: SimulatedClock
    let plan: BucketPlan

    private func path(_ name: ObjectName) -> String {
        root + "/" + name.description.split(separator: "/").joined(separator: "_")
    }

    private func happens(_ oneIn: UInt64) -> Bool { oneIn > 0 && simulation_random(oneIn) == 0 }

    private func takeTime() { simulation_sleep(1_000_000 + Int64(simulation_random(200_000_000))) }

    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        takeTime()
        let isRefused = happens(plan.refusedPuts)
        let isLate = simulation_random(2) == 0
        if isRefused && !isLate { throw .failed(.io, "the bucket refused object \(name)") }
        simulation_step("put")
        if access(path(name), F_OK) == 0 {
            guard try content(name).elementsEqual(bytes) else { throw .exists }
        } else {
            do throws(Errno) {
                let file = try FileDescriptor.open(path(name), O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
                try file.write(Array(bytes))
                var times = [timespec](repeating: timespec(tv_sec: Int(clock.now().seconds), tv_nsec: 0), count: 2)
                futimens(file.rawValue, &times)
            } catch {
                throw .failed(error, "the simulation's own disk: \(error)")
            }
        }
        simulation_step("reply of put")
        takeTime()
        if isRefused { throw .failed(.io, "the reply for object \(name) was lost") }
    }

    private func content(_ name: ObjectName) throws(ObjectStoreError) -> [UInt8] {
        do throws(Errno) {
            return try FileDescriptor.open(path(name), O_RDONLY).readAll(limit: 64 << 20)
        } catch {
            throw error == .noEntry ? .missing : .failed(error, "the simulation's own disk: \(error)")
        }
    }

    func get(
        _ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) {
        takeTime()
        if happens(plan.refusedGets) {
            simulation_fault()
            throw .failed(.io, "the bucket refused to read \(name)")
        }
        var bytes = try content(name)
        if happens(plan.flippedGets), !bytes.isEmpty {
            simulation_fault()
            bytes[Int(simulation_random(UInt64(bytes.count)))] ^= 1 << UInt8(simulation_random(8))
        }
        guard Int(offset) + buffer.count <= bytes.count else { throw .short }
        buffer.copyBytes(from: bytes[Int(offset)..<Int(offset) + buffer.count])
    }

    func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 { UInt64(try content(name).count) }

    func delete(_ name: ObjectName) throws(ObjectStoreError) {
        takeTime()
        simulation_step("delete")
        unlink(path(name))
    }

    func list() throws(ObjectStoreError) -> [ObjectName] {
        do {
            return try FileTree.names(in: root).compactMap { name in
                ObjectName(name.split(separator: "_").joined(separator: "/"))
            }
        } catch {
            throw .failed(.io, "the simulation's own disk: \(error)")
        }
    }

    func objects() throws(ObjectStoreError) -> [ObjectInfo] {
        var found: [ObjectInfo] = []
        for name in try list() {
            var status = stat()
            guard stat(path(name), &status) == 0 else { continue }
            found.append(ObjectInfo(name: name, size: UInt64(status.st_size), modified: Int64(status.st_mtim.tv_sec)))
        }
        return found
    }

    func capacity() -> (total: UInt64, free: UInt64)? { nil }
}
