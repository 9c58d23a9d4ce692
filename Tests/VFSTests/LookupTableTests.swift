import FileModel
import TestSupport
import Testing
import VFS

@Suite("what a kernel holds")
struct LookupTableTests {
    @Test("200 seeds of adding and removing agree with a dictionary", arguments: 0..<20)
    func model(part: Int) {
        for seed in part * 10..<part * 10 + 10 {
            var random = SeededGenerator(seed: UInt64(seed))
            var table = LookupTable()
            var model: [InodeID: UInt64] = [:]
            for _ in 0..<2000 {
                let id = InodeID(rawValue: UInt64.random(in: 1...200, using: &random))
                if Int.random(in: 0..<3, using: &random) > 0 {
                    table.add(id)
                    model[id, default: 0] += 1
                } else {
                    let held = model[id] ?? 0
                    let count = UInt64.random(in: 1...max(held, 1), using: &random)
                    let isOver = table.remove(id, count: count)
                    model[id] = held > count ? held - count : nil
                    #expect(isOver == (model[id] == nil), "seed \(seed)")
                }
                #expect(table.holds(id) == (model[id] != nil), "seed \(seed)")
            }
        }
    }

    @Test("a count past a byte is exact, up and down")
    func large() {
        var table = LookupTable()
        let id = InodeID(rawValue: 7)
        for _ in 0..<100_000 { table.add(id) }
        var isOver = table.remove(id, count: 99_800)
        for _ in 0..<199 { isOver = table.remove(id, count: 1) || isOver }
        #expect(!isOver && table.holds(id))
        isOver = table.remove(id, count: 1)
        #expect(isOver && !table.holds(id))
    }
}
