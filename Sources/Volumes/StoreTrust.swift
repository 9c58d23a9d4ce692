import FileModel
import Glibc
import LinuxSystem

/// A store in a directory: whoever can replace a directory above it can replace what is stored (decision 0074).
public enum StoreTrust {
    /// Refuses a store whose place others could change, unless the user said that they may. What is not there yet is judged by
    /// the directory that it will be made in.
    public static func judge(
        _ directory: String, isShared: Bool, volume: String
    ) throws(SystemFailure) {
        let place = access(directory, F_OK) == 0 ? directory : parent(of: directory)
        do throws(SystemFailure) {
            if isShared { _ = try TrustedPath.open(place, .allowed) } else { try TrustedPath.judge(place) }
        } catch {
            // What is not there is for whoever opens the store to say.
            guard error.status == .noPermission else { return }
            guard !isShared else { throw error }
            throw SystemFailure(
                "store \(directory)", "others could replace what is in it: \(error.subject) \(error.cause)",
                fix:
                    "\(error.fix.map { "\($0)" } ?? "choose another directory"); or, where they may, say store-shared=true (`berth volume set \(volume) store-shared=true`)",
                errno: error.errno, status: error.status)
        }
    }

    /// A store's directory that is to be removed; nil where it is gone. One that others could lead elsewhere is refused.
    static func held(_ directory: String, isShared: Bool) throws(SystemFailure) -> HeldDirectory? {
        do throws(SystemFailure) {
            return try TrustedPath.open(directory, isShared ? .allowed : .refused)
        } catch {
            if error.errno == .noEntry { return nil }
            throw SystemFailure(
                "store \(directory)", "\(error.subject) \(error.cause)", fix: "use --keep-data, and remove it yourself",
                errno: error.errno, status: error.status)
        }
    }

    private static func parent(of path: String) -> String {
        "/" + path.words(at: "/").dropLast().joined(separator: "/")
    }
}

extension VolumeRecord {
    /// A base as this volume opens it: what the user says of this volume's store holds for those it shares packs with.
    public func opened(_ base: VolumeBase) -> VolumeOptions {
        var options = base.options
        if self.options.isStoreShared == true { options.isStoreShared = true }
        if self.options.bucket?.isInsecure == true {
            var bucket = options.bucket ?? BucketOptions()
            bucket.isInsecure = true
            options.bucket = bucket
        }
        return options
    }
}
