import Control
import S3Storage

/// Texts that people and servers write.
enum TextTargets {
    /// An answer to a listing of a bucket.
    @Sendable static func listing(_ bytes: [UInt8]) -> String? {
        guard let page = try? ListingPage(bytes) else { return nil }
        return page.next?.isEmpty == true ? "an empty token would ask for the first page for ever" : nil
    }

    /// A file of AWS's tools.
    @Sendable static func credentials(_ bytes: [UInt8]) -> String? {
        for (name, section) in S3CredentialFinder.parse(String(decoding: bytes, as: UTF8.self)) {
            for (key, value) in section {
                let texts = [name, key, value]
                if texts.contains(where: { $0.first?.isWhitespace == true || $0.last?.isWhitespace == true }) {
                    return "white space around a word: \(texts)"
                }
                if texts.contains(where: { $0.contains(where: \.isNewline) }) { return "a line break in \(texts)" }
            }
        }
        return nil
    }

    /// Where a volume belongs.
    @Sendable static func paths(_ bytes: [UInt8]) -> String? {
        let text = String(decoding: bytes, as: UTF8.self)
        guard let path = try? ContainerPath(text) else { return nil }
        let clean = path.description
        let parts = clean.utf8.split(separator: 0x2F, omittingEmptySubsequences: false).map { String($0) ?? "" }
        let isClean =
            clean.utf8.first == 0x2F && clean.utf8.count < 4096
            && parts.dropFirst().allSatisfy { !["", ".", ".."].contains($0) }
        guard isClean, !clean.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F || $0 == 0x3A }) else {
            return "an unclean path passes: \(clean)"
        }
        return (try? ContainerPath(clean)) == path ? nil : "a checked path does not pass again: \(clean)"
    }
}
