import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

@testable import Control

@Suite("Frames")
struct FrameChannelTests {
    private func channels() throws -> (FrameChannel, FrameChannel) {
        var numbers: [Int32] = []
        do {
            let pair = try UnixSocket.pair()
            numbers = [dup(pair.first.rawValue), dup(pair.second.rawValue)]
        }
        return (
            FrameChannel(FileDescriptor(owning: numbers[0]), name: "left"),
            FrameChannel(FileDescriptor(owning: numbers[1]), name: "right")
        )
    }

    private func raw(_ bytes: [UInt8]) throws -> FrameChannel {
        let pair = try UnixSocket.pair()
        try pair.second.write(bytes)
        return FrameChannel(FileDescriptor(owning: dup(pair.first.rawValue)), name: "peer")
    }

    @Test("a message and its descriptor arrive together, and the next message comes without one")
    func descriptor() throws {
        let (left, right) = try channels()
        let pipe = try FileDescriptor.pipe()
        let attachment = Attachment(
            session: "ab", mountpoint: "/m", readOnly: true, identity: Identity.hostMount(userID: 12345, groupID: 1))
        try left.send(ServerRequest.attach(attachment), passing: pipe.second.rawValue)
        try left.send(ServerRequest.status)

        // Not #require: it takes no values that cannot be copied.
        guard var first = try right.receive(ServerRequest.self, timeout: .seconds(1)) else {
            throw TestFailure("nothing came")
        }
        #expect(first.message == ServerRequest.attach(attachment))
        guard let passed = first.takeDescriptor() else { throw TestFailure("no descriptor came") }
        try passed.write([42])
        var byte: UInt8 = 0
        #expect(read(pipe.first.rawValue, &byte, 1) == 1 && byte == 42)

        guard var second = try right.receive(ServerRequest.self, timeout: .seconds(1)) else {
            throw TestFailure("nothing came")
        }
        #expect(second.message == ServerRequest.status)
        if second.takeDescriptor() != nil { Issue.record("a descriptor came") }
    }

    @Test("the other end's hanging up between messages is nil, within one an error")
    func hangUp() throws {
        if try raw([]).receive(ServerRequest.self) != nil { Issue.record("a message came") }
        #expect(throws: SystemFailure.self) { _ = try raw([0, 0]).receive(ServerRequest.self) }
        #expect(throws: SystemFailure.self) { _ = try raw([0, 0, 0, 9, 1]).receive(ServerRequest.self) }
    }

    @Test("a frame of more than 1 MiB and one that is not JSON are refused")
    func hostile() throws {
        #expect(throws: SystemFailure.self) { _ = try raw([0xFF, 0xFF, 0xFF, 0xFF]).receive(ServerRequest.self) }
        #expect(throws: SystemFailure.self) { _ = try raw([0, 0, 0, 1, 0x7B]).receive(ServerRequest.self) }
    }

    @Test("a silent peer is given up after the timeout")
    func silent() throws {
        let (left, _right) = try channels()
        let failure = #expect(throws: SystemFailure.self) {
            _ = try left.receive(ServerRequest.self, timeout: .milliseconds(50))
        }
        #expect(failure?.errno == Errno(ETIMEDOUT))
        withExtendedLifetime(_right) {}
    }
}
