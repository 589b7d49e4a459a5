//! Keys by their X symbols (X11 protocol, appendix A). Characters are never told, because what is typed may be a password;
//! keys that write nothing have names.

/// A key's symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(pub(super) u32);

impl Key {
    /// What it is called, unless it writes something or nobody knows what it does.
    pub(super) fn name(self) -> Option<String> {
        let name = match self.0 {
            0xff08 => "Backspace",
            0xff09 => "Tab",
            0xff0d | 0xff8d => "Enter",
            0xff13 => "Pause",
            0xff14 => "Scroll Lock",
            0xff1b => "Escape",
            0xff50 | 0xff95 => "Home",
            0xff51 | 0xff96 => "Left",
            0xff52 | 0xff97 => "Up",
            0xff53 | 0xff98 => "Right",
            0xff54 | 0xff99 => "Down",
            0xff55 | 0xff9a => "Page Up",
            0xff56 | 0xff9b => "Page Down",
            0xff57 | 0xff9c => "End",
            0xff61 => "Print",
            0xff63 | 0xff9e => "Insert",
            0xff67 => "Menu",
            0xff7f => "Num Lock",
            0xffe5 => "Caps Lock",
            0xffff | 0xff9f => "Delete",
            function @ 0xffbe..=0xffd5 => return Some(format!("F{}", function - 0xffbd)),
            _ => return None,
        };
        Some(name.to_owned())
    }
}

/// Keys that change what others mean, as far as they are held.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Modifiers {
    held: [bool; 4],
}

impl Modifiers {
    const NAMES: [&str; 4] = ["Ctrl", "Alt", "Shift", "Super"];

    pub(super) fn note(&mut self, key: Key, is_down: bool) {
        let which = match key.0 {
            0xffe3 | 0xffe4 => 0,
            0xffe7..=0xffea => 1,
            0xffe1 | 0xffe2 => 2,
            0xffeb | 0xffec => 3,
            _ => return,
        };
        self.held[which] = is_down;
    }

    /// `Ctrl+Alt+Delete`.
    pub(super) fn with(self, name: &str) -> String {
        let held = Self::NAMES.iter().zip(self.held).filter(|(_, held)| *held).map(|(name, _)| *name);
        held.chain([name]).collect::<Vec<_>>().join("+")
    }
}
