import Glibc
import TestSupport

/// What a history's volume is made with.
struct VolumeTraits {
    var keepsTrash = false
    var keepsTruncated = false
    /// Hard links are made. Not where the model does not follow them: truncated content, and paths of snapshots.
    var hasLinks = true
    var hasQuotas = false
    var hasSnapshots = false
    /// Its metadata is copied into the bucket.
    var hasCopies = false
    var imports = false

    static func random(_ generator: inout SeededGenerator) -> VolumeTraits {
        var traits = VolumeTraits()
        traits.keepsTrash = Bool.random(using: &generator)
        traits.hasSnapshots = Bool.random(using: &generator)
        traits.hasLinks = Bool.random(using: &generator)
        traits.keepsTruncated = traits.keepsTrash && !traits.hasLinks && Bool.random(using: &generator)
        traits.hasQuotas = Int.random(in: 0..<4, using: &generator) == 0
        traits.hasCopies = Bool.random(using: &generator)
        traits.imports = Int.random(in: 0..<4, using: &generator) == 0
        return traits
    }
}

/// Something that is done to a volume, whole or not at all but for what `ModelVolume` says.
enum Change {
    case tree(Operation)
    case restoreDeleted(String)
    case emptyTrash
    /// What is in the trash becomes too old for it.
    case expireTrash
    case setQuota(bytes: UInt64?, inodes: UInt64?)
    case createSnapshot(String)
    case removeSnapshot(String)
    case restoreVolume(String)
    case restorePath(String, of: String, to: String)
    case makeClone(String)
    case releaseClone(String)
    /// A file is made of one that lies elsewhere.
    case adopt(String)

    /// Whether all that was done before is safe once it returns.
    var isDurable: Bool {
        switch self {
        case .restoreDeleted, .setQuota, .createSnapshot, .removeSnapshot, .restoreVolume, .makeClone: true
        default: false
        }
    }

    private static let snapshots = ["s0", "s1"]
    private static let clones = ["c0", "c1"]
    private static let names = ["a", "b", "c", "d0", "d1"]
    private static let paths = names + ["d0/a", "d0/b", "d0/e", "d1/a", "d0/e/a"]

    static func random(_ traits: VolumeTraits, _ generator: inout SeededGenerator) -> Change {
        if Int.random(in: 0..<100, using: &generator) < 35,
            let change = special(traits, &generator).randomElement(using: &generator)
        {
            return change
        }
        while true {
            let operation = Operation.random(&generator)
            if case .link = operation, !traits.hasLinks { continue }
            return .tree(operation)
        }
    }

    /// One of each kind, the frequent ones more than once.
    private static func special(_ traits: VolumeTraits, _ generator: inout SeededGenerator) -> [Change] {
        func pick<Element>(_ list: [Element]) -> Element { list[Int.random(in: 0..<list.count, using: &generator)] }
        var changes: [Change] = []
        if traits.keepsTrash {
            // Beside a quota a restoration may end in its midst, which the model does not follow.
            if !traits.hasQuotas { changes += (0..<4).map { _ in .restoreDeleted(pick(paths)) } }
            changes += [.emptyTrash, .expireTrash]
        }
        if traits.hasQuotas {
            changes.append(.setQuota(bytes: pick([nil, 10_000, 200_000]), inodes: pick([nil, 3, 8])))
        }
        if traits.hasSnapshots {
            changes += (0..<2).map { _ in .createSnapshot(pick(snapshots)) }
            changes += [.removeSnapshot(pick(snapshots)), .restoreVolume(pick(snapshots))]
            changes += [.makeClone(pick(clones)), .releaseClone(pick(clones))]
            if !traits.hasLinks && !traits.hasQuotas {
                changes += (0..<2).map { _ in .restorePath(pick(paths), of: pick(snapshots), to: pick(names)) }
            }
        }
        if traits.imports { changes.append(.adopt(pick(["d0/i", "d1/i", "a"]))) }
        return changes
    }
}

/// What a volume holds, as a value: the tree, its trash, and what was kept of it.
struct ModelVolume {
    var tree: ModelTree
    var snapshots: [String: ModelTree] = [:]
    var clones: [String: ModelTree] = [:]

    init(_ traits: VolumeTraits) {
        tree = ModelTree(keepsTrash: traits.keepsTrash, keepsTruncated: traits.keepsTruncated)
    }

    /// What can be compared at once; what is in snapshots and clones is read when somebody looks.
    func picture() -> Picture {
        var picture = tree.picture()
        for name in snapshots.keys { picture["snapshot \(name)"] = "there" }
        for name in clones.keys { picture["clone \(name)"] = "there" }
        return picture
    }

    /// Answers the errno, and what a crash on the way may leave but the volumes before and after.
    mutating func perform(_ change: Change) -> (result: Int32, between: [ModelVolume]) {
        switch change {
        case .tree(let operation): return (tree.perform(operation), [])
        case .restoreDeleted(let path):
            let (result, between) = tree.restore(path)
            return (result, between.map(with))
        case .emptyTrash: tree.emptyTrash()
        case .expireTrash: return (0, tree.expireTrash().map(with))
        case .setQuota(let bytes, let inodes):
            tree.quota = bytes == nil && inodes == nil ? nil : Self.words(bytes, inodes)
        case .adopt(let path):
            do {
                try tree.adopt(path, SimulatedPlace.adopted, mode: 0o644)
            } catch {
                return (error.rawValue, [])
            }
        default: return (keep(change), [])
        }
        return (0, [])
    }

    private mutating func keep(_ change: Change) -> Int32 {
        switch change {
        case .createSnapshot(let name):
            if snapshots[name] != nil { return EEXIST }
            snapshots[name] = tree
        case .removeSnapshot(let name):
            if snapshots.removeValue(forKey: name) == nil { return ENOENT }
        case .restoreVolume(let name):
            guard let kept = snapshots[name] else { return ENOENT }
            tree = kept
        case .restorePath(let source, let name, let target):
            guard let kept = snapshots[name] else { return ENOENT }
            return tree.restore(source, of: kept, to: target)
        case .makeClone(let name):
            if clones[name] != nil { return EEXIST }
            clones[name] = tree
        case .releaseClone(let name): clones[name] = nil
        default: break
        }
        return 0
    }

    private func with(_ tree: ModelTree) -> ModelVolume {
        var copy = self
        copy.tree = tree
        return copy
    }

    static func words(_ bytes: UInt64?, _ inodes: UInt64?) -> String {
        "\(bytes.map { "\($0)" } ?? "any") bytes, \(inodes.map { "\($0)" } ?? "any") inodes"
    }
}
