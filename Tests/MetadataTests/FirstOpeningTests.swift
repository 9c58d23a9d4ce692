import Glibc
import SQLiteMetadata
import TestSupport
import Testing

@Suite("a first opening that was cut short")
struct FirstOpeningTests {
    private let directory = TemporaryDirectory()
    private var path: String { "\(directory.path)/meta.db" }

    @Test("an empty file, and a database without a root, are new volumes to the check")
    func isWhole() throws {
        // What is left where the process died between making the file and its tables.
        let number = open(path, O_CREAT | O_WRONLY, 0o600)
        try #require(number >= 0 && close(number) == 0)
        #expect(try MetadataChecker.check(path: path).problems.count == 0)
        // And between the tables and the first commit.
        try SQLiteMetadataStore(path: path).close()
        #expect(try MetadataChecker.check(path: path).problems.count == 0)
    }
}
