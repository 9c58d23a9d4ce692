import Glibc

/// The small files of one client: where each is. Names have 20 bytes.
///
/// The path is one buffer in which digits are replaced, so that naming a file costs next to nothing.
final class FileSet {
    let count: Int
    private let options: Options
    private let client: Int
    private let path: UnsafeMutablePointer<CChar>
    private let other: UnsafeMutablePointer<CChar>
    private let directoryDigits: Int
    private let nameStart: Int
    private static let nameLength = 20
    private static let directoryWidth = 5
    private static let numberWidth = 12

    init(_ options: Options, client: Int) {
        self.options = options
        self.client = client
        count = options.files / options.clients + (client < options.files % options.clients ? 1 : 0)
        let root = options.isShared ? "\(options.directory)/shared" : "\(options.directory)/c\(client)"
        directoryDigits = root.utf8.count + 2
        nameStart = directoryDigits + Self.directoryWidth + 1
        path = FileSet.copy("\(root)/d00000/\(options.prefix)-000000000000.pdb")
        other = FileSet.copy("\(root)/d00000/ren-000000000000.pdb")
        precondition(strlen(path) == nameStart + Self.nameLength)
    }

    private static func copy(_ text: String) -> UnsafeMutablePointer<CChar> {
        let bytes = Array(text.utf8CString)
        let memory = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
        memory.initialize(from: bytes, count: bytes.count)
        return memory
    }

    /// The number of the client's `position`th file, which its content follows from.
    @inline(__always)
    func number(_ position: Int) -> UInt64 {
        let index = options.first + position
        // Clients in one directory take turns, so that all are in the same one at any time.
        return UInt64(options.isShared ? index * options.clients + client : index)
    }

    /// The seed of the file's content: clients in directories of their own have the same numbers.
    var seed: UInt64 { options.seed &* 1000 &+ UInt64(options.isShared ? 0 : client) }

    /// Valid until the next call.
    @inline(__always)
    func path(_ position: Int) -> UnsafePointer<CChar> {
        write(number(position), path)
        return UnsafePointer(path)
    }

    /// Where `rename` moves the file.
    @inline(__always)
    func renamed(_ position: Int) -> UnsafePointer<CChar> {
        write(number(position), other)
        return UnsafePointer(other)
    }

    @inline(__always)
    private func write(_ number: UInt64, _ path: UnsafeMutablePointer<CChar>) {
        let raw = UnsafeMutableRawPointer(path)
        Decimal.put(number / UInt64(options.filesPerDirectory), at: raw + directoryDigits, width: Self.directoryWidth)
        Decimal.put(number, at: raw + nameStart + 4, width: Self.numberWidth)
    }

    /// The directories of this client's files.
    func directories() -> [String] {
        guard count > 0 else { return [] }
        let range =
            number(0) / UInt64(options.filesPerDirectory)...number(count - 1) / UInt64(options.filesPerDirectory)
        return range.map { index in
            let text = String(index)
            let root = options.isShared ? "shared" : "c\(client)"
            let zeros = String(repeating: "0", count: Self.directoryWidth - text.utf8.count)
            return "\(options.directory)/\(root)/d\(zeros)\(text)"
        }
    }

    func makeDirectories() throws(LoadFailure) {
        let root = options.isShared ? "\(options.directory)/shared" : "\(options.directory)/c\(client)"
        for directory in [options.directory, root] + directories() {
            guard mkdir(directory, 0o755) == 0 || errno == EEXIST else { throw .system("mkdir", directory) }
        }
    }

    /// The positions of the client's files, in order of creation or shuffled with the run's seed.
    func positions() -> [UInt32] {
        var list = (0..<UInt32(count)).map { $0 }
        guard options.isShuffled else { return list }
        var random = SeededRandom(options.seed &* 31 &+ UInt64(client))
        list.shuffle(using: &random)
        return list
    }
}

/// splitmix64: the same numbers on every machine.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
