//! What pages are shown with that others wrote, as `build.rs` fetched it, each with its licence: terminals and screens in a browser here, the
//! replay of `holdpoint play --web` in the crate above.

macro_rules! fetched {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/web/node_modules/", $name))
    };
}

/// asciinema-player, which draws a replay: its script.
pub const PLAYER_SCRIPT: &[u8] = fetched!("asciinema-player/dist/bundle/asciinema-player.min.js");
/// Its stylesheet.
pub const PLAYER_STYLE: &[u8] = fetched!("asciinema-player/dist/bundle/asciinema-player.css");
/// Its licence.
pub const PLAYER_LICENCE: &[u8] = fetched!("asciinema-player/LICENSE");
/// The licence of Solid, which is in it.
pub const SOLID_LICENCE: &[u8] = fetched!("solid-js/LICENSE");
/// xterm.js, which draws a terminal: its script.
pub(crate) const XTERM_SCRIPT: &[u8] = fetched!("@xterm/xterm/lib/xterm.js");
/// Its stylesheet.
pub(crate) const XTERM_STYLE: &[u8] = fetched!("@xterm/xterm/css/xterm.css");
/// Its licence.
pub(crate) const XTERM_LICENCE: &[u8] = fetched!("@xterm/xterm/LICENSE");
/// What makes a terminal as large as its place.
pub(crate) const FIT_SCRIPT: &[u8] = fetched!("@xterm/addon-fit/lib/addon-fit.js");
/// Its licence.
pub(crate) const FIT_LICENCE: &[u8] = fetched!("@xterm/addon-fit/LICENSE");
/// noVNC, which draws a screen: its modules and their licences, each by its name.
pub(crate) const NOVNC: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/novnc.rs"));
