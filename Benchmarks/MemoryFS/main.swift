import CFUSE
import FUSEBridge
import FileModel
import Glibc
import LinuxSystem

/// Serves until the file system is unmounted.
private func serve(_ device: consuming FileDescriptor, _ tree: MemoryTree) throws(SystemFailure) {
    var operations = Requests.table()
    var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("berth-memfs"), nil]
    defer { free(arguments[0]) }
    let session = arguments.withUnsafeMutableBufferPointer { list in
        var vector = fuse_args(argc: 1, argv: list.baseAddress, allocated: 0)
        return fuse_session_new(
            &vector, &operations, MemoryLayout<fuse_lowlevel_ops>.size, Unmanaged.passUnretained(tree).toOpaque())
    }
    guard let session else { throw SystemFailure("berth-memfs", "libfuse makes no session", .current) }
    defer { fuse_session_destroy(session) }
    var io = RequestHook.functions
    let number = device.take()
    guard fuse_session_custom_io(session, &io, number) == 0 else {
        throw SystemFailure("berth-memfs", "libfuse does not take the descriptor", .current)
    }
    // Berth's own way to receive requests: what differs is what answers them.
    let loop = try explaining("berth-memfs", "cannot receive requests") { () throws(Errno) in
        try RequestLoop(session, device: number)
    }
    loop.run()
}

private func fail(_ message: String, _ status: Int32) -> Never {
    ProcessEnvironment.complain("berth-memfs: \(message)")
    exit(status)
}

guard CommandLine.arguments.count == 2, let path = realpath(CommandLine.arguments[1], nil) else {
    fail("usage: berth-memfs MOUNTPOINT", EX_USAGE)
}
let tree = MemoryTree()
do throws(SystemFailure) {
    let mounts = Fusermount(environment: ProcessEnvironment.current())
    try serve(try mounts.mount(volume: "memfs", at: String(cString: path), readOnly: false), tree)
} catch {
    fail(error.message, error.status.rawValue)
}
