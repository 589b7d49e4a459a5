//! The keyboard and the pointer as the target has them. What was pressed while it was allowed is let go whatever holds
//! later, so that a button for as long as it is held does not stay pressed at a machine; what was pressed while it was not
//! never arrives later.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::keys::{Key, Modifiers};
use super::message::{Keyboard, Point};
use super::telling::{Act, Button};

/// More than anybody has fingers.
const KEYS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Input {
    modifiers: Modifiers,
    /// As the target has them.
    keys: Vec<(Key, Option<u32>)>,
    buttons: u8,
    at: Point,
    /// As the technician's program has them.
    wanted: u8,
    wanted_at: Point,
    /// Pressed while it was refused, and not let go since.
    dead: u8,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goes {
    Unchanged,
    /// This instead of it.
    As(Bytes),
    Nowhere,
}

/// A key event as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyEvent {
    pub(super) is_down: bool,
    pub(super) key: Key,
    pub(super) from: Keyboard,
}

impl KeyEvent {
    fn held(self) -> (Key, Option<u32>) {
        match self.from {
            Keyboard::Symbols => (self.key, None),
            Keyboard::Codes(code) => (self.key, Some(code)),
        }
    }
}

impl Input {
    /// What a key event does, if it is to be told.
    pub(super) fn keyed(&mut self, event: KeyEvent) -> Option<Act> {
        self.modifiers.note(event.key, event.is_down);
        let name = || event.key.name().map_or(Act::Typed, |name| Act::Pressed(self.modifiers.with(&name)));
        event.is_down.then(name)
    }

    /// Whether it lets go what the target has pressed.
    pub(super) fn lets_go(&self, event: KeyEvent) -> bool {
        !event.is_down && self.keys.contains(&event.held())
    }

    /// The target has it.
    ///
    /// # Errors
    /// It may not: more keys are held than can be.
    pub(super) fn key(&mut self, event: KeyEvent) -> Result<(), String> {
        let held = event.held();
        match (event.is_down, self.keys.iter().position(|key| *key == held)) {
            (true, None) if self.keys.len() >= KEYS_MAX => {
                return Err(format!("more than {KEYS_MAX} keys cannot be held at once"));
            }
            (true, None) => self.keys.push(held),
            (false, Some(position)) => drop(self.keys.swap_remove(position)),
            (true, Some(_)) | (false, None) => {}
        }
        Ok(())
    }

    /// What a pointer event does, if it is to be told.
    pub(super) fn pointed(&mut self, buttons: u8, at: Point) -> Option<Act> {
        let pressed = buttons & !self.wanted;
        let let_go = self.wanted & !buttons;
        let has_moved = at != self.wanted_at;
        (self.wanted, self.wanted_at) = (buttons, at);
        self.dead &= buttons;
        if let Some(way) = [(8, "up"), (16, "down"), (32, "left"), (64, "right")]
            .into_iter()
            .find_map(|(wheel, way)| (pressed & wheel != 0).then_some(way))
        {
            return Some(Act::Scrolled(way));
        }
        let button = [(1, Button::Left), (2, Button::Middle), (4, Button::Right), (128, Button::Other)]
            .into_iter()
            .find_map(|(mask, button)| (pressed & mask != 0).then_some(button));
        match button {
            Some(button) => Some(Act::Clicked(button, at)),
            None if !has_moved => None,
            None if (buttons | let_go) & 0x87 != 0 => Some(Act::Dragged(at)),
            None => Some(Act::Moved(at)),
        }
    }

    /// It may pass.
    pub(super) fn points(&mut self, buttons: u8, at: Point) -> Goes {
        self.at = at;
        self.buttons = buttons & !self.dead;
        if self.buttons == buttons { Goes::Unchanged } else { Goes::As(pointer(self.buttons, at)) }
    }

    /// It may not. What the target has pressed and is let go of here is let go there, in the place where it was.
    pub(super) fn may_not_point(&mut self, buttons: u8) -> Goes {
        self.dead |= buttons & !self.buttons;
        let left = self.buttons & buttons;
        if left == self.buttons {
            return Goes::Nowhere;
        }
        self.buttons = left;
        Goes::As(pointer(left, self.at))
    }

    /// Everything that the target has pressed, let go.
    pub(super) fn let_go(&mut self) -> Vec<Bytes> {
        let keys = self.keys.drain(..).map(|(key, code)| released(key, code));
        let mut all: Vec<Bytes> = keys.collect();
        if self.buttons != 0 {
            self.buttons = 0;
            all.push(pointer(0, self.at));
        }
        all
    }
}

fn pointer(buttons: u8, at: Point) -> Bytes {
    let mut event = BytesMut::with_capacity(6);
    event.put_slice(&[5, buttons]);
    event.put_u16(at.x);
    event.put_u16(at.y);
    event.freeze()
}

fn released(key: Key, code: Option<u32>) -> Bytes {
    let mut event = BytesMut::with_capacity(12);
    match code {
        None => event.put_slice(&[4, 0, 0, 0]),
        Some(_) => event.put_slice(&[255, 0, 0, 0]),
    }
    event.put_u32(key.0);
    code.into_iter().for_each(|code| event.put_u32(code));
    event.freeze()
}
