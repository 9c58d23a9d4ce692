import FileModel
import Glibc
import TestSupport
import Testing

@testable import LinuxSystem

/// Who can lead a path elsewhere. Run as root, who alone can make files of others.
@Suite("paths that others could change", .enabled(if: geteuid() == 0))
struct TrustedPathTests {
    let directory = TemporaryDirectory()
    static let other: uid_t = 12345

    /// One directory of a path, or the link that leads to it.
    struct Level {
        var owner: uid_t
        var group: gid_t
        var mode: mode_t
        /// Of the link through which the level is reached; nil: there is none.
        var linkOwner: uid_t?
        var isLinkAbsolute = false

        static func random(_ generator: inout SeededGenerator) -> Level {
            // Mostly harmless, so that long paths are accepted, too.
            let isOdd = Int.random(in: 0..<5, using: &generator) == 0
            let modes: [mode_t] = [0o775, 0o777, 0o1777, 0o1775, 0o2770, 0o702, 0o720, 0o750]
            return Level(
                owner: isOdd && Bool.random(using: &generator) ? other : 0,
                group: Bool.random(using: &generator) ? 0 : 54321,
                mode: isOdd ? modes[Int.random(in: 0..<modes.count, using: &generator)] : 0o755,
                linkOwner: Int.random(in: 0..<4, using: &generator) == 0
                    ? (Int.random(in: 0..<3, using: &generator) == 0 ? other : 0) : nil,
                isLinkAbsolute: Bool.random(using: &generator))
        }

        /// Whether others can put another directory at the place of what is in this one.
        var isOpen: Bool {
            guard mode & 0o1000 == 0 else { return false }
            // Group 0 is root's own: "root", without members.
            return mode & 0o002 != 0 || (mode & 0o020 != 0 && group != 0)
        }
    }

    private func make(_ levels: [Level], at root: String) -> String {
        var path = root
        for (number, level) in levels.enumerated() {
            let name = "d\(number)"
            let real = "\(path)/\(level.linkOwner == nil ? name : "real-\(name)")"
            mkdir(real, 0o700)
            chown(real, level.owner, level.group)
            chmod(real, level.mode)
            if let owner = level.linkOwner {
                symlink(level.isLinkAbsolute ? real : "./../\(lastName(path))/real-\(name)", "\(path)/\(name)")
                lchown("\(path)/\(name)", owner, owner)
            }
            path = "\(path)/\(name)"
        }
        return path
    }

    private func lastName(_ path: String) -> String {
        // The real one: ".." of a directory behind a link is that of the directory.
        guard let real = realpath(path, nil) else { return "" }
        defer { free(real) }
        return String(String(cString: real).split(separator: "/").last ?? "")
    }

    @Test("of any layout of owners, modes and links exactly those are accepted that others cannot change")
    func layouts() throws {
        let seed = UInt64(ProcessEnvironment.current()["BERTH_SEED"] ?? "") ?? UInt64.random(in: 0...99999)
        var generator = SeededGenerator(seed: seed)
        var accepted = 0
        for number in 0..<400 {
            let root = "\(directory.path)/\(number)"
            mkdir(root, 0o755)
            let levels = (0..<Int.random(in: 1...5, using: &generator)).map { _ in Level.random(&generator) }
            let path = make(levels, at: root)
            let isTrusted =
                levels.allSatisfy { $0.owner == 0 && ($0.linkOwner ?? 0) == 0 }
                && levels.dropLast().allSatisfy { !$0.isOpen }
            let found = try? TrustedPath.open(path)
            #expect((found != nil) == isTrusted, "seed \(seed), layout \(number): \(levels)")
            #expect(((try? TrustedPath.judge(path)) != nil) == (isTrusted && levels.last?.isOpen == false))
            // Where the user allows it, others' directories are entered, and others' links are not followed.
            let isFollowed = levels.allSatisfy { ($0.linkOwner ?? 0) == 0 }
            #expect(((try? TrustedPath.open(path, .allowed)) != nil) == isFollowed, "seed \(seed), layout \(number)")
            if let found {
                accepted += 1
                var named = stat()
                stat(path, &named)
                #expect(try found.status().st_ino == named.st_ino)
            }
        }
        #expect((20..<380).contains(accepted), "seed \(seed): \(accepted) of 400 accepted prove little")
    }

    @Test("a missing directory is not made below what another user can change, and the line names it and the way out")
    func ancestors() throws {
        let base = directory.path
        for (owner, mode, words) in [
            (Self.other, mode_t(0o755), "belongs to user ? (uid 12345)"),
            (0, 0o777, "can be written to by others, and \(base)/a/b/c lies below it; run: chmod go-w \(base)/a,"),
            (0, 0o775, "can be written to by others"),
        ] {
            FileTree.remove("\(base)/a")
            mkdir("\(base)/a", 0o700)
            chown("\(base)/a", owner, 54321)
            chmod("\(base)/a", mode)
            let failure = #expect(throws: SystemFailure.self) { try SecureDirectory.make("\(base)/a/b/c") }
            #expect(failure?.subject == "\(base)/a")
            #expect(
                failure?.cause.isEmpty == false && failure?.message.contains(words) == true,
                "\(String(describing: failure))")
            #expect(failure?.status == .noPermission)
            #expect(access("\(base)/a/b", F_OK) != 0, "nothing was made")
        }
    }

    @Test(
        "in a sticky directory of all our own part is entered, and a link of ours that got a second name is not followed"
    )
    func sticky() throws {
        let base = directory.path
        mkdir("\(base)/t", 0o700)
        chmod("\(base)/t", 0o1777)
        try SecureDirectory.make("\(base)/t/mine/deep")
        chown("\(base)/t/mine", Self.other, 0)
        #expect(throws: SystemFailure.self) { try SecureDirectory.make("\(base)/t/mine/deep") }
        mkdir("\(base)/elsewhere", 0o755)
        symlink("\(base)/elsewhere", "\(base)/link")
        #expect(SecureDirectory.isSecure("\(base)/link") == false)
        try SecureDirectory.make("\(base)/link/x")
        // As anybody can give a link a second name where fs.protected_hardlinks is 0.
        link("\(base)/link", "\(base)/t/theirs")
        let failure = #expect(throws: SystemFailure.self) { try SecureDirectory.make("\(base)/t/theirs/x") }
        #expect(failure?.message.contains("is a symbolic link with 2 names") == true)
    }

    @Test("links without an end are refused, and ways up and to the root are followed as the kernel does")
    func links() throws {
        let base = directory.path
        symlink("\(base)/two", "\(base)/one")
        symlink("one", "\(base)/two")
        let failure = #expect(throws: SystemFailure.self) { try TrustedPath.open("\(base)/one/x") }
        #expect(failure?.message.contains("more than 40 symbolic links") == true)
        try SecureDirectory.make("\(base)/a/b/c")
        symlink("../a/./b/", "\(base)/a/up")
        symlink("../up", "\(base)/a/b/again")
        for path in ["\(base)/a/up/c", "\(base)/a/b/again/c", "\(base)//a/./b/c/../../up/c/", "/../\(base)/a/b/c"] {
            var named = stat()
            #expect(stat(path, &named) == 0, "\(path)")
            #expect(try TrustedPath.open(path).status().st_ino == named.st_ino, "\(path)")
        }
        #expect(throws: SystemFailure.self) { try TrustedPath.open("relative") }
        try AtomicFile.replace("\(base)/file", [])
        #expect(#expect(throws: SystemFailure.self) { try TrustedPath.open("\(base)/file") }?.errno == .notDirectory)
        #expect(#expect(throws: SystemFailure.self) { try TrustedPath.open("\(base)/none/x") }?.errno == .noEntry)
    }

    @Test("a directory that is swapped for a link all the while never leads elsewhere")
    func swaps() throws {
        let base = directory.path
        mkdir("\(base)/theirs", 0o755)
        mkdir("\(base)/victim", 0o755)
        for name in ["theirs/d", "theirs/real", "victim/c"] { mkdir("\(base)/\(name)", 0o755) }
        symlink("\(base)/victim", "\(base)/theirs/link")
        for name in ["theirs", "theirs/d", "theirs/real"] { chown("\(base)/\(name)", Self.other, Self.other) }
        lchown("\(base)/theirs/link", Self.other, Self.other)
        let swapper = WorkerThread(name: "swaps") {
            let (place, link, real) = ("\(base)/theirs/d", "\(base)/theirs/link", "\(base)/theirs/real")
            while access("\(base)/done", F_OK) != 0 {
                rmdir(real)
                rename(place, real)
                rename(link, place)
                rename(place, link)
                rename(real, place)
            }
        }
        for _ in 0..<500 {
            // Even where the user trusts those who can write there.
            #expect((try? TrustedPath.open("\(base)/theirs/d/c", .allowed)) == nil, "reached through a link of theirs")
            #expect((try? SecureDirectory.hold("\(base)/theirs/d/c")) == nil)
        }
        mkdir("\(base)/done", 0o700)
        swapper.join()
    }

    @Test("a file that somebody else could have made, or can read or reach by another name, is not opened as ours")
    func ownFiles() throws {
        let base = directory.path
        let held = try SecureDirectory.hold("\(base)/held")
        try AtomicFile.replace("\(base)/victim", [1])
        symlink("\(base)/victim", "\(base)/held/link")
        link("\(base)/victim", "\(base)/held/second")
        mkfifo("\(base)/held/pipe", 0o600)
        mkdir("\(base)/held/directory", 0o700)
        for (name, mode) in [("open", mode_t(0o640)), ("theirs", 0o600), ("ours", 0o600)] {
            try AtomicFile.replace("\(base)/held/\(name)", [2], mode: mode)
        }
        chown("\(base)/held/theirs", Self.other, Self.other)
        for (name, words) in [
            ("link", "is a symbolic link"), ("second", "has 2 names"), ("pipe", "is no regular file"),
            ("directory", "is a directory"), ("open", "is open to others (mode 640)"),
            ("theirs", "belongs to uid 12345"),
        ] {
            do {
                _ = try held.openOwn(name, O_RDWR)
                Issue.record("\(name) was opened")
            } catch {
                #expect(error == .notOurs(words), "\(name)")
            }
            held.clear(name)
            #expect(held.status(of: name) == nil)
        }
        _ = try held.openOwn("ours", O_RDWR)
        #expect(try AtomicFile.read("\(base)/victim") == [1])
        // By descriptor: a directory in the place of ours gets nothing.
        rename("\(base)/held", "\(base)/moved")
        mkdir("\(base)/held", 0o700)
        try held.replace("new", [3])
        #expect(try AtomicFile.read("\(base)/moved/new") == [3] && held.names().sorted() == ["new", "ours"])
    }

    @Test("a removed tree takes nothing with it that a link in it leads to")
    func removal() throws {
        let base = directory.path
        try SecureDirectory.make("\(base)/tree/a/b")
        try SecureDirectory.make("\(base)/kept/c")
        symlink("\(base)/kept", "\(base)/tree/a/b/link")
        symlink("\(base)/kept", "\(base)/only")
        FileTree.remove("\(base)/tree")
        FileTree.remove("\(base)/only")
        #expect(access("\(base)/tree", F_OK) != 0 && access("\(base)/kept/c", F_OK) == 0)
    }
}
