import Glibc

extension Timestamp: CustomStringConvertible {
    /// RFC 3339, UTC, whole seconds.
    public var description: String {
        var now = time_t(seconds)
        var parts = tm()
        gmtime_r(&now, &parts)
        var buffer = [CChar](repeating: 0, count: 32)
        let count = strftime(&buffer, buffer.count, "%Y-%m-%dT%H:%M:%SZ", &parts)
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
