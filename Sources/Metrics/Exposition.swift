/// Prometheus' text format, version 0.0.4, of any number of volumes.
/// Source: prometheus.io/docs/instrumenting/exposition_formats
public struct Exposition {
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"
    public static let upFamily = "berth_volume_up"
    public static let buildFamily = "berth_build_info"

    /// Upper bounds of the buckets that are written: each doubling from 2 µs to 34 s.
    private static let bounds = (11...35).map { UInt64(1) << UInt64($0) }

    private var text = ""

    /// `unserved` are volumes that no server answers for.
    public static func text(_ volumes: [VolumeStatistics], unserved: [String], version: String) -> String {
        var exposition = Exposition()
        exposition.head(buildFamily, "Always 1; the version of Berth that tells.", .gauge)
        exposition.sample(buildFamily, [("version", version)], "1")
        let names = volumes.map { ($0.volume, "1") } + unserved.map { ($0, "0") }
        if !names.isEmpty {
            exposition.head(
                upFamily, "1 where a server serves the volume and answers, 0 where none does.", .gauge)
        }
        for (name, value) in names.sorted(by: { $0.0 < $1.0 }) {
            exposition.sample(upFamily, [("volume", name)], value)
        }
        for family in MetricFamily.all { exposition.add(family, volumes) }
        return exposition.text
    }

    private mutating func add(_ family: MetricFamily, _ volumes: [VolumeStatistics]) {
        // A family without a sample is not written at all.
        var isBegun = false
        for volume in volumes {
            for (labels, value) in family.samples(volume) {
                if !isBegun { head(family.name, family.help, family.kind) }
                isBegun = true
                let labels = [(name: "volume", value: volume.volume)] + labels
                switch value {
                case .count(let count): sample(family.name, labels, "\(count)")
                case .number(let number): sample(family.name, labels, "\(number)")
                case .latency(let histogram): add(histogram, family.name, labels)
                }
            }
        }
    }

    private mutating func add(
        _ histogram: LatencyHistogram, _ name: String, _ labels: [(name: String, value: String)]
    ) {
        for bound in Self.bounds {
            sample(
                name + "_bucket", labels + [("le", "\(Self.seconds(bound))")], "\(histogram.count(upTo: bound))")
        }
        // The same sum for both, so that they agree whatever is counted meanwhile.
        let count = histogram.count
        sample(name + "_bucket", labels + [("le", "+Inf")], "\(count)")
        sample(name + "_sum", labels, "\(Self.seconds(histogram.totalNanoseconds))")
        sample(name + "_count", labels, "\(count)")
    }

    private static func seconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds) / 1e9 }

    private mutating func head(_ name: String, _ help: String, _ kind: MetricFamily.Kind) {
        text += "# HELP \(name) \(Self.escaped(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n"
    }

    private mutating func sample(_ name: String, _ labels: [(name: String, value: String)], _ value: String) {
        text += name
        if !labels.isEmpty {
            let words = labels.map { "\($0.name)=\"\(Self.escaped($0.value, quotes: true))\"" }
            text += "{\(words.joined(separator: ","))}"
        }
        text += " \(value)\n"
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\"" where quotes: result += "\\\""
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }
}
