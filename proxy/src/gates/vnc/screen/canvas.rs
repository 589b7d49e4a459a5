//! The picture as it stands: drawn on by one, looked at by many, each of whom is given what changed since they last looked.
//! Which parts changed is known by tiles; what is drawn over with itself has not changed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Head;
use super::reader::{Stop, lost};

/// Nothing shows more; four bytes of each stand in memory once something is drawn.
const PIXELS_MAX: usize = 1 << 24;
/// What is drawn within so many pixels is one change.
const TILE: usize = 64;
/// A piece of what changed is no larger, so that a telephone on a bad line has each within some seconds, and hears that the gate
/// is there.
const PIECE_PIXELS_MAX: usize = 64 << 10;

/// A look gives hardly more pieces than this, because somebody makes pictures and lines of them and waits for none.
const PIECES_MAX: usize = 16;
/// All canvases of the program together.
const PIXELS_IN_ALL: usize = 3 << 24;

/// How many pixels may still be held.
static LEFT: AtomicUsize = AtomicUsize::new(PIXELS_IN_ALL);

/// The right to hold so many pixels; given back when dropped.
#[derive(Debug)]
struct Room(usize);

impl Room {
    fn take(pixels: usize) -> Result<Self, String> {
        let taken = LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(pixels));
        taken.map(|_| Self(pixels)).map_err(|_| "the gate shows as many screens as it has memory for".to_owned())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        LEFT.fetch_add(self.0, Ordering::Relaxed);
    }
}

/// One connection's picture.
#[derive(Debug)]
pub struct Canvas {
    surface: Mutex<Surface>,
    changed: Arc<watch::Sender<()>>,
}

#[derive(Debug, Default)]
struct Surface {
    width: usize,
    height: usize,
    /// None until something is drawn.
    pixels: Vec<u32>,
    room: Option<Room>,
    /// When each tile changed last.
    tiles: Vec<u64>,
    /// Counts what was drawn.
    stamp: u64,
    /// Counts sizes.
    sizes: u64,
    lost: Option<String>,
}

/// What somebody has seen of a canvas. By default, nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Glance {
    /// How often it had another size until then.
    pub sizes: u64,
    /// How often it was drawn on.
    pub stamp: u64,
    /// Of a picture that is given in several looks: how often it was drawn on when the first of them began.
    pub begun: u64,
    /// The row of tiles at which the next of them goes on; 0 where all was given.
    pub row: usize,
}

/// What of a canvas was new to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// From which the next look goes on.
    pub glance: Glance,
    /// Of the whole picture; both are 0 until the target has said how large it is.
    pub width: u16,
    /// Likewise.
    pub height: u16,
    /// Why it is followed no further.
    pub lost: Option<String>,
    /// What changed.
    pub pieces: Vec<Piece>,
    /// Whether more changed than that: the next look may be at once.
    pub is_more: bool,
}

/// A part of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub x: u16,
    /// Likewise.
    pub y: u16,
    /// How large it is.
    pub width: u16,
    /// Likewise.
    pub height: u16,
    /// Red, green and blue of each of its pixels.
    pub rgb: Vec<u8>,
}

/// A part of the canvas: it is within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Area {
    /// What drawing it costs, in pixels: a row costs something, however short it is.
    pub(super) fn work(self) -> u64 {
        const ROW_MIN: usize = 16;
        self.width.max(ROW_MIN) as u64 * self.height.max(1) as u64
    }

    /// A part of it, counted from its own corner.
    pub(super) fn part(self, x: usize, y: usize, width: usize, height: usize) -> Result<Self, Stop> {
        if x + width > self.width || y + height > self.height {
            return lost("the target drew a part that is larger than its whole");
        }
        Ok(Self { x: self.x + x, y: self.y + y, width, height })
    }

    pub(super) const fn row(self, row: usize) -> Self {
        Self { y: self.y + row, height: 1, ..self }
    }

    /// Its tiles of this length, row by row.
    pub(super) fn tiles(self, side: usize) -> impl Iterator<Item = Self> {
        let (right, bottom) = (self.x + self.width, self.y + self.height);
        (self.y..bottom).step_by(side).flat_map(move |y| {
            (self.x..right).step_by(side).map(move |x| Self {
                x,
                y,
                width: side.min(right - x),
                height: side.min(bottom - y),
            })
        })
    }
}

impl Canvas {
    /// Without a size yet. Whenever something was drawn, `changed` is told.
    pub fn new(changed: Arc<watch::Sender<()>>) -> Self {
        Self { surface: Mutex::default(), changed }
    }

    /// What is new to whoever has seen so much. What is large is made into a picture by the caller, in its own time.
    pub fn look(&self, since: Glance) -> Cut {
        let surface = self.surface();
        let since = if since.sizes == surface.sizes { since } else { Glance::default() };
        let (areas, row) = surface.areas(since.stamp, since.row);
        let begun = if since.row == 0 { surface.stamp } else { since.begun };
        let pieces = areas.into_iter().map(|area| Piece {
            x: side(area.x),
            y: side(area.y),
            width: side(area.width),
            height: side(area.height),
            rgb: surface.rgb(area),
        });
        Cut {
            pieces: pieces.collect(),
            is_more: row != 0,
            glance: match row {
                0 => Glance { sizes: surface.sizes, stamp: begun, begun: 0, row: 0 },
                row => Glance { sizes: surface.sizes, stamp: since.stamp, begun, row },
            },
            width: side(surface.width),
            height: side(surface.height),
            lost: surface.lost.clone(),
        }
    }

    /// How wide and high the picture is, and why it is followed no further if it is not.
    pub fn standing(&self) -> (u16, u16, Option<String>) {
        let surface = self.surface();
        (side(surface.width), side(surface.height), surface.lost.clone())
    }

    /// Whether there is anything to see.
    pub fn is_drawn(&self) -> bool {
        let surface = self.surface();
        !surface.pixels.is_empty() || surface.lost.is_some()
    }

    /// It is followed no further. What was drawn goes: it would look as if it stood.
    pub fn lose(&self, why: &str) {
        let mut surface = self.surface();
        if surface.lost.is_none() {
            *surface = Surface { lost: Some(why.to_owned()), sizes: surface.sizes + 1, ..Surface::default() };
        }
        drop(surface);
        self.tell();
    }

    /// Has another size from now on, and what was on it as far as there is room.
    pub(super) fn resize(&self, width: u16, height: u16) -> Result<(), String> {
        let (width, height) = (usize::from(width), usize::from(height));
        if width * height > PIXELS_MAX {
            return Err(format!(
                "a screen of {width} by {height} is too large to be shown: {PIXELS_MAX} pixels are the most"
            ));
        }
        let mut surface = self.surface();
        let (mut pixels, mut room) = (Vec::new(), None);
        if !surface.pixels.is_empty() {
            room = Some(Room::take(width * height)?);
            pixels.resize(width * height, 0);
            let kept = width.min(surface.width);
            for y in 0..height.min(surface.height) {
                pixels[y * width..][..kept].copy_from_slice(&surface.pixels[y * surface.width..][..kept]);
            }
        }
        let stamp = surface.stamp + 1;
        let tiles = vec![stamp; width.div_ceil(TILE) * height.div_ceil(TILE)];
        *surface = Surface { width, height, pixels, room, tiles, stamp, sizes: surface.sizes + 1, lost: None };
        drop(surface);
        self.tell();
        Ok(())
    }

    /// Where a rectangle is drawn. From the first on, there is memory to draw in.
    pub(super) fn within(&self, head: Head) -> Result<Area, Stop> {
        let mut surface = self.surface();
        let side = usize::from;
        let area = Area { x: side(head.x), y: side(head.y), width: side(head.width), height: side(head.height) };
        if area.x + area.width > surface.width || area.y + area.height > surface.height {
            return lost("the target drew beside its screen");
        }
        if surface.pixels.is_empty() {
            let pixels = surface.width * surface.height;
            surface.room = Some(Room::take(pixels).map_err(Stop::Lost)?);
            surface.pixels = vec![0; pixels];
        }
        Ok(area)
    }

    /// How many pixels it has.
    pub(super) fn area(&self) -> u64 {
        self.surface().pixels.len() as u64
    }

    /// What was drawn until now may be looked at.
    pub(super) fn commit(&self) {
        self.surface().stamp += 1;
        self.tell();
    }

    pub(super) fn draw(&self, area: Area, pixels: &[u32]) {
        let mut surface = self.surface();
        if area.width > 0 {
            let rows = pixels.chunks_exact(area.width).take(area.height);
            rows.enumerate().for_each(|(row, pixels)| surface.draw_row(area.x, area.y + row, pixels));
        }
    }

    pub(super) fn fill(&self, area: Area, pixel: u32) {
        let row = vec![pixel; area.width];
        let mut surface = self.surface();
        (area.y..area.y + area.height).for_each(|y| surface.draw_row(area.x, y, &row));
    }

    /// Draws what stands elsewhere on it.
    pub(super) fn copy(&self, from: Area, to: Area) {
        let mut surface = self.surface();
        let mut row = Vec::with_capacity(from.width);
        for n in 0..from.height {
            // Those that would be drawn over go first.
            let n = if to.y > from.y { from.height - 1 - n } else { n };
            row.clear();
            row.extend_from_slice(surface.row(from.row(n)));
            surface.draw_row(to.x, to.y + n, &row);
        }
    }

    /// Colours have other numbers: those in the highest bytes stand for what the map says now.
    pub(super) fn recolour(&self, map: &[u32; 256]) {
        let mut surface = self.surface();
        let stamp = surface.stamp + 1;
        surface.pixels.iter_mut().for_each(|pixel| *pixel = map[(*pixel >> 24) as usize] | *pixel & 0xff00_0000);
        surface.tiles.fill(stamp);
        surface.stamp = stamp;
        drop(surface);
        self.tell();
    }

    fn tell(&self) {
        self.changed.send_replace(());
    }

    fn surface(&self) -> MutexGuard<'_, Surface> {
        // Nothing under this lock can panic halfway through a change.
        self.surface.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn side(length: usize) -> u16 {
    u16::try_from(length).expect("a size came as a u16")
}

impl Surface {
    fn row(&self, area: Area) -> &[u32] {
        &self.pixels[area.y * self.width + area.x..][..area.width]
    }

    fn draw_row(&mut self, x: usize, y: usize, pixels: &[u32]) {
        let (mut x, mut pixels) = (x, pixels);
        while !pixels.is_empty() {
            let (now, rest) = pixels.split_at(pixels.len().min(TILE - x % TILE));
            let drawn = &mut self.pixels[y * self.width + x..][..now.len()];
            if drawn != now {
                drawn.copy_from_slice(now);
                self.tiles[y / TILE * self.width.div_ceil(TILE) + x / TILE] = self.stamp + 1;
            }
            x += now.len();
            pixels = rest;
        }
    }

    /// What changed since then from this row of tiles on, in parts of a bounded size that hardly overlap what did not; and
    /// the row at which as many were found as one look gives, or 0 at the end.
    fn areas(&self, since: u64, first: usize) -> (Vec<Area>, usize) {
        let mut areas = Vec::<Area>::new();
        if self.pixels.is_empty() {
            return (areas, 0);
        }
        let columns = self.width.div_ceil(TILE);
        for (row, tiles) in self.tiles.chunks_exact(columns).enumerate().skip(first) {
            if areas.len() >= PIECES_MAX {
                return (areas, row);
            }
            let y = row * TILE;
            let height = TILE.min(self.height - y);
            let mut column = 0;
            while let Some(first) = tiles[column..].iter().position(|stamp| *stamp > since) {
                let from = column + first;
                let run = tiles[from..].iter().take(PIECE_PIXELS_MAX / TILE / TILE);
                column = from + run.take_while(|stamp| **stamp > since).count();
                let x = from * TILE;
                let area = Area { x, y, width: (column * TILE).min(self.width) - x, height };
                match areas.iter_mut().find(|above| above.goes_on_in(area)) {
                    Some(above) => above.height += height,
                    None => areas.push(area),
                }
            }
        }
        (areas, 0)
    }

    fn rgb(&self, area: Area) -> Vec<u8> {
        let mut rgb = Vec::with_capacity(area.width * area.height * 3);
        for row in 0..area.height {
            for pixel in self.row(area.row(row)) {
                let [_, red, green, blue] = pixel.to_be_bytes();
                rgb.extend_from_slice(&[red, green, blue]);
            }
        }
        rgb
    }
}

impl Area {
    fn goes_on_in(&self, below: Self) -> bool {
        (self.x, self.width, self.y + self.height) == (below.x, below.width, below.y)
            && self.width * (self.height + below.height) <= PIECE_PIXELS_MAX
    }
}
