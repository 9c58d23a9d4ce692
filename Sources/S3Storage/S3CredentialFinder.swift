import FileModel
import Glibc
import LinuxSystem

/// Finds a user's keys where AWS's tools and Berth keep them, in this order:
///
/// 1. `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, unless the volume names a profile
/// 2. Berth's own file, `~/.config/berth/credentials`, refused where others can read it
/// 3. `~/.aws/credentials` and `~/.aws/config` (`AWS_SHARED_CREDENTIALS_FILE`, `AWS_CONFIG_FILE`)
///
/// The files hold sections; the profile is the volume's, else `AWS_PROFILE`, else `default`.
public struct S3CredentialFinder: Sendable {
    private static let fileLimit = 1 << 20

    private let environment: [String: String]
    private let profile: String
    private let isProfileGiven: Bool
    private let ownFile: String
    private let credentialsFile: String
    private let configurationFile: String

    public init(environment: [String: String], home: String, ownFile: String, profile: String?) {
        func set(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        self.environment = environment
        self.profile = profile ?? set("AWS_PROFILE") ?? "default"
        isProfileGiven = profile != nil
        self.ownFile = ownFile
        credentialsFile = set("AWS_SHARED_CREDENTIALS_FILE") ?? "\(home)/.aws/credentials"
        configurationFile = set("AWS_CONFIG_FILE") ?? "\(home)/.aws/config"
    }

    /// The keys, read anew at each call: files change when keys are renewed.
    public func credentials() throws(SystemFailure) -> S3Credentials {
        if !isProfileGiven, let found = try fromEnvironment() { return found }
        if let section = try own()[profile], let found = try keys(section, of: ownFile) { return found }
        for (path, name) in [(credentialsFile, profile), (configurationFile, configurationSection)] {
            if let section = try sections(path)[name], let found = try keys(section, of: path) { return found }
        }
        throw SystemFailure(
            "the store's keys", "there are none for profile \"\(profile)\"",
            fix:
                "write them to \(ownFile) (chmod 600) as `[\(profile)]`, `aws_access_key_id = …`, `aws_secret_access_key = …`, or to \(credentialsFile), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            errno: .noEntry, status: .noPermission)
    }

    /// What is given, else what the environment or the profile says of a setting, such as `region`.
    public func setting(_ given: String?, _ names: [String], key: String) throws(SystemFailure) -> String? {
        if let given { return given }
        for name in names { if let value = environment[name], !value.isEmpty { return value } }
        for (path, name) in [(ownFile, profile), (configurationFile, configurationSection), (credentialsFile, profile)]
        {
            let found = path == ownFile ? try own() : try sections(path)
            if let value = found[name]?[key], !value.isEmpty { return value }
        }
        return nil
    }

    private var configurationSection: String { profile == "default" ? profile : "profile \(profile)" }

    private func fromEnvironment() throws(SystemFailure) -> S3Credentials? {
        guard let access = environment["AWS_ACCESS_KEY_ID"], !access.isEmpty else { return nil }
        guard let secret = environment["AWS_SECRET_ACCESS_KEY"], !secret.isEmpty else {
            throw SystemFailure(
                "AWS_ACCESS_KEY_ID", "is set, and AWS_SECRET_ACCESS_KEY is not", fix: "set both, or none",
                status: .configuration)
        }
        return S3Credentials(
            accessKey: access, secretKey: secret, sessionToken: environment["AWS_SESSION_TOKEN"].flatMap(Self.filled),
            source: "AWS_ACCESS_KEY_ID")
    }

    private func keys(_ section: [String: String], of path: String) throws(SystemFailure) -> S3Credentials? {
        guard let access = section["aws_access_key_id"].flatMap(Self.filled) else { return nil }
        guard let secret = section["aws_secret_access_key"].flatMap(Self.filled) else {
            throw SystemFailure(
                path, "profile \"\(profile)\" has an access key and no aws_secret_access_key", fix: "add it",
                status: .configuration)
        }
        return S3Credentials(
            accessKey: access, secretKey: secret, sessionToken: section["aws_session_token"].flatMap(Self.filled),
            source: "profile \(profile) in \(path)")
    }

    private static func filled(_ text: String) -> String? { text.isEmpty ? nil : text }

    // MARK: Files

    private func own() throws(SystemFailure) -> [String: [String: String]] {
        guard let file = try open(ownFile) else { return [:] }
        var status = stat()
        guard fstat(file.rawValue, &status) == 0 else { throw SystemFailure(ownFile, "cannot be examined", .current) }
        guard status.st_mode & 0o077 == 0, status.st_uid == geteuid() else {
            throw SystemFailure(
                ownFile, "others can read it, or it is not yours", fix: "run: chmod 600 \(ownFile), and renew the keys",
                errno: .notPermitted, status: .noPermission)
        }
        return try read(file, ownFile)
    }

    private func sections(_ path: String) throws(SystemFailure) -> [String: [String: String]] {
        guard let file = try open(path) else { return [:] }
        return try read(file, path)
    }

    private func open(_ path: String) throws(SystemFailure) -> FileDescriptor? {
        do {
            return try FileDescriptor.open(path, O_RDONLY | O_NONBLOCK)
        } catch {
            guard error != .noEntry, error != .notDirectory else { return nil }
            throw SystemFailure(path, "cannot be opened", error, fix: "make it readable for you, or remove it")
        }
    }

    private func read(_ file: borrowing FileDescriptor, _ path: String) throws(SystemFailure) -> [String: [String:
        String]]
    {
        do {
            return Self.parse(String(decoding: try file.readAll(limit: Self.fileLimit), as: UTF8.self))
        } catch {
            throw SystemFailure(path, "cannot be read", error)
        }
    }

    /// Sections of `key = value` lines, as AWS's tools write them. Nested settings, which are indented, are left out.
    package static func parse(_ text: String) -> [String: [String: String]] {
        var sections: [String: [String: String]] = [:]
        var section: String?
        for line in text.split(whereSeparator: \.isNewline) {
            let trimmed = trim(line)
            if trimmed.isEmpty || trimmed.startsWithBytes(of: "#") || trimmed.startsWithBytes(of: ";") { continue }
            if trimmed.startsWithBytes(of: "["), let end = trimmed.firstIndex(of: "]") {
                section = String(trim(trimmed[trimmed.index(after: trimmed.startIndex)..<end]))
                continue
            }
            let parts = trimmed.parts(at: "=", atMost: 1)
            guard let section, line.first?.isWhitespace == false, parts.count == 2 else { continue }
            sections[section, default: [:]][trim(parts[0]).lowercased()] = String(trim(parts[1]))
        }
        return sections
    }

    private static func trim(_ text: Substring) -> Substring {
        var text = text.drop { $0.isWhitespace }
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }
}
