import LinuxSystem
import Testing
import Volumes

@Suite("The note in a volume's lock file")
struct LockNoteTests {
    private static let node = NodeIdentity(host: "node17", boot: "6f1c")

    @Test("is read as it was written, each state, and is as long with each beat")
    func roundTrip() throws {
        var note = LockNote(
            state: .serving, processID: 4711, startedAt: 99, socket: "/run/user/1000/berth/v.sock", node: Self.node,
            beat: 42)
        let length = note.encoded.count
        for state in [LockNote.State.serving, .closing, .closed] {
            for beat in [0, 42, UInt64.max] {
                (note.state, note.beat) = (state, beat)
                #expect(LockNote(decoding: note.encoded) == note)
                #expect(note.encoded.count == length - 7 + state.rawValue.utf8.count)
            }
        }
        note.socket = nil
        #expect(LockNote(decoding: note.encoded) == note)
    }

    @Test("of older programs is read, and says nothing of a machine")
    func older() throws {
        let one = try #require(LockNote(decoding: Array("closing 12\n".utf8)))
        #expect(one == LockNote(state: .closing, processID: 12))
        let two = try #require(LockNote(decoding: Array("serving 12\n/tmp/x/v.sock\n".utf8)))
        #expect(two == LockNote(state: .serving, processID: 12, socket: "/tmp/x/v.sock"))
        #expect(two.holder(on: Self.node) == nil && !two.isForeign(to: Self.node))
    }

    @Test("that is none, or half of one, is none; no value makes a line of its own")
    func damaged() {
        for text in ["", "\n", "serving", "serving x\n", "serving -1\n", "serving 1 2\n", "mounted 1\n", "serving 0\n"]
        {
            #expect(LockNote(decoding: Array(text.utf8)) == nil, "\(text)")
        }
        #expect(LockNote(decoding: [UInt8](repeating: 0xFF, count: 64)) == nil)
        #expect(LockNote(decoding: [UInt8](repeating: 0x0A, count: LockNote.byteLimit + 1)) == nil)
        let note = LockNote(
            state: .serving, processID: 1, socket: "/a\nboot x", node: NodeIdentity(host: "h\nboot y", boot: "z"))
        let read = LockNote(decoding: note.encoded)
        #expect(read?.socket == nil && read?.node == NodeIdentity(host: "", boot: "z"))
    }

    @Test("names a living holder on this boot only")
    func holder() throws {
        let here = NodeIdentity.current()
        #expect(!here.boot.isEmpty && !here.host.isEmpty)
        let process = try #require(ProcessIdentity(of: 1))
        var note = LockNote(
            state: .serving, processID: process.processID, startedAt: process.startedAt, node: here)
        #expect(note.holder(on: here) == process && note.holder(on: here)?.isRunning == true)
        #expect(note.holder(on: Self.node) == nil && note.isForeign(to: Self.node) && !note.isForeign(to: here))
        note.startedAt = process.startedAt + 1
        #expect(note.holder(on: here)?.isRunning == false)
        note.state = .closed
        #expect(note.holder(on: here) == nil)
        note.node?.boot = ""
        #expect(!note.isForeign(to: here))
    }
}
