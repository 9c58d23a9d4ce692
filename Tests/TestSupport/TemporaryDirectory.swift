import Glibc
import LinuxSystem

/// A directory of one test, removed at the end of the test's life.
public final class TemporaryDirectory {
    public let path: String

    /// In memory where a test has many volumes one after the other: `/dev/shm`.
    public init(in place: String = "/tmp") {
        var template = Array("\(place)/berth-test-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { buffer in
            buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) } ?? "/nonexistent"
        }
    }

    deinit { FileTree.remove(path) }
}
