import Control
import Glibc
import LinuxSystem
import RuntimeHooks

// Started by `berth serve` for each mount in a container engine's namespaces, and by `berth run`; not for people.
let words = Array(CommandLine.arguments.dropFirst())
// First: the program that it becomes must inherit signals and umask as they are.
if let task = RunTask(arguments: words) { exit(BareRun(task).run()) }
guard let task = HookTask(arguments: words) else {
    ProcessEnvironment.complain("berth-hook: is started by `berth`, not by hand; see `berth --help`")
    exit(ExitStatus.usage.rawValue)
}
umask(0o077)
signal(SIGPIPE, SIG_IGN)
exit(NamespaceMount(task, channel: FileDescriptor(owning: HookTask.Descriptor.channel)).run().rawValue)
