import FileModel
import Glibc
import MetadataCopies
import ObjectStorage
import Packs

/// Copies of the metadata in a store that somebody else can write: its objects one after the other, each with the length of
/// its name (a byte), the name, its own length (two bytes, little-endian) and its bytes.
enum CopiesTarget {
    private struct Objects: ObjectStore {
        var content: [ObjectName: [UInt8]] = [:]

        init(_ stream: [UInt8]) {
            var rest = stream[...]
            while let count = rest.popFirst().map({ Int($0) }), rest.count >= count + 2 {
                let name = ObjectName(String(decoding: rest.prefix(count), as: UTF8.self))
                rest = rest.dropFirst(count)
                let length = Int(rest.removeFirst()) | Int(rest.removeFirst()) << 8
                if let name { content[name] = Array(rest.prefix(length)) }
                rest = rest.dropFirst(length)
            }
        }

        func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) { throw .exists }
        func get(
            _ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
        ) throws(ObjectStoreError) {
            guard let bytes = content[name] else { throw .missing }
            guard offset <= UInt64(bytes.count), buffer.count <= bytes.count - Int(offset) else { throw .short }
            buffer.copyBytes(from: bytes[Int(offset)..<Int(offset) + buffer.count])
        }
        func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 {
            guard let bytes = content[name] else { throw .missing }
            return UInt64(bytes.count)
        }
        func delete(_ name: ObjectName) throws(ObjectStoreError) {}
        func list() throws(ObjectStoreError) -> [ObjectName] { Array(content.keys) }
        func capacity() -> (total: UInt64, free: UInt64)? { nil }
    }

    @Sendable static func run(_ bytes: [UInt8]) -> String? { run(Objects(bytes)) }

    /// With right checksums in every manifest, which no mutation would find.
    @Sendable static func runMended(_ bytes: [UInt8]) -> String? {
        var objects = Objects(bytes)
        for (name, content) in objects.content where name.description.hasSuffix(".manifest") && content.count > 8 {
            let sum = content.dropLast(8).withUnsafeBytes { PackFormat.checksum($0) }
            objects.content[name] = content.dropLast(8) + (0..<8).map { UInt8(truncatingIfNeeded: sum >> (8 * $0)) }
        }
        return run(objects)
    }

    private static func run(_ objects: Objects) -> String? {
        let reader = CopyReader(store: objects)
        return ScratchFile.use { path in
            guard let found = try? reader.restore(to: path, skipped: { _ in }) else {
                return access(path, F_OK) == 0 ? "what could not be restored has left a file" : nil
            }
            _ = try? reader.claim(after: found.generation, identity: [])
            var status = stat()
            guard stat(path, &status) == 0, UInt64(status.st_size) == found.databaseBytes else {
                return "\(status.st_size) bytes were restored, not \(found.databaseBytes)"
            }
            return nil
        }
    }
}
