/// Looks at texts from outside by their bytes. Swift's own `split`, `hasPrefix`, `contains` and `==` go by Characters and by
/// Unicode's equivalence: a letter that combines with a separator before it (`/` and U+0301) makes another Character of it,
/// and the separator is not seen, while the kernel, podman and every other program see it.
extension StringProtocol where SubSequence == Substring {
    /// The parts between bytes of one ASCII value. Always at least one, as `split` with `omittingEmptySubsequences: false`.
    public func parts(at separator: Unicode.Scalar, atMost splits: Int = .max) -> [Substring] {
        let text = Substring(self)
        return text.utf8.split(
            separator: UInt8(ascii: separator), maxSplits: splits, omittingEmptySubsequences: false
        ).map { Substring($0) }
    }

    /// The parts that are not empty.
    public func words(at separator: Unicode.Scalar) -> [Substring] { parts(at: separator).filter { !$0.utf8.isEmpty } }

    public func startsWithBytes(of prefix: some StringProtocol) -> Bool { utf8.starts(with: prefix.utf8) }

    public func endsWithBytes(of suffix: some StringProtocol) -> Bool {
        utf8.count >= suffix.utf8.count && utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8)
    }

    /// Where the last `/` is: before it is a path's directory, behind it the name.
    public var lastSlash: String.Index? { Substring(self).utf8.lastIndex(of: UInt8(ascii: "/")) }

    public func hasByte(_ byte: Unicode.Scalar) -> Bool { utf8.contains(UInt8(ascii: byte)) }

    public func isBytes(of other: some StringProtocol) -> Bool { utf8.elementsEqual(other.utf8) }

    /// The text without so many bytes at its end or beginning. Only after a check that ASCII stands there.
    public func droppingBytes(first: Int = 0, last: Int = 0) -> Substring {
        let text = Substring(self)
        return Substring(text.utf8.dropFirst(first).dropLast(last))
    }
}
