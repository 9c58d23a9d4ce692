import Glibc

extension [UInt8] {
    /// The bytes as C has a string: for names that may be no Unicode. What follows a NUL is not seen.
    public func withCString<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
        let text = map { CChar(bitPattern: $0) } + [0]
        return text.withUnsafeBufferPointer { buffer in
            // An array that is not empty has an address.
            guard let start = buffer.baseAddress else { preconditionFailure("an empty C string has a byte") }
            return body(start)
        }
    }
}
