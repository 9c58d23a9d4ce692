import FileModel

/// Makes the bytes of a pack object from raw bytes and the runs that lie in them.
public struct PackEncoder {
    let compression: Compression
    private let codec = FrameCodec()

    public init(compression: Compression) {
        self.compression = compression
    }

    /// `raw` is 1 byte to 16 MiB long.
    public func encode(_ id: PackID, _ raw: UnsafeRawBufferPointer, runs: [PackRun]) -> [UInt8] {
        precondition(!raw.isEmpty && raw.count <= PackFormat.maximumRawBytes, "a pack is 1 byte to 16 MiB of raw bytes")
        var writer = ByteWriter()
        // Never grown: that would copy all of it. Pages that are not needed are never touched.
        writer.bytes.reserveCapacity(
            raw.count + PackTrailer.byteCount + runs.count * PackFormat.recordBytes
                + PackFormat.frameCount(rawLength: raw.count) * PackFormat.frameEntryBytes)
        let frames = encodeFrames(raw, into: &writer)
        let tableOffset = writer.bytes.count
        for frame in frames {
            writer.put(frame.offset)
            writer.put(frame.storedLength | (frame.isRaw ? PackFormat.rawFrameFlag : 0))
            writer.put(frame.checksum)
        }
        for run in runs { run.put(into: &writer) }
        let tables = writer.bytes.withUnsafeBytes {
            PackFormat.checksum(UnsafeRawBufferPointer(rebasing: $0[tableOffset...]))
        }
        let trailer = PackTrailer(
            id: id, rawLength: UInt64(raw.count), frameTableOffset: UInt64(tableOffset),
            frameCount: UInt32(frames.count), runCount: UInt32(runs.count), tableChecksum: tables)
        writer.bytes.append(contentsOf: trailer.encoded())
        return writer.bytes
    }

    private func encodeFrames(_ raw: UnsafeRawBufferPointer, into writer: inout ByteWriter) -> [FrameEntry] {
        let output = UnsafeMutableRawBufferPointer.allocate(byteCount: PackFormat.frameBytes, alignment: 16)
        defer { output.deallocate() }
        var frames: [FrameEntry] = []
        for start in stride(from: 0, to: raw.count, by: PackFormat.frameBytes) {
            let end = min(start + PackFormat.frameBytes, raw.count)
            let frame = UnsafeRawBufferPointer(rebasing: raw[start..<end])
            let compressed = compression == .zstd ? codec.compress(frame, into: output) : nil
            let stored = compressed.map { UnsafeRawBufferPointer(rebasing: output[..<$0]) } ?? frame
            frames.append(
                FrameEntry(
                    offset: UInt32(writer.bytes.count), storedLength: UInt32(stored.count),
                    isRaw: compressed == nil, checksum: PackFormat.checksum(frame)))
            writer.bytes.append(contentsOf: stored)
        }
        return frames
    }
}
