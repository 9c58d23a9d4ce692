import CSimulation
import FileModel
import Glibc
import LinuxSystem
import ObjectStorage

/// A bucket: objects appear whole, survive everything, and the way to them is bad.
struct SimulatedStore: ObjectStore {
    /// Outside of the simulated disk.
    let root: String
    let refusedPuts: UInt64

    private func path(_ name: ObjectName) -> String {
        root + "/" + name.description.split(separator: "/").joined(separator: "_")
    }

    private func takeTime() { simulation_sleep(1_000_000 + Int64(simulation_random(200_000_000))) }

    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        takeTime()
        let isRefused = refusedPuts > 0 && simulation_random(refusedPuts) == 0
        let isLate = simulation_random(2) == 0
        if isRefused && !isLate { throw .failed(.io, "the bucket refused object \(name)") }
        simulation_step("put")
        if access(path(name), F_OK) == 0 {
            guard try content(name).elementsEqual(bytes) else { throw .exists }
        } else {
            do throws(Errno) {
                let file = try FileDescriptor.open(path(name), O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
                try file.write(Array(bytes))
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
        let bytes = try content(name)
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

    func capacity() -> (total: UInt64, free: UInt64)? { nil }
}
