//! Fetches asciinema-player, which the page of `holdpoint play --web` is shown with, as `web/package-lock.json` pins it: with
//! npm, into the build's own folder, and only when that file changed. npm keeps what it fetched, so that another build of the same
//! needs no network.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// What the program contains of the package, and the licences that go with it.
const FILES: [&str; 4] = [
    "asciinema-player/dist/bundle/asciinema-player.min.js",
    "asciinema-player/dist/bundle/asciinema-player.css",
    "asciinema-player/LICENSE",
    "solid-js/LICENSE",
];
const PINNED: [&str; 2] = ["package.json", "package-lock.json"];

fn main() {
    let web = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("web");
    let player = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("player");
    PINNED.iter().for_each(|name| println!("cargo::rerun-if-changed=web/{name}"));
    if let Err(why) = fetch(&web, &player) {
        eprintln!("\nThe page of `holdpoint play --web` needs asciinema-player, and it cannot be fetched: {why}.");
        eprintln!(
            "Node 20 with npm does it (Debian, Ubuntu: apt install nodejs npm), with its registry in reach the first time.\n"
        );
        std::process::exit(1);
    }
}

/// Leaves it as it is where what is pinned lies there already.
fn fetch(web: &Path, player: &Path) -> Result<(), String> {
    let told = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let read = |folder: &Path| fs::read(folder.join("package-lock.json"));
    let modules = player.join("node_modules");
    let is_there = || FILES.iter().all(|name| modules.join(name).is_file());
    if is_there() && read(web).ok() == read(player).ok() {
        return Ok(());
    }
    match fs::remove_dir_all(player) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(told(player, error)),
        _ => fs::create_dir_all(player).map_err(|error| told(player, error))?,
    }
    for name in PINNED {
        fs::copy(web.join(name), player.join(name)).map_err(|error| told(&web.join(name), error))?;
    }
    let npm = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
    let ended = Command::new("npm").args(npm).current_dir(player).output();
    let ended = ended.map_err(|error| format!("npm cannot be run ({error})"))?;
    match ended.status.success() && is_there() {
        true => Ok(()),
        false => Err(format!("`npm ci` failed: {}", String::from_utf8_lossy(&ended.stderr).trim())),
    }
}
