import CSimulation
import FileModel
import Glibc
import LinuxSystem
import MetadataCopies
import TestSupport
import VFS

/// What a client does to keep data, and to keep it small.
extension Life {
    /// fsync of one file: where it waits for the store, the file's bytes are there after it.
    func synchronize(_ path: String, _ volume: SimulatedVolume) throws {
        do {
            try volume.synchronize(path)
            report.pointee.durable = report.pointee.completed
        } catch let errno as Errno where [ENOENT, ENOTDIR].contains(errno.rawValue) {
            return
        } catch {
            if !mayKeepPacks { throw error }
            return
        }
        guard script.plan.waitsForStore, !isFaulty else { return }
        let staged = try volume.staged(path)
        if !staged.isEmpty { fail("fsync of \(path) returned, and not in the store are \(staged)") }
    }

    func collect(_ volume: SimulatedVolume) throws {
        do {
            let result = try volume.fileSystem.collect(dryRun: false)
            if let failure = result.failures.first, !mayKeepPacks { fail("a collection: \(failure)") }
        } catch {
            if !isFaulty { throw error }
        }
    }

    func copyMetadata(_ volume: SimulatedVolume) throws {
        guard volume.copier != nil else { return }
        simulation_begin_copy(report)
        do {
            try volume.copyMetadata()
            report.pointee.copies_ended = report.pointee.copies_begun
            copied = [model]
        } catch {
            copied.append(model)
            if !mayKeepPacks && script.plan.bucket.refusedPuts == 0 { throw error }
        }
    }

    /// With nothing but the store: the newest copy, and all data that it names.
    func recover() throws {
        guard copied.contains(where: { $0 != nil }), !script.plan.storesOnDisk else { return }
        let found: Picture
        do {
            found = try SimulatedVolume.recovered(place, script.plan)
        } catch CopyFailure.none where copied.contains(where: { $0 == nil }) {
            return
        } catch {
            if !isFaulty { throw TestFailure("from the store alone: \(error)") }
            return
        }
        guard !copied.contains(where: { $0?.tree.pictureOfTree() == found }) else { return }
        fail(
            "from the store alone it is none of \(copied.count) copies; beside the newest:"
                + Self.difference(found, copied.last??.tree.pictureOfTree() ?? [:]))
    }

    /// Whatever is in the cache, what is read is right, and comes from the store again.
    func damageCache(_ volume: SimulatedVolume) throws {
        let names = try FileTree.names(in: place.cache).sorted()
        for name in names { _ = simulation_flip("\(place.cache)/\(name)") }
    }
}

extension SimulatedVolume {
    private func inode(_ path: String) throws -> Inode {
        try fileSystem.find(try path.split(separator: "/").map { try FileName(String($0)) })
    }

    func synchronize(_ path: String) throws {
        try fileSystem.synchronize(try inode(path).id, session: caller.session)
    }

    func staged(_ path: String) throws -> [PackID] {
        try fileSystem.needed(below: try path.split(separator: "/").map { try FileName(String($0)) })
            .packs.map(\.id).filter { packs.isStaged($0) }
    }

    func rootUsage() throws -> (bytes: UInt64, files: UInt64) {
        let usage = try fileSystem.usage(below: []).usage
        return (usage.bytes, usage.files)
    }

    func rootQuota() throws -> ((bytes: UInt64, files: UInt64), (bytes: UInt64?, inodes: UInt64?)) {
        let limits = try fileSystem.quotas().first?.quota.limits
        return (try rootUsage(), (limits?.bytes, limits?.inodes))
    }
}
