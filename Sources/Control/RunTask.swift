import LinuxSystem

/// What `berth run` hands to `berth-hook`: the volumes to mount in namespaces of its own, before it becomes the
/// program. Its command line is `berth-hook run N (VOLUME SOCKET PATH ro|rw)×N -- PROGRAM ARGUMENTS…`.
public struct RunTask: Sendable, Equatable {
    public static let verb = "run"

    public struct Place: Sendable, Equatable {
        public var volume: String
        /// The control socket of the volume's server, which runs.
        public var socket: String
        public var path: ContainerPath
        public var readOnly: Bool

        public init(volume: String, socket: String, path: ContainerPath, readOnly: Bool) {
            self.volume = volume
            self.socket = socket
            self.path = path
            self.readOnly = readOnly
        }
    }

    public var places: [Place]

    public init(places: [Place]) {
        self.places = places
    }

    /// All words up to and with the `--`.
    public var arguments: [String] {
        [Self.verb, "\(places.count)"]
            + places.flatMap { [$0.volume, $0.socket, $0.path.description, $0.readOnly ? "ro" : "rw"] } + ["--"]
    }

    /// Reads a command line; nil where it is none of ours.
    public init?(arguments: [String]) {
        guard arguments.first == Self.verb, arguments.count > 2, let count = Int(arguments[1]), count > 0,
            // A bound, so that the product below cannot overflow.
            count <= arguments.count, arguments.count > 2 + 4 * count + 1, arguments[2 + 4 * count] == "--"
        else { return nil }
        places = []
        for index in 0..<count {
            let words = arguments[(2 + 4 * index)..<(6 + 4 * index)].map { $0 }
            guard let path = try? ContainerPath(words[2]), ["ro", "rw"].contains(words[3]) else { return nil }
            places.append(Place(volume: words[0], socket: words[1], path: path, readOnly: words[3] == "ro"))
        }
    }
}
