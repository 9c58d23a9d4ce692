import FileModel

/// What is deleted, where that is kept (decision 0053). No time passes in the model: who drives it lets some seconds pass
/// between two operations, so that nothing is a temporary file.
extension ModelTree {
    struct Trashed: Equatable {
        var node: Int
        var parent: Int
        var name: String
    }

    mutating func dropLink(_ id: Int, at place: Place) {
        nodes[id]?.links -= 1
        guard nodes[id]?.links == 0 else { return }
        if keepsTrash {
            trash.append(Trashed(node: id, parent: place.directory, name: place.name))
        } else {
            nodes[id] = nil
        }
    }

    /// A file is about to be truncated to nothing. What is not zero was written: operations write no zeros.
    mutating func keepContent(of path: String) throws(Errno) {
        guard keepsTrash, keepsTruncated, var copy = nodes[try find(path)], let bytes = copy.bytes,
            bytes.contains(where: { $0 != 0 })
        else { return }
        let place = try place(path)
        copy.links = 0
        nodes[next] = copy
        trash.append(Trashed(node: next, parent: place.directory, name: place.name))
        next += 1
    }

    // MARK: Looking

    func addTrash(to picture: inout Picture) {
        guard !trash.isEmpty else { return }
        var above: [Int: Place] = [:]
        for (id, node) in nodes {
            for (name, child) in node.entries ?? [:] where nodes[child]?.entries != nil { above[child] = (id, name) }
        }
        for record in trash where isDirectory(record.node) { above[record.node] = (record.parent, record.name) }
        for (number, record) in trash.enumerated() {
            guard let node = nodes[record.node] else { continue }
            var path = record.name
            var step = record.parent
            while let place = above[step] {
                path = "\(place.name)/\(path)"
                step = place.directory
            }
            let (type, size, content, _) = describe(node)
            picture["trash \(number)"] =
                "\(path) " + Self.line(type | node.mode, "", size, node.attribute, content)
        }
    }

    private func isDirectory(_ id: Int) -> Bool { nodes[id]?.entries != nil }

    // MARK: Discarding

    /// Empties the trash. A directory in which something is left stays.
    public mutating func emptyTrash() {
        for record in trash { discard(record) }
    }

    /// All that expires, however many looks that takes.
    public mutating func expireTrash() -> [ModelTree] {
        var between: [ModelTree] = []
        while !trash.isEmpty {
            emptyTrash()
            between.append(self)
        }
        return between
    }

    private mutating func discard(_ record: Trashed) {
        guard let index = trash.firstIndex(of: record), !trash.contains(where: { $0.parent == record.node }) else {
            return
        }
        trash.remove(at: index)
        nodes[record.node] = nil
    }

    // MARK: Restoring

    /// Brings back what a path named last. Answers the errno, and the tree after each step on the way.
    public mutating func restore(_ path: String) -> (result: Int32, between: [ModelTree]) {
        var restoration = Restoration(tree: self)
        do throws(Errno) {
            try restoration.run(path.split(separator: "/").map(String.init))
            self = restoration.tree
            return (0, restoration.between)
        } catch {
            self = restoration.tree
            return (error.rawValue, restoration.between)
        }
    }

    private struct Restoration {
        var tree: ModelTree
        var between: [ModelTree] = []
        private var directories: [Trashed] = []
        private var count = 0

        init(tree: ModelTree) { self.tree = tree }

        mutating func run(_ path: [String]) throws(Errno) {
            guard let record = find(path) else {
                let id = try tree.find(path.joined(separator: "/"))
                guard tree.isDirectory(id) else { throw .noEntry }
                restoreAll(in: id, to: id)
                guard count > 0 else { throw .noEntry }
                return settle()
            }
            let parent = try living(record.parent)
            let isDirectory = tree.isDirectory(record.node)
            let isThere = tree.nodes[parent]?.entries?[record.name] != nil
            let id = try bringBack(record, to: parent, mayMerge: isDirectory)
            if isThere { restoreAll(in: id, to: id) }
            if isDirectory {
                directories.append(record)
                restoreAll(in: record.node, to: id)
            }
            settle()
        }

        private func find(_ path: [String]) -> Trashed? {
            var places = [0]
            for step in path.dropLast() {
                places = places.flatMap { place in
                    (tree.nodes[place]?.entries?[step].map { [$0] } ?? [])
                        + tree.trash.filter { $0.parent == place && $0.name == step && tree.isDirectory($0.node) }
                        .map(\.node)
                }
            }
            return tree.trash.last { $0.name == path.last && places.contains($0.parent) }
        }

        private mutating func living(_ directory: Int) throws(Errno) -> Int {
            var missing: [Trashed] = []
            var step = directory
            while let record = tree.trash.first(where: { $0.node == step }) {
                missing.append(record)
                step = record.parent
            }
            for record in missing.reversed() {
                do throws(Errno) {
                    step = try bringBack(record, to: step, mayMerge: true)
                } catch {
                    throw .notDirectory
                }
                directories.append(record)
            }
            return step
        }

        private mutating func restoreAll(in source: Int, to target: Int) {
            var work = [(source, target)]
            while let (source, target) = work.popLast() {
                let names = Set(tree.trash.filter { $0.parent == source }.map(\.name))
                for name in names.sorted() {
                    guard let record = tree.trash.last(where: { $0.parent == source && $0.name == name }) else {
                        continue
                    }
                    let isDirectory = tree.isDirectory(record.node)
                    // Also where something is in the way: that is told.
                    count += 1
                    guard let id = try? bringBack(record, to: target, mayMerge: isDirectory), isDirectory else {
                        continue
                    }
                    directories.append(record)
                    work.append((record.node, id))
                }
            }
        }

        private mutating func bringBack(_ record: Trashed, to parent: Int, mayMerge: Bool) throws(Errno) -> Int {
            if let taken = tree.nodes[parent]?.entries?[record.name] {
                guard mayMerge, tree.isDirectory(taken) else { throw .alreadyExists }
                return taken
            }
            guard var node = tree.nodes[record.node] else { throw .noEntry }
            var id = record.node
            node.links = 1
            if tree.isDirectory(id) {
                id = tree.next
                tree.next += 1
            } else {
                tree.trash.removeAll { $0 == record }
            }
            tree.nodes[id] = node
            tree.setEntry((parent, record.name), id)
            between.append(tree)
            return id
        }

        private mutating func settle() {
            for record in directories.reversed() {
                tree.discard(record)
                between.append(tree)
            }
        }
    }

    // MARK: Snapshots

    /// Makes a path of a snapshot a new one here. Trees without hard links alone.
    public mutating func restore(_ source: String, of snapshot: ModelTree, to target: String) -> Int32 {
        do throws(Errno) {
            let id = try snapshot.find(source)
            let place = try place(target)
            guard try child(place) == nil else { throw .alreadyExists }
            setEntry(place, try copy(id, of: snapshot))
            return 0
        } catch {
            return error.rawValue
        }
    }

    private mutating func copy(_ id: Int, of snapshot: ModelTree) throws(Errno) -> Int {
        var node = try snapshot.node(id)
        if let entries = node.entries {
            var copies: [String: Int] = [:]
            for (name, child) in entries { copies[name] = try copy(child, of: snapshot) }
            node.content = .directory(copies)
        }
        let new = next
        next += 1
        nodes[new] = node
        return new
    }

    /// Where something else's data becomes a file.
    public mutating func adopt(_ path: String, _ bytes: [UInt8], mode: UInt32) throws(Errno) {
        try make(path, .file(bytes), mode)
    }

    public func holds(_ path: String) -> Bool { (try? find(path)) != nil }
}
