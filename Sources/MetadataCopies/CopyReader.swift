import FileModel
import Glibc
import LinuxSystem
import ObjectStorage
import Packs

/// A copy of a volume's metadata that the store holds whole.
public struct FoundCopy: Sendable {
    /// When it was made.
    public var time: Timestamp
    /// How often the volume had been recovered before.
    public var generation: UInt32
    /// The volume's record (JSON).
    public var record: [UInt8]
    public var sequence: UInt64
    public var databaseBytes: UInt64
}

/// Reads copies back.
public struct CopyReader {
    private static let partLimit: UInt64 = 64 << 20

    private let store: any ObjectStore

    public init(store: any ObjectStore) {
        self.store = store
    }

    /// Writes the newest copy that is whole to a new file at `path`, durable. `skipped` takes a line for each that is
    /// not.
    public func restore(to path: String, skipped: (String) -> Void) throws(CopyFailure) -> FoundCopy {
        let names = try store.copyNames()
        var failure: CopyFailure?
        for sequence in Self.sequences(names).reversed() {
            do throws(CopyFailure) {
                let manifest = try manifest(sequence)
                try write(manifest, to: path)
                return FoundCopy(
                    time: manifest.time, generation: manifest.generation, record: manifest.record,
                    sequence: sequence, databaseBytes: manifest.databaseBytes)
            } catch {
                unlink(path)
                // The store itself: an older copy would only be an older answer.
                if case .store(let cause) = error, cause != .missing, cause != .short { throw error }
                if case .file = error { throw error }
                // It is whole, and an older one would be a step back that nobody sees.
                if case .damage(.newerVersion) = error { throw error }
                skipped("copy \(sequence): \(error)")
                failure = failure ?? error
            }
        }
        throw failure ?? .none
    }

    /// Marks the volume as recovered, once more than before: the machine that had it makes no copies any more. Of two
    /// that recover at once one is refused.
    public func claim(after generation: UInt32, identity: [UInt8]) throws(CopyFailure) -> UInt32 {
        var newest = generation
        for case .owner(let owner) in try store.copyNames() { newest = max(newest, owner) }
        guard newest < .max else { throw .damage(.inconsistent("owner")) }
        try store.store(identity, as: CopyName.owner(newest + 1).object)
        return newest + 1
    }

    /// Whether there is one, or was meant to be.
    public static func isCopy(among objects: [ObjectName]) -> Bool {
        !sequences(objects.compactMap(CopyName.init)).isEmpty
    }

    static func sequences(_ names: [CopyName]) -> [UInt64] {
        names.compactMap { name in
            if case .manifest(let sequence) = name { sequence } else { nil }
        }.sorted()
    }

    func manifest(_ sequence: UInt64) throws(CopyFailure) -> CopyManifest {
        guard let name = CopyName.manifest(sequence).object else { throw .none }
        let bytes = try store.whole(name, limit: CopyWriter.manifestLimit)
        do {
            let manifest = try CopyManifest(decoding: bytes)
            guard manifest.sequence == sequence else { throw PackDamage.inconsistent("sequence") }
            return manifest
        } catch let damage as PackDamage {
            throw .damage(damage)
        } catch {
            throw .damage(.inconsistent("\(error)"))
        }
    }

    private func write(_ manifest: CopyManifest, to path: String) throws(CopyFailure) {
        let file: FileDescriptor
        do {
            file = try FileDescriptor.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW)
        } catch {
            throw .file(error)
        }
        // Neighbouring chunks mostly lie in one part: the last one read is kept.
        var part: (copy: UInt64, number: UInt32, bytes: [UInt8])?
        let codec = FrameCodec()
        for (number, chunk) in manifest.chunks.enumerated() {
            if part.map({ $0.copy != chunk.copy || $0.number != chunk.part }) ?? true {
                guard let name = CopyName.part(chunk.copy, chunk.part).object else { throw .none }
                part = (chunk.copy, chunk.part, try store.whole(name, limit: Self.partLimit))
            }
            let raw = try Self.expand(chunk, part?.bytes ?? [], manifest.length(of: number), codec)
            do {
                try file.write(raw)
            } catch {
                throw .file(error)
            }
        }
        guard fsync(file.rawValue) == 0 else { throw .file(.current) }
    }

    private static func expand(
        _ chunk: CopyManifest.Chunk, _ part: [UInt8], _ length: Int, _ codec: FrameCodec
    ) throws(CopyFailure) -> [UInt8] {
        let start = Int(chunk.frame.offset)
        let end = start + Int(chunk.frame.storedLength)
        guard end <= part.count else { throw .damage(.truncated) }
        var raw = [UInt8](repeating: 0, count: length)
        let damage = raw.withUnsafeMutableBytes { output in
            part.withUnsafeBytes { input -> PackDamage? in
                do throws(PackDamage) {
                    try codec.expand(chunk.frame, UnsafeRawBufferPointer(rebasing: input[start..<end]), into: output)
                    return nil
                } catch {
                    return error
                }
            }
        }
        if let damage { throw .damage(damage) }
        return raw
    }
}
