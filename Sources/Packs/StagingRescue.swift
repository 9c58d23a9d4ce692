import FileModel
import Glibc
import LinuxSystem

/// What a process that died left of its staged packs: bytes in memory that outlived it, and bytes that the system has
/// not written to the disk yet.
public enum StagingRescue {
    /// Bytes of the memory to be handed to `PackStoreConfiguration`.
    public static var bufferBytes: Int { BufferTable.byteCount }

    /// Makes every byte of staged packs durable in its file, before records that name them are committed. Call it
    /// before the metadata is opened. It may be repeated.
    public static func run(_ memory: SharedMemory, staging: String) throws(Errno) {
        let table = BufferTable(memory)
        for place in 0..<BufferTable.places {
            guard let (id, bytes) = table.pack(place) else { continue }
            try write(bytes, to: StagedPack.rawPath(staging, id))
        }
        for name in (try? FileTree.names(in: staging)) ?? [] where name.hasSuffix(".raw") {
            let file = try FileDescriptor.open("\(staging)/\(name)", O_RDWR | O_NOFOLLOW)
            guard fdatasync(file.rawValue) == 0 else { throw .current }
        }
        if access(staging, F_OK) == 0 { try AtomicFile.synchronizeDirectory(staging) }
        for place in 0..<BufferTable.places { table.clear(place) }
    }

    private static func write(_ bytes: UnsafeRawBufferPointer, to path: String) throws(Errno) {
        let descriptor = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else {
            // Stored, or removed as empty: nobody reads the file any more.
            if errno == ENOENT { return }
            throw .current
        }
        try RawFile(owning: descriptor).writeFully(at: 0, bytes)
    }
}
