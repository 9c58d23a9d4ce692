import FileModel

/// Why a name cannot be one in a volume.
struct Unusable: Error {
    var reason: String
}

/// Names of objects and of members of archives, as paths.
enum EntryPath {
    /// As keys have them: every part must be a name.
    static func strict(_ key: [UInt8]) throws(Unusable) -> [FileName] {
        let parts = key.split(separator: 0x2F, omittingEmptySubsequences: false)
        if parts.last?.isEmpty == true { throw Unusable(reason: "its name ends with \"/\"") }
        if parts.contains(where: \.isEmpty) { throw Unusable(reason: "its name has an empty part") }
        return try names(parts)
    }

    /// As `tar` does: a leading slash and "." are left away.
    static func lenient(_ name: [UInt8]) throws(Unusable) -> [FileName] {
        try names(name.split(separator: 0x2F).filter { !$0.elementsEqual([0x2E]) })
    }

    private static func names(_ parts: [ArraySlice<UInt8>]) throws(Unusable) -> [FileName] {
        var names: [FileName] = []
        names.reserveCapacity(parts.count)
        for part in parts {
            do {
                names.append(try FileName(Array(part)))
            } catch {
                throw Unusable(reason: reason(part))
            }
        }
        return names
    }

    private static func reason(_ part: ArraySlice<UInt8>) -> String {
        if part.count > FileName.maximumLength { return "a part of its name has \(part.count) bytes, more than 255" }
        if part.contains(0) { return "its name has a NUL" }
        return "its name has \"\(String(decoding: part, as: UTF8.self))\""
    }
}
