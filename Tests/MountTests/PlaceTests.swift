import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

/// Two ordinary users of one machine: where the first has caches, stores and settings, the second has been before.
@Suite("places that another user can change", .serialized)
struct PlaceTests {
    private let site: UserSite
    private let other: SecondUser

    init() throws {
        site = try UserSite()
        other = try SecondUser()
    }

    @Test("a cache below a directory of another user is refused with its name, and nothing is made there")
    func cache() throws {
        try other.shell.run("mkdir -m 0777 open; mkdir -m 0755 closed; mkdir -m 1777 sticky")
        for (place, words) in [
            ("open", "\(other.directory)/open"), ("open/deep/er", "\(other.directory)"), ("sticky", other.directory),
        ] {
            let outcome = try site.shell.attempt(
                "berth volume create v -o cache-dir=\(other.directory)/\(place) >/dev/null && berth mount v m")
            #expect(outcome.end == .exited(77), "\(place): \(outcome.errors)")
            let owner = "belongs to user \(SecondUser.name) (uid \(other.userID))"
            #expect(outcome.errors.contains(owner) && outcome.errors.contains(words), "\(outcome.errors)")
            _ = try site.shell.attempt("berth volume rm v")
        }
        #expect(try Shell.root.run("find '\(other.directory)/open' '\(other.directory)/sticky' -mindepth 1") == "")
    }

    @Test("a copy that another user planted or linked is dropped, and what is read is what was written")
    func copies() throws {
        try site.shell.run(
            """
            set -e; mkdir -m 0755 c s; berth volume create v -o store=file://$PWD/s -o cache-dir=$PWD/c >/dev/null
            berth mount v m >/dev/null; echo secret > m/f; berth sync v --wait >/dev/null; berth umount m
            berth stop --all --force >/dev/null
            """)
        let copy = try site.shell.run("ls $PWD/c/v/* | head -n 1")
        // As if the user's umask, a restore or an older version had left it so.
        try Shell.root.run("chmod 0755 '\(site.directory)/c/v'; chmod 0666 '\(copy)'")
        try other.shell.run("cat '\(copy)' >/dev/null; printf XXXXXX | dd of='\(copy)' conv=notrunc status=none")
        #expect(try site.shell.run("berth mount v m >/dev/null; cat m/f; berth umount m") == "secret")
        #expect(try site.shell.run("grep -c 'is open to others (mode 666)' $HOME/.local/share/berth/logs/v.log") == "1")
        #expect(try site.shell.run("stat -c '%a %h' '\(copy)' '\(site.directory)/c/v'") == "600 1\n700 2")
    }

    @Test(
        "a store that others could replace is refused, unless the user says store-shared, and removal follows no link")
    func store() throws {
        try other.shell.run("mkdir -m 0777 open; mkdir -m 0777 open/sub")
        let store = "-o store=file://\(other.directory)/open/sub"
        let outcome = try site.shell.attempt("berth volume create v \(store)")
        #expect(outcome.end == .exited(77))
        #expect(outcome.errors.contains("others could replace what is in it: \(other.directory)"), "\(outcome.errors)")
        #expect(outcome.errors.contains("berth volume set v store-shared=true"))
        #expect(try site.shell.attempt("ls $HOME/.local/share/berth/volumes/v").succeeded == false)
        try site.shell.run(
            "berth volume create v \(store) -o store-shared=true; berth mount v m; echo x > m/f; berth sync v --wait")
        try site.shell.run("berth umount m; berth stop --all --force; berth volume set v store-shared=")
        #expect(try site.shell.attempt("berth mount v m").errors.contains("store-shared=true"))
        let again = "berth volume set v store-shared=true; berth mount v m"
        #expect(
            try site.shell.run("\(again) >/dev/null; cat m/f; berth umount m; berth stop --all --force").contains("x"))
        // The other leads the name of the store's directory to one of the user's own.
        try site.shell.run("mkdir -p own/v; echo precious > own/v/f")
        try other.shell.run("mv open/sub open/moved; ln -s '\(site.directory)/own' open/sub")
        let removal = try site.shell.attempt("berth volume rm v")
        #expect(removal.errors.contains("is a symbolic link made by user \(SecondUser.name)"), "\(removal.errors)")
        #expect(try site.shell.run("cat own/v/f") == "precious")
        #expect(try site.shell.attempt("berth mount v m").errors.contains("is a symbolic link made by"))
        try site.shell.run("berth volume rm --keep-data v")
    }

    @Test("a home that another user made is not believed, whatever record lies in it")
    func home() throws {
        try other.shell.run(
            """
            berth volume create v >/dev/null; mkdir -p home; cp -r .local home/; chmod -R a+rX home .local
            """)
        for home in ["\(other.directory)/home", other.directory] {
            let outcome = try site.shell.attempt("berthfs v \(site.mountpoint) --home \(home)")
            #expect(!outcome.succeeded)
            #expect(outcome.errors.contains("belongs to user \(SecondUser.name)"), "\(outcome.errors)")
            let run = try site.shell.attempt("HOME=\(home) berth run --volume v:/data -- true")
            #expect(!run.succeeded && run.errors.contains("belongs to user \(SecondUser.name)"), "\(run.errors)")
        }
    }

    @Test("a home behind links of root, with a group of one's own that may write, and a sticky place are accepted")
    func accepted() throws {
        let user = try TestUser.shared().name
        try Shell.root.run(
            """
            cd '\(site.directory)'; mkdir real; ln -s '\(site.directory)/real' linked; mkdir real/h
            chown \(user): real/h; chmod 0775 real/h; mkdir -m 1777 sticky
            """)
        #expect(
            try site.shell.run(
                """
                set -e; export HOME=$PWD/linked/h; umask 002; mkdir -p $HOME/.local/share; ln -s $PWD/sticky $HOME/.cache
                berth volume create v >/dev/null; berth mount v m >/dev/null; echo x > m/f; cat m/f; berth umount m
                berth stop --all --force >/dev/null; stat -c %a $HOME/.local $HOME/.cache/berth
                """) == "x\n775\n700")
    }

    @Test("an endpoint without encryption on another machine is refused wherever it comes from, unless insecure=true")
    func endpoints() throws {
        for host in ["http://s3.example:9000", "http://0.0.0.0:9", "http://127.0.0.1.example", "http://[::2]:9"] {
            let outcome = try site.shell.attempt("berth volume create v -o store=s3://berth/x -o endpoint=\(host)")
            #expect(outcome.end == .exited(64) && outcome.errors.contains("add insecure=true"), "\(outcome.errors)")
            let `import` = try site.shell.attempt(
                "berth volume create w; berth import w s3://berth/x --endpoint \(host); s=$?; berth volume rm w; exit $s"
            )
            #expect(`import`.end == .exited(64) && `import`.errors.contains("add --insecure"), "\(`import`.errors)")
        }
        let keys = "AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b"
        for variable in ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"] {
            let outcome = try site.shell.attempt(
                "\(keys) \(variable)=http://0.0.0.0:9 berth volume create v -o store=s3://berth/x")
            #expect(outcome.errors.contains("berth volume set v insecure=true"), "\(outcome.errors)")
        }
        try site.shell.run(
            """
            mkdir -p -m 700 $HOME/.config/berth; umask 077
            printf '[default]\\nendpoint_url = http://0.0.0.0:9\\n' > $HOME/.config/berth/credentials
            """)
        let file = try site.shell.attempt("\(keys) berth volume create v -o store=s3://berth/x")
        #expect(file.errors.contains("without encryption"), "\(file.errors)")
        // A proxy elsewhere would carry what is for this machine alone.
        try site.shell.run("rm $HOME/.config/berth/credentials")
        let local = "berth volume create v -o store=s3://berth/x -o endpoint=http://127.0.0.1:9"
        let proxied = try site.shell.attempt("\(keys) http_proxy=http://me:pw@0.0.0.0:3128/ \(local)")
        #expect(proxied.errors.contains("add 127.0.0.1 to $no_proxy"), "\(proxied.errors)")
        let spared = try site.shell.attempt("\(keys) http_proxy=http://0.0.0.0:3128/ no_proxy=x,127.0.0.1 \(local)")
        #expect(spared.errors.contains("port 9"), "nobody is there, and was asked: \(spared.errors)")
        let open = "berth volume create v -o store=s3://berth/x -o endpoint=http://0.0.0.0:9 -o insecure=true"
        let allowed = try site.shell.attempt("\(keys) \(open)")
        #expect(allowed.errors.contains("port 9"), "\(allowed.errors)")
    }
}
