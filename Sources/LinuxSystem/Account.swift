import Glibc

/// A user of this machine, from the name service.
public struct Account: Equatable, Sendable {
    public var name: String
    public var userID: UInt32
    public var groupID: UInt32
    public var home: String

    /// The account with this id, or nil where the name service has none.
    public static func named(id: UInt32) -> Account? {
        // Big enough for any entry; getpwuid_r answers ERANGE past it, which is then "no entry".
        var buffer = [CChar](repeating: 0, count: 65536)
        var entry = passwd()
        return buffer.withUnsafeMutableBufferPointer { space -> Account? in
            var found: UnsafeMutablePointer<passwd>?
            guard let start = space.baseAddress, getpwuid_r(id, &entry, start, space.count, &found) == 0, found != nil,
                let name = entry.pw_name, let home = entry.pw_dir
            else { return nil }
            return Account(
                name: String(cString: name), userID: entry.pw_uid, groupID: entry.pw_gid,
                home: String(cString: home))
        }
    }
}
