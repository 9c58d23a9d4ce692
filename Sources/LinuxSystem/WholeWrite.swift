import FileModel
import Glibc

/// Writes all bytes at an offset of a file, however often the kernel takes a part. A write of nothing is EIO.
public func writeWhole(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, at offset: Int) throws(Errno) {
    var done = 0
    while done < bytes.count {
        let count = pwrite(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, off_t(offset + done))
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { throw count == 0 ? .io : .current }
        done += count
    }
}
