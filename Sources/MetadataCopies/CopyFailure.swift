import FileModel
import ObjectStorage
import Packs

/// Why a copy could not be made or read.
public enum CopyFailure: Error, Equatable, CustomStringConvertible {
    case store(ObjectStoreError)
    /// The database or its copy on this machine.
    case file(Errno)
    case damage(PackDamage)
    /// The volume was recovered on another machine, and belongs to that one.
    case recoveredElsewhere
    /// The store holds no copy.
    case none
    /// The errand was over before the copy was whole.
    case noTime

    /// Of who looked for the newest: there is none that is whole, and never will be.
    public var isWithoutCopy: Bool {
        switch self {
        case .none, .store(.missing), .store(.short): true
        case .damage(.newerVersion): false
        case .damage: true
        default: false
        }
    }

    public var description: String {
        switch self {
        case .store(let error): "\(error)"
        case .file(let errno): "\(errno)"
        case .damage(let damage): "the copy is damaged: \(damage)"
        case .recoveredElsewhere:
            "the volume was recovered on another machine, which alone may write to its store now; save what only this one has with "
                + "`berth export`, then remove it here with `berth volume rm --keep-data`"
        case .none: "the store holds no copy of the volume's metadata"
        case .noTime: "there was not enough time"
        }
    }
}

extension ObjectStore {
    /// The whole of an object of at most `limit` bytes.
    func whole(_ name: ObjectName, limit: UInt64) throws(CopyFailure) -> [UInt8] {
        do {
            let count = try size(name)
            guard count <= limit else { throw CopyFailure.damage(.inconsistent("length of \(name)")) }
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(count), alignment: 16)
            defer { buffer.deallocate() }
            if count > 0 { try get(name, at: 0, into: buffer) }
            return Array(buffer)
        } catch let error as ObjectStoreError {
            throw .store(error)
        } catch let error as CopyFailure {
            throw error
        } catch {
            throw .damage(.inconsistent("\(error)"))
        }
    }

    func store(_ bytes: [UInt8], as name: ObjectName?) throws(CopyFailure) {
        guard let name else { throw .damage(.inconsistent("name")) }
        // The error travels as a value: a typed throw through this closure does not compile in Swift 6.3.
        let refusal = bytes.withUnsafeBytes { buffer -> ObjectStoreError? in
            do throws(ObjectStoreError) {
                try put(name, buffer)
                return nil
            } catch {
                return error
            }
        }
        if let refusal { throw .store(refusal) }
    }

    /// The objects of copies.
    func copyNames() throws(CopyFailure) -> [CopyName] {
        do {
            return try list().compactMap { CopyName($0) }
        } catch {
            throw .store(error)
        }
    }
}
