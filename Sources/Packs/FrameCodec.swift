import CZstd
import FileModel

/// How a volume's frames are stored.
public enum Compression: String, Sendable, CaseIterable {
    case zstd
    case none
}

/// Compresses and expands frames. One per thread: zstd's contexts are not shared.
package final class FrameCodec {
    /// Level 1: 64 KiB frames gain under 2 % from higher ones and cost a third more time.
    private static let level: Int32 = 1

    private let compressor: OpaquePointer?
    private let expander: OpaquePointer?

    package init() {
        compressor = ZSTD_createCCtx()
        expander = ZSTD_createDCtx()
    }

    deinit {
        ZSTD_freeCCtx(compressor)
        ZSTD_freeDCtx(expander)
    }

    /// Writes the compressed frame into `output`; nil where that is no smaller, or memory is short.
    package func compress(_ frame: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Int? {
        guard let compressor else { return nil }
        let count = ZSTD_compressCCtx(
            compressor, output.baseAddress, output.count, frame.baseAddress, frame.count, Self.level)
        return ZSTD_isError(count) == 0 && count < frame.count ? count : nil
    }

    /// Expands one frame into exactly `output` and proves it against its checksum.
    package func expand(
        _ entry: FrameEntry, _ stored: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) throws(PackDamage) {
        if entry.isRaw {
            guard stored.count == output.count else { throw .inconsistent("frame length") }
            output.copyMemory(from: stored)
        } else {
            guard let expander else { throw .inconsistent("no memory for zstd") }
            let count = ZSTD_decompressDCtx(
                expander, output.baseAddress, output.count, stored.baseAddress, stored.count)
            guard ZSTD_isError(count) == 0, count == output.count else { throw .checksum("frame") }
        }
        guard PackFormat.checksum(UnsafeRawBufferPointer(output)) == entry.checksum else { throw .checksum("frame") }
    }
}
