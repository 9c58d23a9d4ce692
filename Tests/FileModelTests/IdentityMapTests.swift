import FileModel
import Testing

@Suite("Identity maps")
struct IdentityMapTests {
    let host = IdentityMap(ranges: [
        .init(session: 1000, volume: 0, count: 1), .init(session: 100_000, volume: 1, count: 65536),
    ])

    @Test("the host's user is the volume's 0 and the first subordinate id its 1")
    func hostMap() {
        #expect(host.volumeID(1000) == 0)
        #expect(host.volumeID(100_000) == 1)
        #expect(host.sessionID(0) == 1000)
        #expect(host.sessionID(1000) == 100_999)
    }

    @Test("an id without a place in the volume has no volume id and shows as the overflow id")
    func strangers() {
        #expect(host.volumeID(1001) == nil)
        #expect(host.sessionID(70_000) == IdentityMap.overflowID)
    }
}
