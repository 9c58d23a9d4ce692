import Control
import FileModel
import LinuxSystem
import Metadata
import VFS

/// What the volume's user asks about its space: the trash, quotas, usage.
struct SpaceService: Sendable {
    let volume: String
    let fileSystem: FileSystem

    func answer(_ request: SpaceQuery) throws(SystemFailure) -> SpaceReply {
        switch request {
        case .trash(let path, let last):
            return try explaining(place(path), "cannot be looked for in the trash") { () throws(Errno) in
                let page = try fileSystem.trash(below: try names(path), after: last)
                return .trash(page.items.map(Self.item), next: page.next)
            }
        case .restore(let request): return .restored(try restore(request))
        case .emptyTrash(let path, let time, let last):
            return try explaining(place(path), "cannot be taken from the trash") { () throws(Errno) in
                let page = try fileSystem.emptyTrash(
                    below: try names(path), before: Timestamp(nanoseconds: time), after: last)
                return .emptied(count: page.count, bytes: page.bytes, next: page.next)
            }
        case .usage(let path):
            return try explaining(place(path), "cannot be looked at") { () throws(Errno) in
                let usage = try fileSystem.usage(below: try names(path)).usage
                return .usage(bytes: usage.bytes, inodes: usage.files)
            }
        case .quotas:
            return try explaining(place([]), "its quotas cannot be looked at") { () throws(Errno) in
                .quotas(try fileSystem.quotas().map { Self.item($0.path, $0.quota) })
            }
        case .setQuota(let path, let bytes, let inodes): return try setQuota(path, bytes, inodes)
        }
    }

    private func setQuota(_ path: [UInt8], _ bytes: UInt64?, _ inodes: UInt64?) throws(SystemFailure) -> SpaceReply {
        let limits = bytes == nil && inodes == nil ? nil : QuotaLimits(bytes: bytes, inodes: inodes)
        return try explaining(place(path), "its quota cannot be set") { () throws(Errno) in
            let id = try fileSystem.usage(below: try names(path)).inode
            guard let quota = try fileSystem.setQuota(limits, of: id) else { return .quotas([]) }
            return .quotas([Self.item(path, quota)])
        }
    }

    private func restore(_ request: RestoreRequest) throws(SystemFailure) -> RestoreReport {
        let subject = place(request.path)
        do throws(Errno) {
            var choice = RestoreOrder.Choice.latest
            if let time = request.time { choice = .at(Timestamp(nanoseconds: time)) }
            if let id = request.id { choice = .id(id) }
            let target: RestoreOrder.Target
            switch request.target {
            case .inPlace: target = .inPlace
            case .beside: target = .beside
            case .path(let path): target = .path(try names(path))
            }
            let outcome = try fileSystem.restore(
                RestoreOrder(path: try names(request.path), choice: choice, target: target))
            return RestoreReport(
                path: outcome.path, count: outcome.count, occupied: outcome.occupied,
                occupiedCount: outcome.occupiedCount, ended: outcome.ended.map { "\($0)" })
        } catch {
            throw explain(error, subject)
        }
    }

    private func explain(_ errno: Errno, _ subject: String) -> SystemFailure {
        switch errno {
        case .noEntry:
            SystemFailure(
                subject, "is not in the trash, or the directory it is to go to is not there",
                fix: "see `berth trash ls \(volume)`", errno: errno, status: .noInput)
        case .alreadyExists:
            SystemFailure(
                subject, "cannot be restored: something is in its place",
                fix: "add --beside, or --to another path", errno: errno, status: .cannotCreate)
        case .notDirectory:
            SystemFailure(
                subject, "cannot be restored: what is in the place of its directory is none", fix: "use --to",
                errno: errno, status: .cannotCreate)
        case .overQuota:
            SystemFailure(
                subject, "cannot be restored: it does not fit into a quota", fix: "see `berth quota ls \(volume)`",
                errno: errno, status: .cannotCreate)
        default: SystemFailure(subject, "cannot be restored", errno)
        }
    }

    private func place(_ path: [UInt8]) -> String { "\(volume):/\(String(decoding: path, as: UTF8.self))" }

    private func names(_ path: [UInt8]) throws(Errno) -> [FileName] {
        var names: [FileName] = []
        for part in path.split(separator: 0x2F) { names.append(try FileName(Array(part))) }
        return names
    }

    private static func item(_ item: TrashedItem) -> TrashItem {
        let kind: TrashItem.Kind =
            switch item.kind {
            case .regular: .file
            case .directory: .directory
            case .symbolicLink: .link
            default: .other
            }
        return TrashItem(
            id: item.record.id, path: item.path, kind: kind, bytes: item.bytes,
            deleted: item.record.deleted.nanoseconds, userID: item.record.userID)
    }

    private static func item(_ path: [UInt8], _ quota: Quota) -> QuotaItem {
        QuotaItem(
            path: path, bytesLimit: quota.limits.bytes, inodesLimit: quota.limits.inodes, bytes: quota.used.bytes,
            inodes: quota.used.files)
    }
}
