import Glibc
import Logging

/// Writes what a program logs to standard error, as text or JSON.
public struct LogWriter: LogHandler {
    public var logLevel = Logger.Level.info
    /// On every line, such as the volume.
    public var metadata: Logger.Metadata = [:]
    private let program: String
    private let format: LogFormat

    public init(program: String, format: LogFormat) {
        self.program = program
        self.format = format
    }

    /// A logger for a program's whole life.
    public static func logger(
        program: String, format: LogFormat, fields: [LogField: String] = [:]
    ) -> Logger {
        var logger = Logger(label: program) { LogWriter(program: $0, format: format) }
        for (field, value) in fields { logger[metadataKey: field.rawValue] = "\(value)" }
        return logger
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { _, said in said }
        let record = LogRecord(
            program: program, level: "\(event.level)", message: "\(event.message)", fields: all.mapValues { "\($0)" })
        // One write, so that lines of threads and programs do not mix.
        let bytes = Array(record.line(format).utf8)
        _ = Glibc.write(2, bytes, bytes.count)
    }
}
