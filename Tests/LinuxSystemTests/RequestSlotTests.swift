import LinuxSystem
import Testing

@Suite("request slots")
struct RequestSlotTests {
    /// One server after another over the same memory; each has some requests in hand when it dies.
    private func serve(
        _ memory: SharedMemory, afterFault: Bool, inHand: [UInt64], done: [UInt64] = []
    ) -> Set<UInt64> {
        let slots = RequestSlots(memory)
        slots.settle(afterFault: afterFault)
        // Each request in a slot of its own, as on a thread of its own, which the end of the process leaves as it is.
        for unique in inHand + done {
            let thread = WorkerThread(name: "request") {
                slots.enter()
                slots.begin(unique, of: 7, repeated: nil)
                if done.contains(unique), let slot = slots.current()?.slot { slots.markApplied(slot, value: 1) }
            }
            thread.join()
        }
        return Set(slots.refused.map(\.unique))
    }

    private func memory() throws -> SharedMemory {
        try SharedMemory("test", byteCount: RequestSlots.byteCount)
    }

    @Test("a request that was in the hands of two servers that died of a fault is refused by all that follow")
    func refused() throws {
        let memory = try memory()
        #expect(serve(memory, afterFault: false, inHand: [10, 11], done: [12]).isEmpty)
        #expect(serve(memory, afterFault: true, inHand: [10, 20], done: [12]).isEmpty)
        #expect(serve(memory, afterFault: true, inHand: [30]) == [10])
        #expect(serve(memory, afterFault: false, inHand: [31]) == [10])
        #expect(serve(memory, afterFault: true, inHand: []) == [10])
    }

    @Test("kill -9 and a restart put no request under suspicion, and one death in between clears it")
    func suspicion() throws {
        let memory = try memory()
        _ = serve(memory, afterFault: false, inHand: [10])
        for _ in 0..<4 { #expect(serve(memory, afterFault: false, inHand: [10]).isEmpty) }
        #expect(serve(memory, afterFault: true, inHand: []).isEmpty)
        #expect(serve(memory, afterFault: true, inHand: [10]).isEmpty)
        #expect(serve(memory, afterFault: true, inHand: []).isEmpty)
    }

    @Test("only the thread that has the refused request, asked again, is told so")
    func asked() throws {
        let memory = try memory()
        for round in 0..<2 { _ = serve(memory, afterFault: round > 0, inHand: [10]) }
        let slots = RequestSlots(memory)
        slots.settle(afterFault: true)
        slots.enter()
        defer { slots.leave() }
        let bytes = [UInt8](repeating: 0, count: 40)
        bytes.withUnsafeBytes { request in
            for (unique, session, repeated) in [(10, 7, true), (10, 8, true), (11, 7, true), (10, 7, false)] {
                slots.begin(UInt64(unique), of: UInt64(session), repeated: repeated ? request : nil)
                #expect(slots.isRefused() == (unique == 10 && session == 7 && repeated))
            }
        }
    }
}
