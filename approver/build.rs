//! Fetches what pages are shown with that others wrote, as `web/package-lock.json` pins it: with npm, into the build's own folder,
//! and only when that file changed. npm keeps what it fetched, so that another build of the same needs no network.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// What the program contains of the packages, and the licences that go with it: see `src/bundled.rs`.
const FILES: [&str; 10] = [
    "@novnc/novnc/core/rfb.js",
    "@xterm/xterm/lib/xterm.js",
    "@xterm/xterm/css/xterm.css",
    "@xterm/xterm/LICENSE",
    "@xterm/addon-fit/lib/addon-fit.js",
    "@xterm/addon-fit/LICENSE",
    "asciinema-player/dist/bundle/asciinema-player.min.js",
    "asciinema-player/dist/bundle/asciinema-player.css",
    "asciinema-player/LICENSE",
    "solid-js/LICENSE",
];
/// noVNC is modules that name each other by their places, so all of them keep theirs; and the licences of what is in them.
const NOVNC: &str = "node_modules/@novnc/novnc";
const NOVNC_FOLDERS: [&str; 2] = ["core", "vendor/pako/lib"];
const NOVNC_LICENCES: [&str; 4] = ["AUTHORS", "LICENSE.txt", "docs/LICENSE.MPL-2.0", "vendor/pako/LICENSE"];
const PINNED: [&str; 2] = ["package.json", "package-lock.json"];

fn main() {
    let web = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("web");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let fetched = out.join("web");
    PINNED.iter().for_each(|name| println!("cargo::rerun-if-changed=web/{name}"));
    if let Err(why) = fetch(&web, &fetched).and_then(|()| list_novnc(&fetched.join(NOVNC), &out.join("novnc.rs"))) {
        eprintln!("\nPages are shown with xterm.js, noVNC and asciinema-player, and these cannot be fetched: {why}.");
        eprintln!(
            "Node 20 with npm does it (Debian, Ubuntu: apt install nodejs npm), with its registry in reach the first time.\n"
        );
        std::process::exit(1);
    }
}

/// Leaves it as it is where what is pinned lies there already. What is fetched takes its place at once and whole, so that a fetch
/// which was stopped halfway leaves nothing that a build could take for it.
fn fetch(web: &Path, fetched: &Path) -> Result<(), String> {
    let told = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let read = |folder: &Path| fs::read(folder.join("package-lock.json"));
    let is_in = |folder: &Path| FILES.iter().all(|name| folder.join("node_modules").join(name).is_file());
    if is_in(fetched) && read(web).ok() == read(fetched).ok() {
        return Ok(());
    }
    let away = |folder: &Path| match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(told(folder, error)),
        _ => Ok(()),
    };
    let beside = fetched.with_extension("new");
    away(&beside)?;
    fs::create_dir_all(&beside).map_err(|error| told(&beside, error))?;
    for name in PINNED {
        fs::copy(web.join(name), beside.join(name)).map_err(|error| told(&web.join(name), error))?;
    }
    let npm = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
    let ended = Command::new("npm").args(npm).current_dir(&beside).output();
    let ended = ended.map_err(|error| format!("npm cannot be run ({error})"))?;
    if !ended.status.success() || !is_in(&beside) {
        return Err(format!("`npm ci` failed: {}", String::from_utf8_lossy(&ended.stderr).trim()));
    }
    away(fetched)?;
    fs::rename(&beside, fetched).map_err(|error| told(fetched, error))
}

/// Writes the list of noVNC's files, each with its name and its bytes, as an expression.
fn list_novnc(novnc: &Path, list: &Path) -> Result<(), String> {
    let mut files: Vec<String> = NOVNC_LICENCES.map(str::to_owned).into();
    for folder in NOVNC_FOLDERS {
        scripts(novnc, folder, &mut files).map_err(|error| format!("{}: {error}", novnc.join(folder).display()))?;
    }
    files.sort();
    let file = |name: &String| format!("({name:?}, include_bytes!({:?})),\n", novnc.join(name));
    let list_of = format!("&[\n{}]\n", files.iter().map(file).collect::<String>());
    fs::write(list, list_of).map_err(|error| format!("{}: {error}", list.display()))
}

fn scripts(novnc: &Path, folder: &str, found: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(novnc.join(folder))? {
        let entry = entry?;
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            scripts(novnc, &name, found)?;
        } else if name.ends_with(".js") {
            found.push(name);
        }
    }
    Ok(())
}
