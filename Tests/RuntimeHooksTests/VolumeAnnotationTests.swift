import LinuxSystem
import Testing
import Volumes

@testable import RuntimeHooks

@Suite("the annotation")
struct VolumeAnnotationTests {
    @Test("names volumes, each with a path and a way to use it, or without")
    func words() throws {
        let words = try VolumeAnnotation(["data", "a:/x/y/:ro,b:rw,c:ro", "d:/deep/er:rw"]).words
        #expect(words.map(\.volume.description) == ["data", "a", "b", "c", "d"])
        #expect(words.map(\.path) == [nil, "/x/y", nil, nil, "/deep/er"])
        #expect(words.map(\.isReadOnly) == [false, true, false, true, false])
        #expect(try VolumeAnnotation([]).words.isEmpty)
    }

    @Test(
        "each wrong form is refused with what is wrong",
        arguments: [
            ("", "names no volume"), (":/x", "names no volume"), ("a,,b", "names no volume"), ("a,", "names no volume"),
            ("../x", "is not allowed"), ("a b", "is not allowed"), ("a:data", "is not absolute"),
            ("a:", "is not absolute"), ("a:/", "would hide"), ("a://", "holds"), ("a:/x/../y", "holds"),
            ("a:/./x", "holds"), ("a:/x//y", "holds"), ("a:/x:y", "':' too many"), ("a:/x:ro:rw", "':' too many"),
            ("a:/x\ny", "newline"), ("a:/x\u{7F}", "control character"), ("a:/proc", "belongs to"),
            ("a:/dev/shm", "belongs to"), ("a:/sys/x", "belongs to"), ("a:ro:/x", "':' too many"),
            ("a:/" + String(repeating: "p", count: 4096), "longer than"),
            (String(repeating: "a,", count: 16) + "a", "more than 16"),
        ])
    func wrong(value: String, says: String) {
        do {
            _ = try VolumeAnnotation([value])
            Issue.record("\(value) was taken")
        } catch {
            #expect(error.message.contains(says), "\(error.message)")
            #expect(!error.message.contains("\n"))
        }
    }

    @Test("paths in each other's way, and paths the container uses already, are refused with both names")
    func conflicts() throws {
        try AnnotationPath.checkConflicts([("a", "/data"), ("b", "/data2"), ("c", "/x/data")], taken: ["/proc", "/"])
        for (places, taken, says) in [
            ([("a", "/data"), ("b", "/data")], [], "volume \"a\""),
            ([("a", "/data"), ("b", "/data/x")], [], "volume \"b\""),
            ([("a", "/data/x"), ("b", "/data")], [], "volume \"a\""),
            ([("a", "/data")], ["/proc", "/data"], "/data"),
        ] as [([(volume: String, path: String)], [String], String)] {
            do {
                try AnnotationPath.checkConflicts(places, taken: taken)
                Issue.record("\(places) were taken")
            } catch {
                #expect(error.message.contains(says), "\(error.message)")
            }
        }
    }
}
