import FileModel
import LinuxSystem
import Volumes

/// Whether an annotation's word is the user's. Podman before 4.5.1 copies the annotations of an image into the container's
/// configuration, where nothing tells them from the user's own (decision 0070).
struct AnnotationConsent {
    private let paths: SitePaths
    private let needed: AnnotationTokens
    private let keys: EngineStorage.ImageKeys
    private let image: String

    /// `image` is the image's name, for people.
    init(_ paths: SitePaths, _ keys: EngineStorage.ImageKeys, image: String?) throws(SystemFailure) {
        self.paths = paths
        self.keys = keys
        self.image = image.map { "the image \($0)" } ?? "the image"
        needed = try UserSettings.load(paths).annotationTokens
    }

    /// Throws unless the user has said this word, or allowed it by the volume's token.
    func check(_ word: VolumeAnnotation.Word) throws(SystemFailure) {
        guard let cause = objection(word) else { return }
        let subject = "annotation \(word.key)"
        let line = "`berth annotate \(word.volume)`"
        guard let token = word.token else {
            throw SystemFailure(
                subject, cause, fix: "allow it with what \(line) prints, or ask for nothing: --annotation \(word.key)=",
                status: .noPermission)
        }
        guard try AnnotationToken(paths.volume(word.volume.description)).matches(token) else {
            throw SystemFailure(
                subject, "its token is not that of volume \"\(word.volume)\"", fix: "take what \(line) prints",
                status: .noPermission)
        }
    }

    /// Why the word needs the volume's token; nil where it is the user's in any case.
    private func objection(_ word: VolumeAnnotation.Word) -> String? {
        let volume = "volume \"\(word.volume)\""
        switch (needed, keys) {
        case (.off, _): return nil
        case (.always, _): return "asks for \(volume) without its token, and berth.conf says annotation-tokens = always"
        case (.images, .known(let keys)):
            guard keys.contains(Array(word.key.utf8)) else { return nil }
            return "\(image) carries it, so that it may not be you who asks for \(volume)"
        case (.images, .unknown(let cause)):
            return "nobody can tell whether you or \(image) asks for \(volume) (\(cause))"
        }
    }
}
