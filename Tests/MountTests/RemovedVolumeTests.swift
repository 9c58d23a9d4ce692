import LinuxSystem
import TestSupport
import Testing

/// What the plugin is asked to remove, by requests as an engine sends them.
@Suite("volumes that an engine removed", .serialized)
struct RemovedVolumeTests {
    private let site: UserSite

    init() throws {
        site = try UserSite()
        try site.shell.run(
            "mkdir -p -m 700 $HOME/.config/berth; berth serve --detach >/dev/null")
    }

    private let ask = """
        ask() { curl -sS --max-time 60 --unix-socket $BERTH_RUNTIME_DIR/plugin.sock http://plugin/VolumeDriver.$1 -d "{\\"Name\\":\\"$2\\"}"; echo; }

        """

    @Test(
        "a volume comes back with its files and snapshots, by command and to the plugin; another has its name meanwhile"
    )
    func restored() throws {
        let text = try site.shell.run(
            ask + """
                set -e
                berth volume create v -o size=100M >/dev/null 2>&1; berth mount v m >/dev/null; echo first > m/f; berth snapshot create v@s >/dev/null
                ask Remove v | grep -c 'is mounted at'
                echo second > m/f; berth umount m
                ask Remove v; berth volume ls --removed | grep -c '^v '; ls m | wc -l
                berth volume create v >/dev/null 2>&1; berth mount v m >/dev/null; echo new > m/f; berth umount m
                berth volume restore v 2>said || grep -o 'berth volume restore v --id [0-9a-f-]* --as' said >cure
                $(cat cure) w 2>/dev/null; berth mount w m >/dev/null; cat m/f m/.snapshots/s/f; df -m m | tail -1 | tr -s ' ' | cut -d' ' -f2; berth umount m
                ask Get w | grep -c Mountpoint; berth mount v m >/dev/null; cat m/f; berth umount m
                berth volume check w --data | grep -o 'w: whole'
                ask Remove w; ask Remove v; berth volume rm --removed w v | xargs; berth volume ls --removed --json | xargs
                """)
        #expect(
            text
                == "1\n{}\n1\n0\nw\nsecond\nfirst\n100\n1\nnew\nw: whole\n{}\n{}\nw v\n[ ]")
    }

    @Test(
        "what a bucket holds stays, whatever is set and whatever the time, and comes back; a clone's packs are kept for it"
    )
    func bucket() throws {
        let server = try S3Server.shared()
        let place = site.directory.split(separator: "/").last ?? "x"
        let text = try site.shell.run(
            ask + """
                set -e
                (umask 077; printf '[default]\\naws_access_key_id = \(S3Server.accessKey)\\naws_secret_access_key = \(S3Server.secretKey)\\n' > $HOME/.config/berth/credentials)
                o="-o store=s3://\(S3Server.bucket)/\(place) -o endpoint=\(server.endpoint)"
                berth volume create v $o >/dev/null 2>&1; berth mount v m >/dev/null; head -c 3000000 /dev/urandom > m/f; md5sum m/f >sum
                berth sync v --wait >/dev/null 2>&1; berth umount m
                echo 'volume-trash = 1s' >> $HOME/.config/berth/berth.conf
                ask Remove v
                berth volume create v $o 2>&1 | grep -c 'berth volume restore NAME' || true
                for i in $(seq 30); do [ "$(berth volume ls --removed --json | xargs)" = "[ ]" ] && break; sleep 0.1; done
                # Where the store had a copy of the metadata it is recovered, else what is here came back.
                berth volume restore v >/dev/null 2>&1 || berth volume recover s3://\(S3Server.bucket)/\(place)/v -o endpoint=\(server.endpoint) >/dev/null 2>&1
                berth mount v m >/dev/null; md5sum -c --quiet sum && echo same; berth umount m
                echo 'volume-trash = 1d' > $HOME/.config/berth/berth.conf
                berth clone v c >/dev/null 2>&1; ask Remove c; ask Remove v | grep -o 'berth volume rm --removed c'
                berth gc v >/dev/null; berth volume restore c >/dev/null 2>&1; berth mount c m >/dev/null; md5sum -c --quiet sum && echo same; berth umount m
                berth stop --all >/dev/null; berth volume rm c v 2>/dev/null | xargs; berth volume create v $o 2>/dev/null; berth volume rm v
                """)
        #expect(
            text == "{}\n1\nsame\n{}\nberth volume rm --removed c\nsame\nc v\nv\nv")
    }
}
