import CLinux
import FileModel
import Glibc

/// Replaces this process by another program. Arguments and environment pass as the bytes they are: they need not be
/// UTF-8.
public enum ProcessImage {
    /// The words of this process's command line after the first `--`; empty where there is none.
    public static func wordsAfterTerminator() -> [UnsafeMutablePointer<CChar>] {
        var words: [UnsafeMutablePointer<CChar>] = []
        var isPast = false
        for index in 0..<Int(CommandLine.argc) {
            guard let word = CommandLine.unsafeArgv[index] else { break }
            if isPast { words.append(word) } else { isPast = strcmp(word, "--") == 0 }
        }
        return words
    }

    /// Starts `path` with these words and then the raw ones. Returns only where that fails.
    public static func become(_ path: String, _ words: [String], _ raw: [UnsafeMutablePointer<CChar>]) -> Errno {
        var arguments = ([path] + words).map { strdup($0) } + raw.map { Optional($0) } + [nil]
        execv(path, &arguments)
        return .current
    }

    /// Starts the program that the first raw word names, looked for as a shell does. Returns only where that fails.
    public static func become(_ raw: [UnsafeMutablePointer<CChar>]) -> Errno {
        guard let program = raw.first else { return .invalidArgument }
        var arguments = raw.map { Optional($0) } + [nil]
        execvp(program, &arguments)
        return .current
    }
}
