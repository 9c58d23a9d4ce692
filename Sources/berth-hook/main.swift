import Control
import Glibc
import LinuxSystem
import RuntimeHooks

let words = Array(CommandLine.arguments.dropFirst())
// First: the program that it becomes must inherit signals and umask as they are.
if let task = RunTask(arguments: words) { exit(BareRun(task).run()) }
// It holds descriptors of namespaces in which others have rights, too, and starts no program.
ProcessPrivileges.closeMemory()
ProcessPrivileges.forgoNewPrivileges()
umask(0o077)
signal(SIGPIPE, SIG_IGN)
if let stage = words.first.flatMap(HookStage.init) {
    // Started by a container engine, once a stage; what follows the stage in its words is for people.
    exit(stage.run(environment: ProcessEnvironment.current()).rawValue)
}
// Started by `berth serve` for each mount in a container engine's namespaces; not for people.
guard let task = HookTask(arguments: words) else {
    ProcessEnvironment.complain("berth-hook: is started by podman or by `berth serve`, not by hand; see `berth --help`")
    exit(ExitStatus.usage.rawValue)
}
exit(NamespaceMount(task, channel: FileDescriptor(owning: HookTask.Descriptor.channel)).run().rawValue)
