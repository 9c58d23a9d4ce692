import Glibc

/// A directory of one test, removed at the end of the test's life.
final class TemporaryDirectory {
    let path: String

    init() {
        var template = Array("/tmp/berth-test-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { buffer in
            buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) } ?? "/nonexistent"
        }
    }

    deinit {
        _ = nftw(
            path, { path, _, _, _ in path.map { remove($0) } ?? 0 }, 16, Int32(FTW_DEPTH.rawValue | FTW_PHYS.rawValue))
    }
}
