import FileModel
import Glibc
import Packs

extension FileSystem {
    /// Grows with every change of the metadata since the volume was opened.
    public var changeCount: UInt64 { committer.changeCount }

    /// Why the metadata could not be copied into the store; nil where it was.
    public func noteCopyTrouble(_ cause: String?) { copyTrouble.withLock { $0 = cause } }

    /// Writes the metadata as it is at some moment before this returns to a new file at `path`. Requests go on
    /// meanwhile. The data that it names is in the store or in staging.
    public func copyMetadata(to path: String) throws(Errno) {
        do throws(Errno) {
            try metadata.copy(to: path) { () throws(Errno) in try packs.prepareCommit() }
        } catch {
            Glibc.unlink(path)
            noteFailure()
            throw error
        }
    }
}
