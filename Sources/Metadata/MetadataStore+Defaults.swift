import FileModel

/// For engines that cannot be copied while they are in use, or changed.
extension MetadataStore {
    public var remedy: FaultRemedy? { failure == nil ? nil : .repair }

    public func maintenance<Result>(
        _ body: (any MetadataTransaction) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        try transaction(body)
    }

    /// Of one that never changes.
    public func fail(_ cause: String) {}

    public func reopen() throws(Errno) -> Set<InodeID> { throw .notSupported }

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
