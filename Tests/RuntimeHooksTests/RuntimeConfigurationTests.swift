import LinuxSystem
import Testing

@testable import RuntimeHooks

@Suite("a container's configuration")
struct RuntimeConfigurationTests {
    private let bind = RuntimeConfiguration.Bind(source: "/run/a \"b\"", destination: "/data", isReadOnly: true)
    private let added =
        #"{"destination":"/data","type":"bind","source":"/run/a \"b\"","options":["bind","rprivate","nosuid","nodev","ro"]}"#

    private func edit(_ text: String) throws -> String {
        let edited = try RuntimeConfiguration(Array(text.utf8)).changed(
            adding: [bind], annotations: [.init(key: "k", value: "v")])
        #expect(JSONText(edited) != nil, "\(text)")
        return String(decoding: edited, as: UTF8.self)
    }

    @Test("a mount and an annotation are added, and every other byte stays: order, space, numbers, unknown fields")
    func passThrough() throws {
        let text = """
            { "ociVersion":"1.0.2", "x": 1.0000000000000000000001e+3, "big":123456789012345678901234567890,
              "mounts" : [ {"destination":"/proc", "u": null} ] , "s": "\\u00e9\\ud83d\\ude00/\\/",
              "annotations":{"berth.volume":"data","z":"1"}, "linux":{"a":[[],{}],"unknown":{"b":-0.0E-5}} }
            """
        let edited = try edit(text)
        let expected = text.replacing("\"u\": null} ]", with: "\"u\": null} ,\(added)]")
            .replacing("\"z\":\"1\"}", with: "\"z\":\"1\",\"k\":\"v\"}")
        #expect(edited == expected)
    }

    @Test("lists that are empty or missing are made")
    func missing() throws {
        #expect(
            try edit(#"{"ociVersion":"1","mounts":[],"annotations":{}}"#)
                == #"{"ociVersion":"1","mounts":[\#(added)],"annotations":{"k":"v"}}"#)
        let made = try edit(#"{"ociVersion":"1"}"#)
        #expect(made.contains(#""mounts":[\#(added)]"#) && made.contains(#""annotations":{"k":"v"}"#))
    }

    @Test("what is read is what the text says, escapes resolved")
    func reading() throws {
        let configuration = try RuntimeConfiguration(
            Array(
                #"{"ociVersion":"1","annotations":{"berth.volume":"d\u0061ta","berth.volume.2":"x","n":1},"mounts":[{"destination":"\/a"},{}]}"#
                    .utf8))
        #expect(configuration.annotation("berth.volume") == "data")
        #expect(configuration.annotation("n") == nil)
        #expect(configuration.annotations("berth.volume")?.map(\.value) == ["data", "x"])
        #expect(configuration.destinations == ["/a"])
    }

    @Test(
        "what is not one JSON object of a container is refused",
        arguments: [
            "", " ", "{", "[]", "null", "\"x\"", "{}", "{\"ociVersion\":1}", "{\"ociVersion\":\"1\"}x",
            "{\"ociVersion\":\"1\",}", "{\"ociVersion\":\"1\" \"a\":1}", "{\"ociVersion\":\"\u{01}\"}",
            "{\"ociVersion\":\"\\x\"}", "{\"ociVersion\":\"1\",\"a\":01}", "{\"ociVersion\":\"1\",\"a\":.5}",
            "{\"ociVersion\":\"1\",\"a\":1.}", "{\"ociVersion\":\"1\",\"a\":tru}", "{\"ociVersion\":\"1\",\"a\":[1 2]}",
            "{\"ociVersion\":\"1\",\"a\":\"", "{\"ociVersion\":\"1\",\"a\":\"\\",
            "{\"ociVersion\":\"1\",\"a\":" + String(repeating: "[", count: 100_000),
        ])
    func malformed(text: String) {
        #expect(throws: SystemFailure.self) { try RuntimeConfiguration(Array(text.utf8)) }
    }

    @Test("lists of another kind are refused", arguments: ["{\"x\":1}", "null", "3", "\"/data\""])
    func wrongKind(value: String) {
        #expect(throws: SystemFailure.self) { try edit("{\"ociVersion\":\"1\",\"mounts\":\(value)}") }
    }

    @Test("a text cut anywhere, or with a byte changed, is refused or still whole after the edit")
    func damaged() throws {
        let text = Array(
            #"{"ociVersion":"1.0","mounts":[{"destination":"/p","options":["a","b"]}],"annotations":{"berth.volume":"d"},"n":[1e5,-2,true]}"#
                .utf8)
        for length in text.indices {
            #expect(throws: SystemFailure.self) { try RuntimeConfiguration(Array(text[..<length])) }
        }
        for index in text.indices {
            for byte in [UInt8(0), 0x22, 0x2C, 0x5C, 0x7B, 0x7D, 0xFF] {
                var changed = text
                changed[index] = byte
                guard let configuration = try? RuntimeConfiguration(changed),
                    let edited = try? configuration.changed(adding: [bind], annotations: [.init(key: "k", value: "v")])
                else { continue }
                #expect(JSONText(edited) != nil, "byte \(index) as \(byte)")
            }
        }
    }

    @Test("a state names the container and its bundle, or is refused")
    func state() throws {
        let state = try RuntimeState(Array(#"{"ociVersion":"1","id":"abc","bundle":"/b","status":"stopped"}"#.utf8))
        #expect(state.id == "abc" && state.bundle == "/b")
        for text in ["", "{}", #"{"id":"abc","bundle":"b"}"#, #"{"id":1,"bundle":"/b"}"#] {
            #expect(throws: SystemFailure.self) { try RuntimeState(Array(text.utf8)) }
        }
    }
}
