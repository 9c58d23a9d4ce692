import Control
import LinuxSystem
import Testing
import Volumes

@testable import RuntimeHooks

@Suite("the annotation")
struct VolumeAnnotationTests {
    private func annotation(_ values: [String]) throws(SystemFailure) -> VolumeAnnotation {
        try VolumeAnnotation(values.map { .init(key: "berth.volume", value: $0) })
    }

    @Test("names volumes, each with a path and a way to use it, or without")
    func words() throws {
        let words = try annotation(["data", "a:/x/y/:ro,b:rw,c:ro", "d:/deep/er:rw", ""]).words
        #expect(words.map(\.volume.description) == ["data", "a", "b", "c", "d"])
        #expect(words.map(\.path?.description) == [nil, "/x/y", nil, nil, "/deep/er"])
        #expect(words.map(\.isReadOnly) == [false, true, false, true, false])
        #expect(try annotation([]).words.isEmpty)
        #expect(try annotation([""]).words.isEmpty)
    }

    @Test("a token is the last part of a word, and not in what is handed on")
    func tokens() throws {
        let annotation = try annotation(["a:token=00ff", "b:/x:ro:token=1,c:/y", "d:/z"])
        #expect(annotation.words.map(\.token) == ["00ff", "1", nil, nil])
        #expect(annotation.words.map(\.path?.description) == [nil, "/x", "/y", "/z"])
        #expect(annotation.withoutTokens.map(\.value) == ["a", "b:/x:ro,c:/y"])
        for value in ["a:token=1:ro", "a:token=1:/x", "a:/x:token=1:token=2"] {
            let failure = #expect(throws: SystemFailure.self) { try self.annotation([value]) }
            #expect(
                failure?.message.contains("a token is the last") == true
                    || failure?.message.contains("absolute") == true)
        }
    }

    @Test(
        "a letter that combines with a separator hides no separator: paths are taken as the kernel takes them",
        arguments: [
            ("a:/x\u{0600}/../etc", "\"..\""), ("a:/x/\u{0301}/../etc", "\"..\""), ("a:/\u{0301}/..", "\"..\""),
            ("a:/x:\u{0301}/y", "':' too many"), ("a:\u{0301}/x", "not absolute"), ("a,\u{0301}b", "not allowed"),
            ("a:/x\u{0600}/./y", "\".\""), ("a:/x\u{0600}//y", "empty part"),
            ("a:/proc\u{0600}/../../proc/x", "\"..\""),
            ("a:/x/.\u{0600}./../y", "\"..\""), ("a:/x\u{0600}\ny", "control"), ("a:/x\u{0600}\\y", "\"\\\""),
        ])
    func combining(value: String, says: String) {
        let failure = #expect(throws: SystemFailure.self) { try annotation([value]) }
        #expect(failure?.message.contains(says) == true, "\(failure?.message ?? "")")
    }

    @Test(
        "each wrong form is refused with what is wrong",
        arguments: [
            (",", "names no volume"), (":/x", "names no volume"), ("a,,b", "names no volume"),
            ("a,", "names no volume"),
            ("../x", "is not allowed"), ("a b", "is not allowed"), ("a:data", "is not absolute"),
            ("a:", "is not absolute"), ("a:/", "root directory"), ("a://", "root directory"), ("a:/x/../y", "holds"),
            ("a:/./x", "holds"), ("a:/x//y", "holds"), ("a:/x:y", "':' too many"), ("a:/x:ro:rw", "':' too many"),
            ("a:/x\ny", "control character"), ("a:/x\u{7F}", "control character"), ("a:/proc", "kernel's"),
            ("a:/dev/shm", "kernel's"), ("a:/sys/x", "kernel's"), ("a:ro:/x", "':' too many"),
            ("a:/" + String(repeating: "p", count: 4096), "at most 4095"),
            (String(repeating: "a,", count: 16) + "a", "more than 16"),
        ])
    func wrong(value: String, says: String) {
        do {
            _ = try annotation([value])
            Issue.record("\(value) was taken")
        } catch {
            #expect(error.message.contains(says), "\(error.message)")
            #expect(!error.message.contains("\n"))
        }
    }

    @Test("paths in each other's way, and paths the container uses already, are refused with both names")
    func conflicts() throws {
        func check(_ places: [(volume: String, path: String)], taken: [String]) throws(SystemFailure) {
            var checked: [(volume: String, path: ContainerPath)] = []
            for place in places { checked.append((place.volume, try ContainerPath(place.path))) }
            try VolumeAnnotation.checkConflicts(checked, taken: taken)
        }
        try check([("a", "/data"), ("b", "/data2"), ("c", "/x/data")], taken: ["/proc", "/"])
        // Unicode takes these two for one, the kernel for two.
        try check([("a", "/\u{E9}"), ("b", "/e\u{301}")], taken: [])
        for (places, taken, says) in [
            ([("a", "/data"), ("b", "/data")], [], "volume \"a\""),
            ([("a", "/data"), ("b", "/data/x")], [], "volume \"b\""),
            ([("a", "/data/x"), ("b", "/data")], [], "volume \"a\""),
            ([("a", "/data")], ["/proc", "/data"], "/data"),
        ] as [([(volume: String, path: String)], [String], String)] {
            do {
                try check(places, taken: taken)
                Issue.record("\(places) were taken")
            } catch {
                #expect(error.message.contains(says), "\(error.message)")
            }
        }
    }
}
