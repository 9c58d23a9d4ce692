import Glibc

/// What one run does, as its arguments say it.
struct Options {
    var load = Load.create
    var directory = ""
    var clients = 1
    /// Of all clients together.
    var files = 1000
    /// Index of the first file of each client, for volumes that grow in steps.
    var first = 0
    /// More than any tool of a cluster likes to see in one directory, and what a docking campaign uses.
    var filesPerDirectory = 10_000
    /// All clients in the same directories.
    var isShared = false
    var isShuffled = false
    var seed: UInt64 = 1
    /// Bytes of all large files together, or of the one file of random reads and writes.
    var size = 64 << 20
    /// Random reads or writes of all clients together.
    var operations = 1000
    /// Blocks of a large file that were written by `randwrite`, for `verifyblocks`.
    var prefix = "lig"
    /// Only every so many files are verified.
    var stride = 1
    /// Set in the processes that a run starts: their number.
    var worker: Int?

    static let usage = """
        usage: berth-load LOAD --directory DIR [--clients N] [--files N] [--first N] [--files-per-directory N]
               [--shared] [--shuffled] [--seed N] [--size BYTES] [--operations N] [--prefix lig|ren] [--stride N]
        loads: \(Load.allCases.map(\.rawValue).joined(separator: " "))
        Prints one line of JSON.
        """

    init(_ arguments: [String]) throws(LoadFailure) {
        var rest = arguments[...]
        guard let first = rest.popFirst(), let load = Load(rawValue: first) else { throw LoadFailure(Self.usage) }
        self.load = load
        while let flag = rest.popFirst() {
            switch flag {
            case "--shared": isShared = true
            case "--shuffled": isShuffled = true
            default:
                guard let value = rest.popFirst() else { throw LoadFailure("\(flag) needs a value\n\(Self.usage)") }
                try set(flag, value)
            }
        }
        guard !directory.isEmpty, prefix.utf8.count == 3 else { throw LoadFailure(Self.usage) }
    }

    private mutating func set(_ flag: String, _ value: String) throws(LoadFailure) {
        switch flag {
        case "--directory": directory = value
        case "--prefix": prefix = value
        case "--clients": clients = try Self.number(flag, value, 1...256)
        case "--files": files = try Self.number(flag, value, 1...100_000_000)
        case "--first": first = try Self.number(flag, value, 0...100_000_000)
        case "--files-per-directory": filesPerDirectory = try Self.number(flag, value, 1...1_000_000)
        case "--seed": seed = UInt64(try Self.number(flag, value, 0...Int(Int32.max)))
        case "--size": size = try Self.number(flag, value, 4096...(1 << 40))
        case "--operations": operations = try Self.number(flag, value, 1...100_000_000)
        case "--stride": stride = try Self.number(flag, value, 1...1_000_000)
        case "--worker": worker = try Self.number(flag, value, 0...255)
        default: throw LoadFailure("\(flag) is unknown\n\(Self.usage)")
        }
    }

    private static func number(_ flag: String, _ text: String, _ range: ClosedRange<Int>) throws(LoadFailure) -> Int {
        guard let value = Int(text), range.contains(value) else {
            throw LoadFailure("\(flag) \(text): must be a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }
}

enum Load: String, CaseIterable {
    case create, read, stat, list, rename, unlink, verify
    case seqwrite, seqread, randread, randwrite, verifyblocks
}

/// Why a load ended early. A load never goes on after something unexpected.
struct LoadFailure: Error {
    let message: String

    init(_ message: String) {
        self.message = message
    }

    /// A system call failed.
    static func system(_ call: String, _ path: UnsafePointer<CChar>) -> LoadFailure {
        let cause = String(cString: strerror(errno))
        return LoadFailure("\(call) \(String(cString: path)): \(cause)")
    }
}
