//! What an administrator installs: the unit and what it forbids the gate, the Debian package, completions, manuals.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use policies::actions::Action;
use policies::time::Seconds;
use tests::{Options, Plant, run, worked};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

fn unit() -> PathBuf {
    root().join("packaging/holdpoint.service")
}

/// The process that holds the keys, under an account of its own.
fn vaults_unit() -> PathBuf {
    root().join("packaging/holdpoint-vault.service")
}

fn has_mounts() -> bool {
    let has = run(Command::new("unshare").args(["--mount", "mount", "--bind", "/tmp", "/tmp"]), b"").status.success();
    if !has {
        println!("SKIPPED: the system lets nobody have mounts of their own (unshare --mount)");
    }
    has
}

#[test]
fn systemd_takes_the_units_and_finds_little_exposed() {
    // Tenths: 2.0 of 10, where a unit without any hardening has 9.6.
    little_is_exposed(&unit(), 20);
    little_is_exposed(&vaults_unit(), 15);
}

fn little_is_exposed(unit: &Path, most: u32) {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join(unit.file_name().unwrap());
    let text = fs::read_to_string(unit).unwrap().replace("/usr/bin/holdpoint", "/usr/bin/true");
    fs::write(&here, text).unwrap();
    let verified = run(Command::new("systemd-analyze").args(["--man=no", "verify"]).arg(&here), b"").ok();
    let about_it: Vec<_> =
        verified.err().lines().filter(|line| line.contains("holdpoint")).map(str::to_owned).collect();
    assert!(about_it.is_empty(), "{about_it:?}");
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--no-pager"]).arg(format!("--threshold={most}")).arg(&here);
    run(&mut security, b"").ok();
}

/// The checker is a shell script with what scripts use; it says no to a file that it dislikes, and to a system that it may change.
const CHECKER: &str = "#!/bin/sh\ntouch /var/holdpoint-was-here && exit 2\n\
    [ \"$(grep -c HARMFUL \"$1\")\" = 0 ] || { echo harmful; exit 1; }\nsha256sum \"$1\" | cut -c1-8\n";

#[test]
fn the_gate_and_its_file_checks_do_their_work_under_what_the_unit_forbids() {
    if !has_mounts() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let checker = folder.path().join("checker");
    fs::write(&checker, CHECKER).unwrap();
    fs::set_permissions(&checker, fs::Permissions::from_mode(0o755)).unwrap();
    let rule = format!(
        "[[rules]]\nid = \"checked\"\nvendors = [\"stackwell\"]\nroles = [\"maintenance\"]\nzones = [\"packaging\"]\n\
         actions = [\"file-put\"]\nduration_max = \"4h\"\napprovals = [{{ from = \"shift-lead\", count = 1 }}]\n\
         work_order = \"optional\"\nexclusive = \"none\"\nfile_check = [{:?}, \"{{file}}\"]",
        checker.to_str().unwrap()
    );
    let technicians = vec![("tess", "acme"), ("theo", "stackwell")];
    let mut plant = Plant::enrolled(Options { technicians, more: rule, ..Options::default() });
    plant.grant("theo", "hmi-2", &[Action::FilePut], Seconds(3_600));
    plant.log_in("theo");
    let confined = root().join("tests/peers/confined.py");
    let installation = plant.installation();
    let around = ["python3", confined.to_str().unwrap(), unit().to_str().unwrap(), installation.to_str().unwrap()]
        .map(str::to_owned);
    plant.serve_under(&around.each_ref().map(String::as_str));

    let status = fs::read_to_string(format!("/proc/{}/status", plant.gate().id())).unwrap();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        line.trim().to_owned()
    };
    assert_eq!((value("NoNewPrivs:").as_str(), value("Seccomp:").as_str()), ("1", "2"));
    assert_eq!((value("CapBnd:").as_str(), value("CapEff:").as_str()), ("0000000000000400", "0000000000000400"));

    let put = |name: &str, content: &str| {
        let theo = plant.person("theo");
        theo.write(name, content.as_bytes());
        let mut scp = theo.tool("scp");
        scp.arg("-F").arg(theo.path("ssh_config")).arg("-O").arg(theo.path(name));
        run(scp.arg(format!("{}:{}", theo.at("hmi-2"), plant.hmi.path(name).display())), b"")
    };
    put("fine", "a recipe").ok();
    put("bad", "HARMFUL").says_no("harmful");
    assert_eq!(fs::read(plant.hmi.path("fine")).unwrap(), b"a recipe");
    assert!(!plant.hmi.path("bad").exists());
    assert_eq!(plant.stop().code(), 0);
}

/// Makes the package of the program that is tested. What serves to debug it is left out, and nothing is compressed: both take long.
fn package() -> (tempfile::TempDir, PathBuf) {
    static STRIPPED: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut strip = Command::new("objcopy");
        strip.arg("--strip-debug").arg(tests::plant::program()).arg(folder.path().join("holdpoint"));
        run(&mut strip, b"").ok();
        folder
    });
    let folder = tempfile::tempdir().unwrap();
    let mut deb = Command::new(root().join("packaging/deb"));
    deb.arg(STRIPPED.path().join("holdpoint")).arg(folder.path()).arg("-Znone");
    run(deb.env("SOURCE_DATE_EPOCH", "1764460800"), b"").ok();
    let path = fs::read_dir(folder.path()).unwrap().next().expect("a package").unwrap().path();
    (folder, path)
}

#[test]
fn the_package_has_what_an_administrator_looks_for() {
    let package = package();
    let listed = run(Command::new("dpkg-deb").arg("--contents").arg(&package.1), b"").ok().out();
    for path in [
        "./usr/bin/holdpoint",
        "./usr/lib/systemd/system/holdpoint.service",
        "./usr/lib/systemd/system/holdpoint-vault.service",
        "./usr/share/man/man1/holdpoint.1.gz",
        "./usr/share/man/man1/holdpoint-serve.1.gz",
        "./usr/share/bash-completion/completions/holdpoint",
        "./usr/share/doc/holdpoint/administrator.md",
        "./usr/share/doc/holdpoint/copyright",
    ] {
        assert!(listed.lines().any(|line| line.ends_with(path)), "no {path} in\n{listed}");
    }
    assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
    assert!(!listed.contains("./etc/"), "a machine that has a client alone needs nothing there: {listed}");
}

#[test]
fn the_same_program_gives_the_same_package() {
    let (one, other) = (package(), package());
    assert!(fs::read(one.1).unwrap() == fs::read(other.1).unwrap(), "they differ");
}

/// In a system that is this one, but for what is changed in it, which goes with it. Of what is mounted here it has nothing, so
/// that nothing of it is changed; nor what runs here, which a script of the package could reach by a socket.
fn in_a_copy_of_this_system(script: &str, package: &Path) -> Option<String> {
    const NO_COPY: i32 = 77;
    let script = script.replace('\'', r"'\''");
    let folder = tempfile::tempdir().unwrap();
    fs::copy(package, folder.path().join("holdpoint.deb")).unwrap();
    let outer = format!(
        "set -e\nmount -t tmpfs none \"$0\"/over\ncd \"$0\"/over\nmkdir up work root\n\
         mount -t overlay overlay -o lowerdir=/,upperdir=\"$PWD\"/up,workdir=\"$PWD\"/work root || exit {NO_COPY}\n\
         [ -x root/usr/bin/dpkg ] && [ -e root/var/lib/dpkg/status ] && [ -e root/etc/passwd ] || exit {NO_COPY}\n\
         mount --rbind /dev root/dev\nmount --rbind /proc root/proc\nmount -t tmpfs none root/run\n\
         cp ../holdpoint.deb root/holdpoint.deb\nexport DEBIAN_FRONTEND=noninteractive\n\
         exec chroot root sh -ec '{script}'"
    );
    fs::create_dir(folder.path().join("over")).unwrap();
    let said = run(Command::new("unshare").args(["--mount", "sh", "-c", &outer]).arg(folder.path()), b"");
    if said.status.code() == Some(NO_COPY) {
        println!("SKIPPED: the system cannot be laid under a copy of itself (mount -t overlay)");
        return None;
    }
    Some(said.ok().text())
}

/// The first block of commands under this heading of `docs/administrator.md`.
fn typed_under(heading: &str) -> String {
    let text = fs::read_to_string(root().join("docs/administrator.md")).unwrap();
    let section = text.split_once(&format!("### {heading}\n")).unwrap().1;
    section.split("```").nth(1).unwrap().to_owned()
}

#[test]
fn an_installation_is_moved_under_another_account_as_the_administrator_types_it() {
    if !has_mounts() {
        return;
    }
    let typed = typed_under("Keys under another account");
    let cut = "su -s /bin/sh holdpoint -c \"holdpoint cut --plant --local --data /var/lib/holdpoint/gate/data\"";
    let script = format!(
        "dpkg --force-depends -i /holdpoint.deb
        su -s /bin/sh holdpoint -c \"holdpoint init --dir /var/lib/holdpoint/gate --name mill-3 >/dev/null\"
        systemctl() {{ echo \"systemctl $*\"; }}
        {typed}
        install -d -m 750 -o holdpoint-vault -g holdpoint /run/holdpoint-vault
        setpriv --reuid holdpoint-vault --regid holdpoint --clear-groups \\
            holdpoint vault --config /var/lib/holdpoint/gate/holdpoint.toml &
        until test -S /run/holdpoint-vault/socket; do sleep 0.1; done
        {cut}
        if su -s /bin/sh holdpoint -c \"cat /var/lib/holdpoint/gate/keys/ssh-ca.sealed\"; then exit 1; fi
        grep -c StateDirectory=$ /etc/systemd/system/holdpoint.service.d/vault.conf
        # Without it systemd does this.
        chown holdpoint: /var/lib/holdpoint
        if {cut}; then exit 1; fi
        kill $!"
    );
    let package = package();
    let Some(said) = in_a_copy_of_this_system(&script, &package.1) else { return };
    assert!(said.contains("systemctl enable holdpoint-vault\n"), "{said}");
    assert!(said.contains("written, signed and synced"), "{said}");
    assert!(said.contains("/var/lib/holdpoint can be changed by another account"), "{said}");
}

#[test]
fn removing_and_purging_the_package_takes_no_recording_with_it() {
    if !has_mounts() {
        return;
    }
    let script = "
        dpkg --force-depends -i /holdpoint.deb
        id holdpoint
        id -gn holdpoint-vault
        stat -c \"%U %a\" /var/lib/holdpoint
        su -s /bin/sh holdpoint -c \"holdpoint init --dir /var/lib/holdpoint/gate --name mill-3 >/dev/null\"
        holdpoint check --config /var/lib/holdpoint/gate/holdpoint.toml --plant /var/lib/holdpoint/gate/plant.toml
        echo bytes > /var/lib/holdpoint/gate/data/a-recording
        dpkg --force-depends -i /holdpoint.deb
        dpkg --remove holdpoint
        if test -e /usr/bin/holdpoint; then exit 1; fi
        dpkg --purge holdpoint
        if dpkg -s holdpoint; then exit 1; fi
        cat /var/lib/holdpoint/gate/data/a-recording
        stat -c \"%U %n\" /var/lib/holdpoint/gate/data/journal";
    let package = package();
    let Some(said) = in_a_copy_of_this_system(script, &package.1) else { return };
    assert!(said.contains("\nholdpoint 750\n"), "{said}");
    assert!(said.contains("/var/lib/holdpoint stays, with all recordings"), "{said}");
    assert!(said.contains("\nbytes\nholdpoint /var/lib/holdpoint/gate/data/journal\n"), "{said}");
}

#[test]
fn bash_completes_commands_and_their_options() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("holdpoint");
    let said = run(Command::new(tests::plant::program()).args(["completions", "bash"]), b"").ok();
    fs::write(&script, said.out).unwrap();
    let complete = |words: &[&str]| {
        let last = words.len() - 1;
        let line = format!(
            ". '{}'; COMP_WORDS=({}); COMP_CWORD={last}; _holdpoint holdpoint '{}' '{}'; echo \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words[last],
            words[last - 1],
        );
        run(Command::new("bash").args(["--norc", "-c", &line]), b"").ok().out().trim().to_owned()
    };
    assert_eq!(complete(&["holdpoint", "chec"]), "check checkpoint");
    assert_eq!(complete(&["holdpoint", "cut", "--pl"]), "--plant");
}

#[test]
fn every_command_has_a_manual_that_a_pager_can_show() {
    let folder = tempfile::tempdir().unwrap();
    run(Command::new(tests::plant::program()).arg("man").arg(folder.path()), b"").ok();
    let pages: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(pages.len() > 50, "{pages:?}");
    let warned =
        run(Command::new("groff").args(["-Kutf8", "-man", "-Tutf8", "-ww", "-z"]).args(&pages), b"").ok().err();
    assert_eq!(warned, "");
    let shown =
        run(Command::new("groff").args(["-Kutf8", "-man", "-Tascii"]).arg(folder.path().join("holdpoint-cut.1")), b"");
    assert!(shown.ok().out().contains("--local"));
}

#[test]
fn a_session_works_as_ever_where_systemd_is_told() {
    // One word is enough to know: what it says in the life of a gate is tried in `operating`.
    let mut plant = Plant::ready(Options::default());
    plant.serve_under(&["env", "NOTIFY_SOCKET=/nowhere/at/all"]);
    plant.gate().until("systemd is not told");
    tests::log_in(&plant, "lee");
    worked(&plant, "echo still");
}
