import TestSupport
import Testing

/// Writes past the page cache beside readers who go through it: once a write is over, nobody reads what was there before.
@Suite("no stale pages", .serialized)
struct StalePageTests {
    private static let program = Result { try Programs.compile("stale-pages.c", "-lpthread") }

    private struct Case: Sendable, CustomTestStringConvertible {
        var mode: String
        var rounds: Int
        var testDescription: String { mode }
    }

    private static let cases = [
        Case(mode: "aio", rounds: 500), Case(mode: "aio-new", rounds: 100), Case(mode: "sync", rounds: 60),
        Case(mode: "sync-new", rounds: 60), Case(mode: "new", rounds: 60), Case(mode: "map-new", rounds: 60),
        Case(mode: "grow-new", rounds: 3),
    ]

    @Test(
        "what is written with O_DIRECT, at once or asynchronously, or to a new file, is what others read and map afterwards",
        arguments: cases)
    private func alone(_ test: Case) throws {
        let volume = try MountedVolume()
        let text = try volume.site.shell.run("'\(try Self.program.get())' \(test.mode) m/f \(test.rounds) 2")
        #expect(text == "\(test.rounds) rounds, 0 stale, 0 for ever")
    }

    @Test("the same with more of them at once than there are cores")
    func underLoad() throws {
        let volume = try MountedVolume()
        let program = try Self.program.get()
        let text = try volume.site.shell.run(
            """
            for mode in aio new map-new; do
              for i in 1 2 3; do '\(program)' $mode m/$mode$i 50 4 > out$i & pids="$pids $!"; done
              for p in $pids; do wait $p || echo "$mode: stale"; done; pids=; cat out? | sort -u
            done
            """, timeout: .seconds(600))
        #expect(Set(text.split(separator: "\n")) == ["50 rounds, 0 stale, 0 for ever"], "\(text)")
    }
}
