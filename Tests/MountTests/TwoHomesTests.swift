import LinuxSystem
import TestSupport
import Testing

/// Two homes of one user: a project's and the user's own, say, with one runtime directory.
@Suite("two homes with one runtime directory", .serialized)
struct TwoHomesTests {
    @Test(
        "volumes of one name are two volumes, mounted, placed and served side by side, and one plugin serves one home")
    func apart() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            mkdir -m 0700 h2 n; ln -s h linked
            one() { HOME=$PWD/h "$@"; }; two() { HOME=$PWD/h2 "$@"; }; three() { HOME=$PWD/linked "$@"; }
            one berth volume create v -o path=/v >/dev/null; two berth volume create v -o path=/v >/dev/null
            one berth mount v m >/dev/null; echo first >m/f
            two berth mount v n >/dev/null; ls n | wc -l; echo second >n/f; cat m/f n/f
            # One home by two paths is one home.
            mkdir o; three berth mount v o >/dev/null; cat o/f; three berth umount o
            two berth umount n; two berth volume rm v; cat m/f
            two berth volume create v -o path=/v >/dev/null
            one berth env >/dev/null; cat $BERTH_RUNTIME_DIR/host/v/f
            two berth env 2>&1 | grep -o 'shows a volume of the same name from another data directory'
            cat $BERTH_RUNTIME_DIR/host/v/f; one berth env --unset >/dev/null
            one berth serve --detach >/dev/null
            three berth serve --detach | grep -c 'running already'
            two berth serve --detach 2>&1 | grep -o "is used by the plugin of the volumes in $PWD/h/.local/share/berth; set BERTH_RUNTIME_DIR"
            one berth stop >/dev/null; one berth umount m; one berth volume rm v; two berth stop --all >/dev/null; two berth volume rm v
            """)
        let used = "is used by the plugin of the volumes in \(site.home)/.local/share/berth; set BERTH_RUNTIME_DIR"
        #expect(
            text
                == "0\nfirst\nsecond\nfirst\nv\nfirst\nfirst\nshows a volume of the same name from another data directory\nfirst\n1\n\(used)\nv\nv",
            "\(text)")
    }
}
