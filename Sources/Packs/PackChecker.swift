import FileModel
import Glibc
import LinuxSystem
import ObjectStorage

/// Verifies packs of a volume that nobody has open: that each is where its record says, whole, and, when the
/// data is read, that every frame has its checksum.
public struct PackChecker {
    private let store: any ObjectStore
    private let stagingDirectory: String
    private let codec = FrameCodec()

    public init(store: any ObjectStore, stagingDirectory: String) {
        self.store = store
        self.stagingDirectory = stagingDirectory
    }

    /// Checks one pack; `rawEnd` is where its last extent ends. Answers how many raw bytes were proved.
    public func check(_ record: PackRecord, rawEnd: UInt64, data: Bool, _ problems: inout Problems) -> UInt64 {
        if record.state == .staged, checkStaged(record.id, rawEnd, &problems) { return 0 }
        do throws(PackReadFailure) {
            let index = try PackIndex(reading: record.id, from: store)
            if UInt64(index.rawLength) < rawEnd {
                problems.add("pack \(record.id) holds \(index.rawLength) bytes, and extents name bytes up to \(rawEnd)")
            }
            if record.state == .stored, UInt64(index.rawLength) != record.rawLength {
                problems.add(
                    "pack \(record.id) holds \(index.rawLength) bytes, and its record says \(record.rawLength)")
            }
            return data ? checkFrames(index, &problems) : 0
        } catch {
            problems.add("pack \(record.id): \(error)")
            return 0
        }
    }

    /// Objects of the store that no record names: what a crash left between a put and its commit.
    public func leftovers(beside known: Set<PackID>) throws(ObjectStoreError) -> [PackID] {
        try store.list().compactMap { name in
            guard let last = name.description.words(at: "/").last, let id = PackID(last) else { return nil }
            return known.contains(id) ? nil : id
        }
    }

    /// True where the pack's raw bytes are in staging. They carry no checksums until they are sealed.
    private func checkStaged(_ id: PackID, _ rawEnd: UInt64, _ problems: inout Problems) -> Bool {
        var status = Glibc.stat()
        guard stat(StagedPack.rawPath(stagingDirectory, id), &status) == 0 else { return false }
        if UInt64(status.st_size) < rawEnd {
            problems.add("pack \(id) has \(status.st_size) bytes in staging, and extents name bytes up to \(rawEnd)")
        }
        return true
    }

    private func checkFrames(_ index: PackIndex, _ problems: inout Problems) -> UInt64 {
        var proved: UInt64 = 0
        for (number, entry) in index.frames.enumerated() {
            let range = index.rawRange(ofFrame: number)
            let stored = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(entry.storedLength), alignment: 16)
            let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: range.count, alignment: 16)
            defer {
                stored.deallocate()
                raw.deallocate()
            }
            do {
                try store.get(ObjectName(pack: index.id), at: UInt64(entry.offset), into: stored)
                try codec.expand(entry, UnsafeRawBufferPointer(stored), into: raw)
                proved += UInt64(range.count)
            } catch {
                problems.add("pack \(index.id), frame \(number): \(error)")
            }
        }
        return proved
    }
}
