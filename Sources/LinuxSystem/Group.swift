import Glibc

/// A group of this machine, from the name service.
public struct Group: Equatable, Sendable {
    public var name: String
    /// Names of users who are in it besides those whose primary group it is.
    public var members: [String]

    /// The group with this id, or nil where the name service has none.
    public static func named(id: UInt32) -> Group? {
        // Groups of all users of a site have long lists; getgrgid_r answers ERANGE past it, which is then "no entry".
        var buffer = [CChar](repeating: 0, count: 1 << 18)
        var entry = group()
        return buffer.withUnsafeMutableBufferPointer { space -> Group? in
            var found: UnsafeMutablePointer<group>?
            guard let start = space.baseAddress, getgrgid_r(id, &entry, start, space.count, &found) == 0, found != nil,
                let name = entry.gr_name
            else { return nil }
            var members: [String] = []
            var next = entry.gr_mem
            while let place = next, let member = place.pointee {
                members.append(String(cString: member))
                next = place + 1
            }
            return Group(name: String(cString: name), members: members)
        }
    }
}
