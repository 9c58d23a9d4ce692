import Control
import Glibc
import LinuxSystem
import RuntimeHooks

// Started by `berth serve` for each mount in a container engine's namespaces; not for people.
guard let task = HookTask(arguments: Array(CommandLine.arguments.dropFirst())) else {
    ProcessEnvironment.complain("berth-hook: is started by `berth serve`, not by hand; see `berth --help`")
    exit(ExitStatus.usage.rawValue)
}
umask(0o077)
signal(SIGPIPE, SIG_IGN)
exit(NamespaceMount(task, channel: FileDescriptor(owning: HookTask.Descriptor.channel)).run().rawValue)
