import CLinux
import Control
import FileModel
import Glibc
import LinuxSystem
import Logging
import Volumes

/// Starts a volume's server, holds what must outlive it, and starts it again when it dies while it has sessions:
/// programs that use the mounts see a pause.
///
/// It has one thread, opens no volume, and starts no program but its own: a server that somebody has got hold of can have
/// nothing else started. What it does outside the server's Landlock domain for it is in `KeeperErrands`.
///
/// Invariants
/// - At most one server runs. It has ended, with all its threads, before the next one starts.
/// - `kept` holds each name once.
struct Keeper: ~Copyable {
    private static let restMicroseconds: UInt32 = 1_000_000
    /// Of a server that could not be started, or whose end nobody can tell.
    private static let unknownEnd = ChildEnd.exited(-1)
    private static let messageTimeout = Duration.seconds(10)
    /// Sessions, sockets and memory of one server are fewer.
    private static let keptLimit = 256

    private struct Kept {
        var name: String
        var note: [UInt8]
        let descriptor: Holder
    }

    private final class Holder {
        let descriptor: FileDescriptor

        init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }
    }

    private let program: String
    private let volume: String
    private let logger: Logger
    private let signals: FileDescriptor
    private let errands: KeeperErrands
    private var names: NameProcess
    private var kept: [Kept] = []

    init(program: String, volume: VolumeName, logger: Logger) throws(SystemFailure) {
        self.program = program
        self.volume = volume.description
        self.logger = logger
        names = NameProcess(program: program)
        errands = KeeperErrands(volume: volume, environment: ProcessEnvironment.current())
        signals = try explaining("berthfs", "cannot wait for signals") { () throws(Errno) in try Signals.descriptor() }
    }

    /// Blocks until the service has ended. Answers the exit status. The descriptor `ready` goes to the first server, and
    /// is closed once that has been started.
    mutating func run(ready: Int32?) throws(SystemFailure) -> Int32 {
        var ready = ready
        var deaths = Deaths()
        var afterFault = false
        while true {
            let started = ContinuousClock.now
            let end: ChildEnd
            do throws(SystemFailure) {
                end = try serve(ready, afterFault)
            } catch {
                guard hasSessions else { throw error }
                // No process or descriptor to be had, or a program that is being replaced: that passes.
                logger.error(
                    "a server cannot be started", metadata: metadata.merging(["cause": "\(error.message)"]) { $1 })
                end = Self.unknownEnd
            }
            ready = nil
            if end == .exited(Handover.restartStatus) {
                logger.info("the server is replaced", metadata: metadata)
                afterFault = false
                continue
            }
            if case .exited(let status) = end, status == 0 || !hasSessions { return status }
            guard hasSessions else { return 1 }
            afterFault = end.isFault
            let mayStart = deaths.note(end, after: started.duration(to: .now))
            logger.error("the server died", metadata: metadata.merging(["cause": "\(end)"]) { $1 })
            guard mayStart else {
                logger.critical(
                    "it dies too often: its mounts end, and programs get ENOTCONN; unmount and mount again",
                    metadata: metadata)
                return 1
            }
            // What keeps it from starting may pass.
            if deaths.isRepeated { usleep(Self.restMicroseconds) }
        }
    }

    private var hasSessions: Bool { kept.contains { $0.name.hasPrefix(Handover.sessionPrefix) } }

    private var metadata: Logger.Metadata { ["volume": "\(volume)"] }

    /// Starts a server and answers it until it ends.
    private mutating func serve(_ ready: Int32?, _ afterFault: Bool) throws(SystemFailure) -> ChildEnd {
        let keeperNumber: Int32 = 3
        let readyNumber: Int32 = 4
        let pair = try explaining("berthfs", "cannot make a socket") { () throws(Errno) in try UnixSocket.pair() }
        var command = Command(
            program, ["serve", volume, "--keeper-fd", "\(keeperNumber)"], environment: ProcessEnvironment.current())
        if afterFault { command.arguments.append("--after-fault") }
        command.descriptors = [.init(from: pair.second.rawValue, to: keeperNumber)]
        if let ready {
            command.arguments += ["--ready-fd", "\(readyNumber)"]
            command.descriptors.append(.init(from: ready, to: readyNumber))
        }
        let child = try Spawn.start(command)
        // Whoever waits must see the server hang up.
        if let ready { close(ready) }
        let socket = pair.takeFirst()
        let number = socket.rawValue
        let channel = FrameChannel(socket, name: "the server")
        handOver(channel)
        answer(channel, number, child)
        names.end()
        // All of its threads have ended: no request is being answered.
        return Spawn.wait(for: child) ?? Self.unknownEnd
    }

    private func handOver(_ channel: FrameChannel) {
        do throws(SystemFailure) {
            for item in kept {
                try channel.send(
                    KeeperReply.kept(name: item.name, note: item.note), passing: item.descriptor.descriptor.rawValue,
                    timeout: Self.messageTimeout)
            }
            for mark in [Handover.errandsMark, Handover.namesMark] {
                try channel.send(KeeperReply.kept(name: mark, note: []), timeout: Self.messageTimeout)
            }
            try channel.send(KeeperReply.done, timeout: Self.messageTimeout)
        } catch {
            // It has died already, which is seen next.
            logger.debug("a server was not told", metadata: ["cause": "\(error.message)"])
        }
    }

    /// Takes what the server asks until it has ended and hung up.
    private mutating func answer(_ channel: FrameChannel, _ socket: Int32, _ child: pid_t) {
        let watch = berth_pidfd_open(child)
        defer { if watch >= 0 { close(watch) } }
        var isTalking = true
        while true {
            var sources = [
                pollfd(fd: isTalking ? socket : -1, events: Int16(POLLIN), revents: 0),
                pollfd(fd: watch, events: Int16(POLLIN), revents: 0),
                pollfd(fd: signals.rawValue, events: Int16(POLLIN), revents: 0),
            ]
            guard poll(&sources, 3, -1) >= 0 else { continue }
            if sources[2].revents != 0 {
                var information = [UInt8](repeating: 0, count: 128)
                _ = read(signals.rawValue, &information, information.count)
                kill(child, SIGTERM)
            }
            if sources[0].revents != 0 {
                isTalking = take(channel)
                // With nothing to watch it by, its end is waited for.
                if !isTalking && watch < 0 { return }
            } else if sources[1].revents != 0 {
                return
            }
        }
    }

    /// One request. False when the server has hung up.
    private mutating func take(_ channel: FrameChannel) -> Bool {
        do throws(SystemFailure) {
            guard var frame = try channel.receive(KeeperRequest.self, timeout: Self.messageTimeout) else {
                return false
            }
            switch frame.message {
            case .keep(let name, let note):
                guard let descriptor = frame.takeDescriptor() else { break }
                keep(name, note, Holder(descriptor))
            case .drop(let name): kept.removeAll { $0.name == name }
            case .listen(let path):
                guard let made = errands.listen(at: path) else { break }
                let socket = Holder(made)
                let name = Handover.socketPrefix + path
                keep(name, [], socket)
                try channel.send(
                    KeeperReply.kept(name: name, note: []), passing: socket.descriptor.rawValue,
                    timeout: Self.messageTimeout)
                return true
            case .names:
                guard let socket = names.start() else { break }
                try channel.send(
                    KeeperReply.kept(name: "", note: []), passing: socket.rawValue, timeout: Self.messageTimeout)
                return true
            case .makeCache, .surroundings:
                guard let note = errands.run(frame.message) else { break }
                try channel.send(KeeperReply.kept(name: "", note: note), timeout: Self.messageTimeout)
                return true
            }
            try channel.send(KeeperReply.done, timeout: Self.messageTimeout)
            return true
        } catch {
            return false
        }
    }

    private mutating func keep(_ name: String, _ note: [UInt8], _ descriptor: Holder) {
        kept.removeAll { $0.name == name }
        if kept.count < Self.keptLimit { kept.append(Kept(name: name, note: note, descriptor: descriptor)) }
    }
}
