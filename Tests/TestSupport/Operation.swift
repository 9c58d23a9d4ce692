import CLinux
import FileModel
import Glibc
import LinuxSystem
import VFS

/// What a random test does to a tree. Names are paths below the root without a leading slash.
public enum Operation: CustomStringConvertible, Sendable {
    case create(String)
    case makeDirectory(String)
    case remove(String)
    case removeDirectory(String)
    case rename(String, String, RenameMode)
    case link(String, String)
    case symlink(String, target: String)
    case write(String, offset: Int, bytes: [UInt8])
    case append(String, bytes: [UInt8])
    case truncate(String, size: Int)
    case punch(String, offset: Int, length: Int)
    case zero(String, offset: Int, length: Int)
    case allocate(String, offset: Int, length: Int)
    case copy(String, from: Int, to: String, at: Int, length: Int)
    case setAttribute(String, String)
    case changeMode(String, UInt32)

    public var description: String {
        switch self {
        case .write(let path, let offset, let bytes): "write(\(path), \(offset), \(bytes.count) bytes)"
        case .append(let path, let bytes): "append(\(path), \(bytes.count) bytes)"
        case .create(let path): "create(\(path))"
        case .makeDirectory(let path): "mkdir(\(path))"
        case .remove(let path): "unlink(\(path))"
        case .removeDirectory(let path): "rmdir(\(path))"
        case .rename(let old, let new, let mode): "rename(\(old), \(new), \(mode))"
        case .link(let old, let new): "link(\(old), \(new))"
        case .symlink(let path, let target): "symlink(\(path) -> \(target))"
        case .truncate(let path, let size): "truncate(\(path), \(size))"
        case .punch(let path, let offset, let length): "punch(\(path), \(offset), \(length))"
        case .zero(let path, let offset, let length): "zero(\(path), \(offset), \(length))"
        case .allocate(let path, let offset, let length): "allocate(\(path), \(offset), \(length))"
        case .copy(let from, let start, let to, let target, let length):
            "copy(\(from)@\(start), \(to)@\(target), \(length))"
        case .setAttribute(let path, let value): "setxattr(\(path), \(value))"
        case .changeMode(let path, let mode): "chmod(\(path), \(String(mode, radix: 8)))"
        }
    }
}

/// What a tree looks like: each path with its kind, rights, links, content or target, and attribute.
public typealias Picture = [String: String]

/// Something that operations are done to: our file system, or the host's.
public protocol TestedTree {
    /// 0, or the errno of the refusal.
    mutating func perform(_ operation: Operation) -> Int32
    func picture() throws -> Picture
}

extension Operation {
    private static let directories = ["", "d0/", "d1/", "d0/e/"]

    /// Any operation on a handful of names, so that they meet often.
    public static func random(_ generator: inout SeededGenerator) -> Operation {
        func pick<Element>(_ list: [Element], _ generator: inout SeededGenerator) -> Element {
            list[Int.random(in: 0..<list.count, using: &generator)]
        }
        func path(_ generator: inout SeededGenerator) -> String {
            pick(directories, &generator) + pick(["a", "b", "c", "d0", "d1", "e"], &generator)
        }
        func bytes(_ generator: inout SeededGenerator) -> [UInt8] {
            let count = pick([1, 17, 4096, 5000, 70_000], &generator)
            return [UInt8](repeating: UInt8.random(in: 1...255, using: &generator), count: count)
        }
        let offset = pick([0, 1, 4095, 4096, 100_000, 1_500_000], &generator)
        let length = pick([1, 4096, 5000, 200_000], &generator)
        let first = path(&generator)
        switch Int.random(in: 0..<22, using: &generator) {
        case 0...2: return .create(first)
        case 3, 4: return .makeDirectory(first)
        case 5: return .remove(first)
        case 6: return .removeDirectory(first)
        case 7, 8: return .rename(first, path(&generator), .replace)
        case 9: return .rename(first, path(&generator), .keep)
        case 10: return .rename(first, path(&generator), .exchange)
        case 11: return .link(first, path(&generator))
        case 12: return .symlink(pick(directories, &generator) + "s", target: first)
        case 13, 14: return .write(first, offset: offset, bytes: bytes(&generator))
        case 15: return .append(first, bytes: bytes(&generator))
        case 16: return .truncate(first, size: pick([0, 1, 4097, 120_000], &generator))
        case 17: return .punch(first, offset: offset, length: length)
        case 18: return .zero(first, offset: offset, length: length)
        case 19: return .copy(first, from: offset, to: path(&generator), at: 3, length: length)
        case 20: return .setAttribute(first, "\(length)")
        default:
            return Bool.random(using: &generator)
                ? .changeMode(first, UInt32(pick([0o600, 0o755, 0o4711], &generator)))
                : .allocate(first, offset: offset, length: length)
        }
    }
}
