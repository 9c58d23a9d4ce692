import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

@Suite("users, groups and rights of this machine")
struct NameServiceTests {
    private func found<Value>(_ answer: NameService.Answer<Value>) -> Value? {
        if case .found(let value) = answer { value } else { nil }
    }

    @Test("names and numbers lead to each other, and who is not there is absent")
    func names() {
        #expect(found(NameService.userName(0)) == "root" && found(NameService.userID("root")) == 0)
        #expect(found(NameService.groupName(0)) == "root" && found(NameService.groupID("root")) == 0)
        guard case .absent = NameService.groupID("berth-nobody-has-this-name"),
            case .absent = NameService.userName(4_000_000)
        else {
            Issue.record("somebody is there who is not")
            return
        }
    }

    @Test("the rights of a thread are those it has for files, and a text that is none is refused")
    func rights() throws {
        let own = try #require(ThreadRights(ofThread: getpid()))
        #expect(own.userID == geteuid() && own.groupID == getegid())
        let status =
            "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nFDSize:\t64\nGroups:\t9 10 4294967294 \nVmPeak:\t1 kB\n"
        let rights = try #require(ThreadRights(status: status))
        #expect(rights.userID == 4 && rights.groupID == 8 && rights.groups == [9, 10, 4_294_967_294])
        #expect(ThreadRights(status: status.split(separator: "9 10 4294967294").joined())?.groups == [])
        #expect(ThreadRights(status: "") == nil)
        #expect(ThreadRights(status: "Uid:\t1\nGid:\t1\nGroups:\t1\n") == nil)
        #expect(
            ThreadRights(ofThread: 0) == nil && ThreadRights(ofThread: -1) == nil && ThreadRights(ofThread: .max) == nil
        )
    }

    @Test(
        "ids are the machine's where the namespace has all of them, and strangers get a number that the namespace has")
    func namespaces() {
        #expect(NamespaceIDs(text: "         0          0 4294967295\n").isWhole)
        for other in ["0 1000 1", "0 0 65536", "1 1 4294967295", "0 0 1\n1 100000 65536", ""] {
            #expect(!NamespaceIDs(text: other).isWhole, "\(other)")
        }
        let alone = Identity.alone(userID: 12_345, groupID: 12_346)
        #expect(alone.isOfSite == nil && alone.stranger(.group) == 12_346)
        #expect(alone.stranger(.user) == IdentityMap.overflowID)
        #expect(Identity.hostMount(userID: 12_345, groupID: 12_346).isOfSite == true)
        #expect(Identity.engine(process: "self").ownID(5, .group) == 5)
        let named = NamedAccount.firstID + 3
        #expect(Identity.oneToOne.ownID(named, .group) == nil, "nobody names another's name by its number")
        let reaching = IdentityMap(ranges: [.init(session: 7, volume: named, count: 1)])
        #expect(Identity(users: reaching, groups: reaching).ownID(7, .user) == nil)
    }
}
