import FileModel
import Metadata
import Packs

/// What keeps the volume from working, and the way back.
extension FileSystem {
    /// All that is wrong now, and nothing that is over.
    public var faults: [VolumeFault] {
        var faults: [VolumeFault] = []
        if let reason = metadata.failure {
            faults.append(VolumeFault(.metadata, "the volume is read-only: \(reason); \(wayBack)"))
        }
        if isDiskShort.load(ordering: .relaxed), !configuration.hasRoom() {
            faults.append(
                VolumeFault(
                    .staging,
                    "the disk of metadata and staging is nearly full: what makes the volume larger is refused (ENOSPC); "
                        + "make room there, and it goes on by itself"))
        }
        if let words = fullness { faults.append(VolumeFault(.limits, words)) }
        if let cause = packs.storeTrouble {
            faults.append(VolumeFault(.store, "the store takes no packs: \(cause)"))
        }
        if let cause = copyTrouble.withLock({ $0 }) {
            faults.append(
                VolumeFault(
                    .store, "the metadata is not copied into the store: \(cause); it is tried again at the interval"))
        }
        if let fault = readFailures.current { faults.append(fault) }
        if let cause = packs.cacheTrouble { faults.append(VolumeFault(.cache, cause)) }
        return faults
    }

    /// What ends a read-only volume.
    var wayBack: String {
        switch metadata.remedy {
        case .reopening where configuration.resumes:
            "it goes on by itself within seconds once the disk takes writes again"
        case .newMount: "unmount it, and mount it again"
        default: "mend it with: berth volume check --repair"
        }
    }

    /// False where only another process can make the volume take changes again.
    public var mayGoOn: Bool { metadata.remedy.map { $0 == .reopening } ?? true }

    /// Whether another server may go on with the mounts.
    public var mayHandOver: Bool { metadata.remedy != .newMount }

    /// Takes changes again after a fault of the disk, if that is gone: from the last good commit on. Call it now and then.
    func resume() {
        guard metadata.failure != nil else {
            // Somebody may have noted what was over by then.
            return hasReportedFailure.store(false, ordering: .releasing)
        }
        noteFailure()
        guard configuration.resumes else { return }
        let inodes: Set<InodeID>
        do {
            try packs.renew()
            inodes = try lost.note { () throws(Errno) in try metadata.reopen() }
        } catch {
            // The cause is still there: it has been said.
            return
        }
        isFragile.store(!configuration.hasRoom(), ordering: .relaxed)
        accounts.forget()
        announceToAll([.names] + inodes.map { .data($0) })
        hasReportedFailure.store(false, ordering: .releasing)
        let consequence =
            inodes.isEmpty
            ? "nothing is lost"
            : "changes of its last moments to \(inodes.count) files and directories are lost, and fsync of them says so"
        configuration.report("the volume takes changes again; \(consequence)")
        settle()
    }

    /// What the state of the last commit asks for, as after a crash.
    private func settle() {
        do throws(Errno) {
            let orphans = try read { transaction throws(Errno) in try transaction.orphans(limit: .max) }
            for id in orphans { orphaned(id) }
            try settleLostPacks()
        } catch {
            noteFailure()
        }
    }
}
