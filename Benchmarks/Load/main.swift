import Glibc

let arguments = Array(CommandLine.arguments.dropFirst())
do throws(LoadFailure) {
    let options = try Options(arguments)
    if let client = options.worker {
        try Worker(options: options, client: client).run()
    } else {
        print(try Coordinator(options: options, arguments: arguments).run())
    }
} catch {
    let text = Array("berth-load: \(error.message)\n".utf8)
    _ = write(STDERR_FILENO, text, text.count)
    exit(1)
}
