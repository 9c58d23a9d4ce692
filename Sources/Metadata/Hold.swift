import FileModel

/// Something beside the volume's own extents that needs packs: while it is there none of them is deleted or compacted.
public struct Hold: Equatable, Sendable {
    public typealias ID = Int64

    public enum Kind: Int64, Sendable {
        /// A copy of this database, with the snapshot's name.
        case snapshot = 0
        /// Another volume, with its name.
        case clone = 1
    }

    public enum State: Int64, Sendable {
        /// Its maker may have died: without an answer to anybody it is taken back.
        case making = 0
        case whole = 1
    }

    public var id: ID
    public var kind: Kind
    public var name: String
    public var state: State
    public var created: Timestamp
    /// What the volume held at that moment.
    public var usage: Usage

    public init(id: ID, kind: Kind, name: String, state: State, created: Timestamp, usage: Usage) {
        self.id = id
        self.kind = kind
        self.name = name
        self.state = state
        self.created = created
        self.usage = usage
    }
}

/// An extent and the inode it belongs to.
public struct OwnedExtent: Hashable, Sendable {
    public var inode: InodeID
    public var extent: Extent

    public init(inode: InodeID, extent: Extent) {
        self.inode = inode
        self.extent = extent
    }
}
