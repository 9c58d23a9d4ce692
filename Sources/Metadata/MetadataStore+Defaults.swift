import FileModel

/// For engines that cannot be copied while they are in use.
extension MetadataStore {
    public func copy(to path: String, prepare: () throws(Errno) -> Void) throws(Errno) { throw .notSupported }

    public func copy(
        to path: String, prepare: () throws(Errno) -> Void,
        change: (any MetadataTransaction) throws(Errno) -> Void
    ) throws(Errno) {
        throw .notSupported
    }

    public func replaceContent(withCopyAt path: String, prepare: () throws(Errno) -> Void) throws(Errno) {
        throw .notSupported
    }
}
