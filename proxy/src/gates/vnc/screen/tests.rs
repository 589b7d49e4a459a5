//! Servers played by a model that knows what it drew: pictures in every encoding and form of pixels, cut anyhow; lies; and work
//! without end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;
use tokio::sync::watch;

use super::encodings::*;
use super::*;

/// What was said, in order.
struct Script(VecDeque<Said>);

impl Source for Script {
    fn next(&mut self) -> Option<Said> {
        self.0.pop_front()
    }
}

fn draw(said: impl IntoIterator<Item = Said>) -> (Ended, Arc<Canvas>) {
    let canvas = Arc::new(Canvas::new(Arc::new(watch::Sender::default())));
    let ended = Decoder::new(Script(said.into_iter().collect()), Arc::clone(&canvas)).run();
    (ended, canvas)
}

/// The whole picture, as whoever comes late sees it.
fn seen(canvas: &Canvas) -> Vec<u32> {
    let cut = canvas.look(Glance::default());
    let mut pixels = vec![0; usize::from(cut.width) * usize::from(cut.height)];
    lay(&cut, &mut pixels);
    pixels
}

/// Draws what is new over what was seen.
fn lay(cut: &Cut, pixels: &mut [u32]) {
    for piece in &cut.pieces {
        for (n, rgb) in piece.rgb.chunks_exact(3).enumerate() {
            let (x, y) = (n % usize::from(piece.width), n / usize::from(piece.width));
            let at = (usize::from(piece.y) + y) * usize::from(cut.width) + usize::from(piece.x) + x;
            pixels[at] = u32::from_be_bytes([0, rgb[0], rgb[1], rgb[2]]);
        }
    }
}

fn target(bytes: &[u8]) -> Said {
    Said::Target { bytes: Bytes::copy_from_slice(bytes), at: Instant::now() }
}

fn pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Said> {
    let mut rest = bytes;
    let mut said = Vec::new();
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, after) = rest.split_at((*cut).clamp(1, rest.len()));
        said.push(target(now));
        rest = after;
    }
    said
}

/// A form of pixels, as a server has it.
#[derive(Debug, Clone, Copy)]
struct Form {
    bytes: usize,
    depth: u8,
    is_big: bool,
    max: [u16; 3],
    shift: [u8; 3],
    is_mapped: bool,
    /// How ZRLE cuts a pixel: which of its bytes stand, the lowest first.
    compact: (usize, usize),
    is_rgb: bool,
}

const fn form(bytes: usize, depth: u8, max: [u16; 3], shift: [u8; 3]) -> Form {
    let compact = (0, bytes);
    Form { bytes, depth, is_big: false, max, shift, is_mapped: false, compact, is_rgb: false }
}

const FULL: Form = Form { compact: (0, 3), is_rgb: true, ..form(4, 24, [255; 3], [16, 8, 0]) };

const FORMS: [Form; 16] = [
    FULL,
    Form { is_big: true, ..FULL },
    Form { shift: [24, 16, 8], compact: (1, 4), ..FULL },
    Form { shift: [24, 16, 8], compact: (1, 4), is_big: true, ..FULL },
    Form { shift: [24, 8, 0], compact: (0, 4), ..FULL },
    form(2, 16, [31, 63, 31], [11, 5, 0]),
    Form { is_big: true, ..form(2, 16, [31, 63, 31], [11, 5, 0]) },
    form(1, 8, [7, 7, 3], [0, 3, 6]),
    Form { is_mapped: true, ..form(1, 8, [0; 3], [0; 3]) },
    form(4, 30, [1023; 3], [20, 10, 0]),
    Form { is_big: true, ..form(4, 30, [1023; 3], [20, 10, 0]) },
    // Colours that would fit into three bytes, of which four are sent, because so many count (RFC 6143, 7.7.5).
    form(4, 32, [255; 3], [16, 8, 0]),
    Form { is_big: true, ..form(4, 32, [255; 3], [24, 16, 8]) },
    // And as most servers send them all the same.
    Form { compact: (0, 3), ..form(4, 32, [255; 3], [16, 8, 0]) },
    Form { compact: (1, 4), is_big: true, ..form(4, 32, [255; 3], [24, 16, 8]) },
    Form { compact: (0, 3), ..form(4, 30, [127; 3], [14, 7, 0]) },
];

impl Form {
    fn wire(&self) -> [u8; 16] {
        let [red, green, blue] = self.max.map(u16::to_be_bytes);
        let bits = u8::try_from(self.bytes * 8).unwrap();
        let [a, b, c] = self.shift;
        let (big, colour) = (u8::from(self.is_big), u8::from(!self.is_mapped));
        let maxima = [red[0], red[1], green[0], green[1], blue[0], blue[1]];
        let [r0, r1, g0, g1, b0, b1] = maxima;
        [bits, self.depth, big, colour, r0, r1, g0, g1, b0, b1, a, b, c, 0, 0, 0]
    }

    fn mask(&self) -> u32 {
        if self.is_mapped {
            return 0xff;
        }
        self.max.iter().zip(self.shift).fold(0, |mask, (max, shift)| mask | u32::from(*max) << shift)
    }

    fn colour(&self, raw: u32) -> u32 {
        if self.is_mapped {
            return mapped(raw);
        }
        let part = |n: usize| {
            let value = f64::from(raw >> self.shift[n] & u32::from(self.max[n]));
            (value * 255.0 / f64::from(self.max[n])).round() as u32
        };
        part(0) << 16 | part(1) << 8 | part(2)
    }

    fn part_bytes(&self, raw: u32, (from, to): (usize, usize)) -> Vec<u8> {
        let mut bytes = raw.to_le_bytes()[from..to].to_vec();
        if self.is_big {
            bytes.reverse();
        }
        bytes
    }

    fn pixel(&self, raw: u32) -> Vec<u8> {
        self.part_bytes(raw, (0, self.bytes))
    }

    fn cpixel(&self, raw: u32) -> Vec<u8> {
        self.part_bytes(raw, self.compact)
    }

    fn tpixel(&self, raw: u32) -> Vec<u8> {
        if self.is_rgb {
            return self.shift.map(|shift| (raw >> shift) as u8).to_vec();
        }
        self.pixel(raw)
    }
}

fn mapped(raw: u32) -> u32 {
    raw.wrapping_mul(0x0001_0203) & 0xff_ffff
}

/// A server, and what it believes to have drawn.
struct Server {
    form: Form,
    width: usize,
    raw: Vec<u32>,
    said: Vec<u8>,
    streams: Vec<Compress>,
}

const ZLIB_STREAM: usize = 4;
const ZRLE_STREAM: usize = 5;

impl Server {
    fn new(form: Form, width: usize, height: usize) -> Self {
        let streams = (0..6).map(|_| Compress::new(Compression::fast(), true)).collect();
        let mut server = Self { form, width, raw: vec![0; width * height], said: Vec::new(), streams };
        let side = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
        server.said.extend([side(width), side(height)].concat());
        server.said.extend(form.wire());
        server.said.extend([0, 0, 0, 3]);
        server.said.extend(b"hmi");
        if form.is_mapped {
            server.said.extend([1, 0, 0, 0, 1, 0]);
            for raw in 0..256_u32 {
                let [_, red, green, blue] = mapped(raw).to_be_bytes();
                server.said.extend([red, 9, green, 9, blue, 9]);
            }
        }
        server
    }

    fn update(&mut self, rectangles: u16) {
        self.said.extend([0, 0]);
        self.said.extend(rectangles.to_be_bytes());
    }

    fn head(&mut self, place: Place, encoding: i32) {
        for side in [place.x, place.y, place.width, place.height] {
            self.said.extend(u16::try_from(side).unwrap().to_be_bytes());
        }
        self.said.extend(encoding.to_be_bytes());
    }

    fn of(&self, place: Place) -> Vec<u32> {
        let row = |y: usize| &self.raw[(place.y + y) * self.width + place.x..][..place.width];
        (0..place.height).flat_map(row).copied().collect()
    }

    fn put(&mut self, place: Place, raw: &[u32]) {
        for (y, row) in raw.chunks_exact(place.width).enumerate() {
            self.raw[(place.y + y) * self.width + place.x..][..place.width].copy_from_slice(row);
        }
    }

    fn compressed(&mut self, stream: usize, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(plain.len() * 2 + 1_000);
        self.streams[stream].compress_vec(plain, &mut out, FlushCompress::Sync).unwrap();
        out
    }

    /// Draws these pixels in this way.
    fn draw(&mut self, place: Place, raw: &[u32], how: i32, taste: u8) {
        self.head(place, how);
        self.put(place, raw);
        let form = self.form;
        let pixels = || raw.iter().flat_map(|raw| form.pixel(*raw)).collect::<Vec<u8>>();
        match how {
            RAW => self.said.extend(pixels()),
            RRE | CORRE => {
                let others: Vec<_> = raw.iter().enumerate().filter(|(_, pixel)| **pixel != raw[0]).collect();
                self.said.extend(u32::try_from(others.len()).unwrap().to_be_bytes());
                self.said.extend(form.pixel(raw[0]));
                for (n, pixel) in others {
                    self.said.extend(form.pixel(*pixel));
                    for side in [n % place.width, n / place.width, 1, 1] {
                        let side = u16::try_from(side).unwrap().to_be_bytes();
                        self.said.extend(if how == RRE { &side[..] } else { &side[1..] });
                    }
                }
            }
            HEXTILE => place.tiles(16).for_each(|tile| self.hextile(tile, taste)),
            ZLIB => {
                let compressed = self.compressed(ZLIB_STREAM, &pixels());
                self.said.extend(u32::try_from(compressed.len()).unwrap().to_be_bytes());
                self.said.extend(compressed);
            }
            ZRLE => {
                let plain: Vec<u8> =
                    place.tiles(64).flat_map(|tile| zrle(form, tile.width, &self.of(tile), taste)).collect();
                let compressed = self.compressed(ZRLE_STREAM, &plain);
                self.said.extend(u32::try_from(compressed.len()).unwrap().to_be_bytes());
                self.said.extend(compressed);
            }
            TIGHT => self.tight(place, raw, taste),
            other => panic!("{other}"),
        }
    }

    fn hextile(&mut self, tile: Place, taste: u8) {
        let (raw, form) = (self.of(tile), self.form);
        let others: Vec<_> = raw.iter().enumerate().filter(|(_, pixel)| **pixel != raw[0]).collect();
        let at = |n: usize| [u8::try_from(((n % tile.width) << 4) | (n / tile.width)).unwrap(), 0];
        if taste.is_multiple_of(3) || others.len() > 255 {
            self.said.push(1);
            self.said.extend(raw.iter().flat_map(|raw| form.pixel(*raw)));
            return;
        }
        let is_one_colour = others.windows(2).all(|two| two[0].1 == two[1].1);
        self.said.push(if others.is_empty() {
            2
        } else if is_one_colour {
            2 | 4 | 8
        } else {
            2 | 8 | 16
        });
        self.said.extend(form.pixel(raw[0]));
        if others.is_empty() {
            return;
        }
        if is_one_colour {
            self.said.extend(form.pixel(*others[0].1));
        }
        self.said.push(u8::try_from(others.len()).unwrap());
        for (n, pixel) in others {
            if !is_one_colour {
                self.said.extend(form.pixel(*pixel));
            }
            self.said.extend(at(n));
        }
    }

    fn tight(&mut self, place: Place, raw: &[u32], taste: u8) {
        let form = self.form;
        let palette = palette(raw);
        let stream = usize::from(taste & 3);
        // The streams begin anew now and then.
        let reset = if taste & 4 != 0 { 1 << stream } else { 0 };
        if reset != 0 {
            self.streams[stream] = Compress::new(Compression::fast(), true);
        }
        let kind = u8::try_from(stream).unwrap() << 4 | reset;
        let plain = match taste >> 3 & 3 {
            _ if palette.len() == 1 => {
                self.said.push(0x80 | reset);
                self.said.extend(form.tpixel(raw[0]));
                return;
            }
            1 if palette.len() <= 256 => {
                self.said.extend([kind | 0x40, 1, u8::try_from(palette.len() - 1).unwrap()]);
                self.said.extend(palette.iter().flat_map(|raw| form.tpixel(*raw)));
                let bits = if palette.len() <= 2 { 1 } else { 8 };
                indexes(raw, &palette, place.width, bits)
            }
            2 if !form.is_mapped => {
                self.said.extend([kind | 0x40, 2]);
                gradient(form, place.width, raw)
            }
            3 => {
                self.said.extend([kind | 0x40, 0]);
                raw.iter().flat_map(|raw| form.tpixel(*raw)).collect()
            }
            _ => {
                self.said.push(kind);
                raw.iter().flat_map(|raw| form.tpixel(*raw)).collect()
            }
        };
        if plain.len() < 12 {
            self.said.extend(plain);
            return;
        }
        let compressed = self.compressed(stream, &plain);
        self.said.extend(compact(compressed.len()));
        self.said.extend(compressed);
    }
}

fn compact(length: usize) -> Vec<u8> {
    match length {
        ..0x80 => vec![length as u8],
        0x80..0x4000 => vec![length as u8 | 0x80, (length >> 7) as u8],
        _ => vec![length as u8 | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8],
    }
}

fn palette(raw: &[u32]) -> Vec<u32> {
    let mut palette = raw.to_vec();
    palette.sort_unstable();
    palette.dedup();
    palette
}

fn indexes(raw: &[u32], palette: &[u32], width: usize, bits: usize) -> Vec<u8> {
    let index = |raw: &u32| palette.iter().position(|known| known == raw).unwrap() as u8;
    let mut bytes = Vec::new();
    for row in raw.chunks_exact(width) {
        for pixels in row.chunks(8 / bits) {
            let byte = pixels.iter().fold(0_u32, |byte, raw| byte << bits | u32::from(index(raw)));
            bytes.push((byte << (bits * (8 / bits - pixels.len()))) as u8);
        }
    }
    bytes
}

fn gradient(form: Form, width: usize, raw: &[u32]) -> Vec<u8> {
    let part = |raw: u32, n: usize| i64::from(raw >> form.shift[n] & u32::from(form.max[n]));
    let at = |n: usize, left: usize, up: usize, c: usize| {
        let (x, y) = (n % width, n / width);
        if x < left || y < up { 0 } else { part(raw[(y - up) * width + x - left], c) }
    };
    let differences = |n: usize| {
        (0..3).fold(0_u32, |out, c| {
            let max = i64::from(form.max[c]);
            let expected = (at(n, 1, 0, c) + at(n, 0, 1, c) - at(n, 1, 1, c)).clamp(0, max);
            out | ((((part(raw[n], c) - expected) & max) as u32) << form.shift[c])
        })
    };
    (0..raw.len()).flat_map(|n| form.tpixel(differences(n))).collect()
}

fn zrle(form: Form, width: usize, raw: &[u32], taste: u8) -> Vec<u8> {
    let palette = palette(raw);
    let colours = |palette: &[u32]| palette.iter().flat_map(|raw| form.cpixel(*raw)).collect::<Vec<u8>>();
    let runs = || raw.chunk_by(|one, other| one == other);
    let length = |run: &[u32]| {
        let rest = run.len() - 1;
        [vec![255; rest / 255], vec![(rest % 255) as u8]].concat()
    };
    match taste % 4 {
        _ if palette.len() == 1 => [vec![1], form.cpixel(raw[0])].concat(),
        0 => [vec![0], raw.iter().flat_map(|raw| form.cpixel(*raw)).collect()].concat(),
        1 if palette.len() <= 16 => {
            let bits = match palette.len() {
                ..=2 => 1,
                3..=4 => 2,
                _ => 4,
            };
            [vec![palette.len() as u8], colours(&palette), indexes(raw, &palette, width, bits)].concat()
        }
        2 if palette.len() <= 127 => {
            let index = |run: &[u32]| palette.iter().position(|known| *known == run[0]).unwrap() as u8;
            let run = |run: &[u32]| {
                if run.len() == 1 { vec![index(run)] } else { [vec![index(run) | 0x80], length(run)].concat() }
            };
            let runs: Vec<u8> = runs().flat_map(run).collect();
            [vec![128 + palette.len() as u8], colours(&palette), runs].concat()
        }
        _ => {
            let runs: Vec<u8> = runs().flat_map(|run| [form.cpixel(run[0]), length(run)].concat()).collect();
            [vec![128], runs].concat()
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Place {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl Place {
    const fn of(x: usize, y: usize, width: usize, height: usize) -> Self {
        Self { x, y, width, height }
    }

    fn tiles(self, side: usize) -> impl Iterator<Item = Self> {
        let (right, bottom) = (self.x + self.width, self.y + self.height);
        (self.y..bottom).step_by(side).flat_map(move |y| {
            (self.x..right).step_by(side).map(move |x| Self::of(x, y, side.min(right - x), side.min(bottom - y)))
        })
    }
}

const WIDTH: usize = 150;
const HEIGHT: usize = 90;

fn place() -> impl Strategy<Value = Place> {
    (0..WIDTH, 0..HEIGHT, 1..WIDTH, 1..HEIGHT)
        .prop_map(|(x, y, width, height)| Place::of(x, y, width.min(WIDTH - x), height.min(HEIGHT - y)))
}

#[derive(Debug, Clone)]
enum Act {
    Draw { place: Place, how: i32, taste: u8, colours: u16, seed: u32 },
    Copy { from: Place, to: (usize, usize) },
    Beside(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let how = prop::sample::select(vec![RAW, RRE, CORRE, HEXTILE, ZLIB, TIGHT, TIGHT, ZRLE, ZRLE]);
    let colours = prop::sample::select(vec![1_u16, 2, 3, 5, 16, 40, 300]);
    prop_oneof![
        8 => (place(), how, any::<u8>(), colours, any::<u32>())
            .prop_map(|(place, how, taste, colours, seed)| Act::Draw { place, how, taste, colours, seed }),
        2 => (place(), 0..WIDTH, 0..HEIGHT).prop_map(|(from, x, y)| {
            let (x, y) = (x.min(WIDTH - from.width), y.min(HEIGHT - from.height));
            Act::Copy { from, to: (x, y) }
        }),
        1 => (0..9_usize).prop_map(Act::Beside),
    ]
}

/// Flat and in runs, as panels are, and never the same.
fn pixels(form: Form, place: Place, colours: u16, seed: u32) -> Vec<u32> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let mut colour = 0;
    let mut left = 0;
    let pixel = |_| {
        if left == 0 {
            colour = (next() % u32::from(colours)).wrapping_mul(0x9e37_79b1).rotate_left(7) & form.mask();
            left = 1 + next() % 9 * (next() % 40);
        }
        left -= 1;
        colour
    };
    (0..place.width * place.height).map(pixel).collect()
}

fn perform(server: &mut Server, act: &Act) {
    match act {
        Act::Draw { place, how, taste, colours, seed } => {
            let raw = pixels(server.form, *place, *colours, *seed);
            server.update(1);
            server.draw(*place, &raw, *how, *taste);
        }
        Act::Copy { from, to } => {
            let raw = server.of(*from);
            let place = Place { x: to.0, y: to.1, ..*from };
            server.update(u16::MAX);
            server.head(place, COPY_RECT);
            for side in [from.x, from.y] {
                server.said.extend(u16::try_from(side).unwrap().to_be_bytes());
            }
            server.head(Place::of(0, 0, 0, 0), LAST_RECT);
            server.put(place, &raw);
        }
        Act::Beside(which) => beside(server, *which),
    }
}

/// What draws nothing, among what does.
fn beside(server: &mut Server, which: usize) {
    let pointer = Place::of(3, 4, 9, 5);
    let pixels = 9 * 5 * server.form.bytes;
    let (encoding, rest) = match which {
        0 => return server.said.push(2),
        1 => return server.said.extend([3, 0, 0, 0, 0, 0, 0, 2, b'h', b'i']),
        2 => return server.said.extend([248, 0, 0, 0, 0, 0, 0, 1, 2, 0xaa, 0xbb]),
        3 => (CURSOR, pixels + 2 * 5),
        4 => (X_CURSOR, 6 + 2 * 2 * 5),
        5 => (VMWARE_CURSOR, 2 + 2 * pixels),
        6 => (KEYBOARD_LIGHTS, 1),
        7 => (VMWARE_LIGHTS, 4),
        _ => (POINTER_POS, 0),
    };
    server.update(1);
    server.head(pointer, encoding);
    // Zeros: of the forms of pointers that is the first.
    server.said.extend(vec![0; rest]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// However it is drawn and however that is cut, whoever comes late and whoever was there all the time see the same, and
    /// that is what the server drew.
    #[test]
    fn the_picture_is_what_the_server_drew(
        form in prop::sample::select(FORMS.to_vec()),
        acts in prop::collection::vec(act(), 1..12),
        cuts in prop_oneof![Just(vec![1]), Just(vec![usize::MAX]), prop::collection::vec(1..900_usize, 1..6)],
    ) {
        let mut server = Server::new(form, WIDTH, HEIGHT);
        let black = form.colour(0);
        server.update(1);
        server.draw(Place::of(0, 0, WIDTH, HEIGHT), &[0; WIDTH * HEIGHT], RAW, 0);
        for act in &acts {
            perform(&mut server, act);
        }
        let (ended, canvas) = draw(pieces(&server.said, &cuts));
        prop_assert_eq!(ended, Ended::Over);
        let drawn: Vec<u32> = server.raw.iter().map(|raw| form.colour(*raw)).collect();
        prop_assert!(seen(&canvas) == drawn, "black is {black:06x}");
    }

    /// Whatever comes: no panic, and an end.
    #[test]
    fn nothing_that_comes_makes_it_panic(
        form in prop::sample::select(FORMS.to_vec()),
        noise in prop::collection::vec(prop_oneof![0..9_u8, any::<u8>()], 0..400),
        acts in prop::collection::vec(act(), 0..4),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut server = Server::new(form, WIDTH, HEIGHT);
        for act in &acts {
            perform(&mut server, act);
        }
        server.said.extend(noise);
        for (at, byte) in flips {
            let at = at.index(server.said.len());
            server.said[at] = byte;
        }
        let (_, canvas) = draw([target(&server.said)]);
        seen(&canvas);
    }
}

fn began(width: usize, height: usize) -> Server {
    Server::new(FULL, width, height)
}

fn why(server: &Server) -> String {
    match draw([target(&server.said)]) {
        (Ended::Lost(why), _) => why,
        (Ended::Over, _) => panic!("it was followed"),
    }
}

#[test]
fn who_looks_again_is_given_what_changed_and_no_more() {
    let mut server = began(640, 480);
    server.update(1);
    server.draw(Place::of(0, 0, 640, 480), &vec![0xff; 640 * 480], ZRLE, 0);
    let (_, canvas) = draw([target(&server.said)]);
    let whole = canvas.look(Glance::default());
    let covered: usize = whole.pieces.iter().map(|piece| piece.rgb.len() / 3).sum();
    assert_eq!((whole.width, whole.height, covered), (640, 480, 640 * 480));
    assert!(whole.pieces.iter().all(|piece| piece.rgb.len() / 3 <= 64 << 10), "in parts");
    let again = canvas.look(whole.glance);
    assert_eq!((again.pieces.len(), again.glance), (0, whole.glance));

    let area = Area { x: 130, y: 70, width: 4, height: 2 };
    canvas.draw(area, &[0xff; 8]);
    canvas.commit();
    assert_eq!(canvas.look(whole.glance).pieces, [], "what is drawn over with itself did not change");
    canvas.draw(area, &[0xff_0000; 8]);
    canvas.commit();
    let news = canvas.look(whole.glance);
    let places: Vec<_> = news.pieces.iter().map(|piece| (piece.x, piece.y, piece.width, piece.height)).collect();
    assert_eq!(places, [(128, 64, 64, 64)]);
    let mut followed = seen(&canvas);
    lay(&news, &mut followed);
    assert!(followed == seen(&canvas) && followed[70 * 640 + 130] == 0xff_0000);
    // Between two looks at something half drawn nothing is lost.
    canvas.draw(Area { x: 0, ..area }, &[0x00_ff00; 8]);
    let half = canvas.look(news.glance);
    canvas.draw(Area { x: 4, ..area }, &[0x00_ff00; 8]);
    canvas.commit();
    let rest = canvas.look(half.glance);
    [half, rest].iter().for_each(|cut| lay(cut, &mut followed));
    assert!(followed == seen(&canvas));
}

#[test]
fn a_screen_has_another_size_and_keeps_what_was_on_it() {
    let mut server = began(100, 100);
    server.update(1);
    server.draw(Place::of(0, 0, 100, 100), &[0x123456; 10_000], RAW, 0);
    let (_, canvas) = draw([target(&server.said)]);
    let before = canvas.look(Glance::default()).glance;
    server.update(1);
    server.head(Place::of(0, 0, 200, 50), DESKTOP_SIZE);
    let (_, canvas) = draw([target(&server.said)]);
    let cut = canvas.look(before);
    assert_eq!((cut.width, cut.height), (200, 50));
    let pixels = seen(&canvas);
    assert_eq!((pixels[99], pixels[100], pixels.len()), (0x123456, 0, 10_000));
    // Refused, and then granted.
    for (status, width) in [(1, 200), (0, 300)] {
        server.update(1);
        server.head(Place::of(1, status, 300, 50), EXTENDED_DESKTOP_SIZE);
        server.said.extend([1, 0, 0, 0]);
        server.said.extend([0; 16]);
        let (ended, canvas) = draw([target(&server.said)]);
        assert_eq!((ended, canvas.standing()), (Ended::Over, (width, 50, None)));
    }
}

#[test]
fn colours_of_a_map_change_with_it() {
    let mapped = FORMS[8];
    let mut server = Server::new(mapped, 4, 1);
    server.update(1);
    server.draw(Place::of(0, 0, 4, 1), &[1, 2, 1, 3], RAW, 0);
    server.said.extend([1, 0, 0, 1, 0, 1, 0xaa, 0, 0xbb, 0, 0xcc, 0]);
    let (_, canvas) = draw([target(&server.said)]);
    assert_eq!(seen(&canvas), [0xaa_bbcc, self::mapped(2), 0xaa_bbcc, self::mapped(3)]);
    let before = canvas.look(Glance::default()).glance;
    canvas.recolour(&[0x77_7777; 256]);
    assert_eq!(canvas.look(before).pieces.len(), 1, "who saw it in the colours before sees it anew");
}

/// A pixel of two bytes, and one of four, each as an update.
fn update_in(form: Form, raw: u32) -> Vec<u8> {
    let mut server = Server::new(form, 1, 1);
    let begun = server.said.len();
    server.update(1);
    server.draw(Place::of(0, 0, 1, 1), &[raw], RAW, 0);
    server.said.split_off(begun)
}

#[test]
fn another_form_of_pixels_holds_from_the_update_on_that_was_asked_for_in_it() {
    let small = FORMS[5];
    let asked = || Said::Format(small.wire());
    let hello = began(1, 1).said;
    let (old, new) = (update_in(FULL, 0x11_2233), update_in(small, 0xf800));
    let (head, rest) = old.split_at(7);
    let ends = [150_u8];
    let colour = |said: Vec<Said>| {
        let (ended, canvas) = draw(said);
        assert_eq!(ended, Ended::Over);
        seen(&canvas)[0]
    };
    assert_eq!(colour(vec![target(&hello), target(&old), asked(), target(&new)]), 0xff_0000);
    assert_eq!(colour(vec![target(&hello), target(head), asked(), target(rest)]), 0x11_2233, "it was under way");
    assert_eq!(colour(vec![target(&hello), target(head), asked(), target(rest), target(&new)]), 0xff_0000);
    let stopped = || vec![target(&hello), Said::NoMoreUpdates, asked(), target(&old)];
    assert_eq!(colour(stopped()), 0x11_2233, "updates still come unasked, as before");
    assert_eq!(colour([stopped(), vec![target(&ends), target(&new)]].concat()), 0xff_0000);
}

/// 24 by 16: the first eight columns are red, the others blue. As Chromium makes it.
const JPEG: &str = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMUFRUVDA8XGB\
    YUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBT/wAARCAAQ\
    ABgDASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAAAAYH/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/EABUBAQEAAAAAAAAAAAAAAAAAAAcI/8\
    QAGBEAAgMAAAAAAAAAAAAAAAAAAAdFg8P/2gAMAwEAAhEDEQA/AMESqqSpUTUhVoIjqjrcwApQmM//2Q==";

#[test]
fn a_photograph_within_tight_is_shown() {
    let jpeg = data_encoding::BASE64.decode(JPEG.as_bytes()).unwrap();
    let tight = |jpeg: &[u8], width| {
        let mut server = began(30, 20);
        server.update(1);
        server.head(Place::of(5, 3, width, 16), TIGHT);
        server.said.push(0x90);
        server.said.extend(compact(jpeg.len()));
        server.said.extend(jpeg);
        server
    };
    let server = tight(&jpeg, 24);
    for cuts in [vec![1], vec![usize::MAX]] {
        let (ended, canvas) = draw(pieces(&server.said, &cuts));
        assert_eq!(ended, Ended::Over);
        let pixels = seen(&canvas);
        let near = |x: usize, y: usize, [red, green, blue]: [i32; 3]| {
            let [_, r, g, b] = pixels[y * 30 + x].to_be_bytes().map(i32::from);
            [r - red, g - green, b - blue].iter().all(|by| by.abs() < 12)
        };
        assert!(near(6, 10, [200, 30, 40]) && near(26, 10, [20, 60, 220]) && pixels[0] == 0);
    }
    assert_eq!(why(&tight(&jpeg, 23)), "the target sent a JPEG of another size than it said");
    assert_eq!(why(&tight(&jpeg[..200], 24)), "the target sent a JPEG that cannot be read");
    let passes = [jpeg.as_slice(), &[0xff, 0xda].repeat(20)].concat();
    assert_eq!(why(&tight(&passes, 24)), "the target sent a JPEG of too many passes");
}

#[test]
fn lies_lose_the_picture_and_say_why() {
    let head = |x, y, width, height, encoding: i32, rest: &[u8]| {
        let mut server = began(100, 80);
        server.update(1);
        server.head(Place::of(x, y, width, height), encoding);
        server.said.extend(rest);
        why(&server)
    };
    let beside = "the target drew beside its screen";
    assert_eq!(head(90, 0, 11, 1, RAW, &[]), beside);
    assert_eq!(head(0, 80, 1, 1, RAW, &[]), beside);
    assert_eq!(head(0, 0, 10, 10, COPY_RECT, &[0, 95, 0, 0]), beside);
    let part = "the target drew a part that is larger than its whole";
    assert_eq!(head(0, 0, 10, 10, RRE, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, 0, 1]), part);
    assert_eq!(head(0, 0, 10, 10, HEXTILE, &[2 | 8, 0, 0, 0, 0, 1, 0x99, 0x11]), part);
    assert_eq!(
        head(0, 0, 10, 10, ZLIB, &[0, 0, 0, 4, 1, 2, 3, 4]),
        "what the target compressed cannot be decompressed"
    );
    assert_eq!(
        head(0, 0, 9, 9, TIGHT, &[0xa0]),
        "the target compressed by form 10 of Tight, for which it was not asked"
    );
    assert_eq!(head(0, 0, 9, 9, TIGHT, &[0x40, 7]), "the target filtered by form 7 of Tight, which nobody knows");
    assert_eq!(head(0, 0, 9, 9, 99, &[]), "the target drew by encoding 99, for which it was not asked");
    let large = head(0, 0, 4_097, 4_096, DESKTOP_SIZE, &[]);
    assert!(large.starts_with("a screen of 4097 by 4096 is too large to be shown"), "{large}");

    let zrle = |plain: &[u8]| {
        let mut server = began(100, 80);
        server.update(1);
        server.head(Place::of(0, 0, 8, 8), ZRLE);
        let compressed = server.compressed(ZRLE_STREAM, plain);
        server.said.extend(u32::try_from(compressed.len()).unwrap().to_be_bytes());
        server.said.extend(compressed);
        why(&server)
    };
    assert_eq!(zrle(&[17]), "the target sent a tile of form 17, which nobody knows");
    assert_eq!(zrle(&[128, 0, 0, 0, 64]), "the target drew a run that is longer than its tile");
    assert_eq!(zrle(&[&[128, 0, 0, 0][..], &[255; 20]].concat()), "the target drew a run that is longer than its tile");
    assert_eq!(zrle(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]), "the target named a colour that its palette has not");
    assert_eq!(zrle(&[1, 0]), "what the target compressed ends before its picture does");

    let mut odd = began(100, 80);
    odd.said.push(9);
    assert_eq!(why(&odd), "the target sent message 9, whose length nobody knows");
    let form = |bytes: [u8; 4]| {
        let mut server = began(100, 80);
        server.said[4..8].copy_from_slice(&bytes);
        why(&server)
    };
    assert_eq!(form([24, 24, 0, 1]), "pixels of 24 bits cannot be shown");
    assert_eq!(form([16, 16, 0, 0]), "a map of colours for pixels of 16 bits cannot be shown");
}

/// So many times the whole screen in one colour, in seventeen bytes each.
fn floods(times: usize) -> Vec<u8> {
    let flood = [&[0, 0, 0, 1, 0, 0, 0, 0, 7, 208, 7, 208, 0, 0, 0, 7][..], &[0x80, 1, 2, 3]].concat();
    flood.repeat(times)
}

#[test]
fn work_without_end_loses_the_picture_and_a_screen_that_only_moves_does_not() {
    let hello = began(2_000, 2_000).said;
    let (ended, _) = draw([target(&hello), target(&floods(260))]);
    assert_eq!(ended, Ended::Lost("the target draws more than any screen shows".into()));
    let begun = Instant::now();
    let later = |n: u64| Said::Target { bytes: floods(25).into(), at: begun + Duration::from_millis(250 * n) };
    let (ended, _) = draw([target(&hello)].into_iter().chain((1..15).map(later)));
    assert_eq!(ended, Ended::Over);

    let mut restless = began(1, 1);
    restless.update(300);
    for n in 0..300 {
        restless.head(Place::of(0, 0, 4_096, 4_000 + n % 2), DESKTOP_SIZE);
    }
    assert_eq!(why(&restless), "the target draws more than any screen shows");
}

#[test]
fn a_bomb_of_zlib_is_skipped_as_far_as_a_screen_would_be_drawn_and_then_loses_the_picture() {
    let bomb = |before: &[u8]| {
        let mut server = began(2_000, 2_000);
        server.said.extend(before);
        server.update(1);
        server.head(Place::of(0, 0, 8, 8), ZRLE);
        // Each mebibyte of zeros behind another is the same thousand bytes.
        let begins = server.compressed(ZRLE_STREAM, &vec![0; 1 << 20]);
        let goes_on = server.compressed(ZRLE_STREAM, &vec![0; 1 << 20]);
        let compressed = [begins, goes_on.repeat(255)].concat();
        assert!(compressed.len() < 2 << 20, "small beside what it becomes");
        server.said.extend(u32::try_from(compressed.len()).unwrap().to_be_bytes());
        server.said.extend(compressed);
        draw([target(&server.said)]).0
    };
    assert_eq!(bomb(&[]), Ended::Over);
    assert_eq!(bomb(&floods(245)), Ended::Lost("the target draws more than any screen shows".into()));
}

#[test]
fn memory_is_taken_when_something_is_drawn() {
    let mut server = began(4_096, 4_096);
    let (_, canvas) = draw([target(&server.said)]);
    assert_eq!(canvas.area(), 0);
    server.update(1);
    server.draw(Place::of(0, 0, 1, 1), &[1], RAW, 0);
    let (_, canvas) = draw([target(&server.said)]);
    assert_eq!(canvas.area(), 1 << 24);
    canvas.lose("for a reason");
    assert_eq!((canvas.area(), canvas.standing()), (0, (0, 0, Some("for a reason".to_owned()))));
}

#[test]
fn an_empty_rectangle_says_nothing_of_how_pixels_are_packed() {
    let packs_short = FORMS[13];
    assert_eq!((packs_short.depth, packs_short.compact), (32, (0, 3)));
    let mut server = Server::new(packs_short, 8, 8);
    let raw: Vec<u32> = (0..64).map(|n| n * 0x0001_0203).collect();
    server.update(2);
    server.head(Place::of(0, 0, 0, 0), ZRLE);
    let nothing = server.compressed(ZRLE_STREAM, &[]);
    server.said.extend(u32::try_from(nothing.len()).unwrap().to_be_bytes());
    server.said.extend(nothing);
    server.draw(Place::of(0, 0, 8, 8), &raw, ZRLE, 0);
    let (_, canvas) = draw([target(&server.said)]);
    assert_eq!(seen(&canvas), raw.iter().map(|raw| packs_short.colour(*raw)).collect::<Vec<_>>());
}

/// All that is understood is followed or asks for nothing; a rectangle of nothing else is.
#[test]
fn what_a_target_is_asked_for_is_what_can_be_followed() {
    let nothing = [RAW, COPY_RECT, RRE, CORRE, HEXTILE, ZLIB, TIGHT, ZRLE];
    let beside = [
        DESKTOP_SIZE,
        LAST_RECT,
        POINTER_POS,
        CURSOR,
        X_CURSOR,
        KEYBOARD_LIGHTS,
        DESKTOP_NAME,
        EXTENDED_DESKTOP_SIZE,
        VMWARE_CURSOR,
        VMWARE_LIGHTS,
    ];
    for encoding in (-1_000..1_000).chain([VMWARE_CURSOR, VMWARE_LIGHTS, 0x574d_5665, 0xc0a1_e5ce_u32 as i32]) {
        let mut server = began(100, 80);
        server.update(1);
        server.head(Place::of(0, 0, 0, 0), encoding);
        server.said.extend([0; 40]);
        let unasked = matches!(draw([target(&server.said)]).0, Ended::Lost(why) if why.contains("was not asked"));
        let is_rectangle = nothing.contains(&encoding) || beside.contains(&encoding);
        assert_eq!(unasked, !is_rectangle, "{encoding}");
        if is_rectangle {
            assert!(understands(encoding), "{encoding}");
        }
        let asks_for_none = |encoding| matches!(encoding, -32..=-23 | -256..=-247 | -512..=-412 | -768..=-763 | FENCE | CONTINUOUS_UPDATES);
        assert_eq!(understands(encoding), is_rectangle || asks_for_none(encoding), "{encoding}");
    }
}

#[test]
fn a_large_picture_is_given_in_several_looks_and_what_changes_meanwhile_is_in_the_next() {
    const WIDTH: usize = 4096;
    const HEIGHT: usize = 1024;
    let canvas = Canvas::new(Arc::default());
    canvas.resize(WIDTH as u16, HEIGHT as u16).unwrap();
    let head = Head { x: 0, y: 0, width: WIDTH as u16, height: HEIGHT as u16, encoding: 0 };
    let Ok(whole) = canvas.within(head) else { panic!("it is within") };
    canvas.fill(whole, 0x0012_3456);
    canvas.commit();
    let mut seen = vec![0; WIDTH * HEIGHT];
    let mut look = |glance| {
        let cut = canvas.look(glance);
        assert!(cut.pieces.len() <= 20, "{} pieces at once", cut.pieces.len());
        for piece in &cut.pieces {
            for (n, rgb) in piece.rgb.chunks_exact(3).enumerate() {
                let (x, y) = (usize::from(piece.x) + n % usize::from(piece.width), n / usize::from(piece.width));
                seen[(usize::from(piece.y) + y) * WIDTH + x] = u32::from_be_bytes([0, rgb[0], rgb[1], rgb[2]]);
            }
        }
        cut
    };
    let first = look(Glance::default());
    let second = look(first.glance);
    assert!(first.is_more && second.is_more);
    // Above what was given already.
    canvas.fill(whole.row(3), 0x0065_4321);
    canvas.commit();
    let mut glance = second.glance;
    while let Cut { glance: next, is_more: true, .. } = look(glance) {
        glance = next;
    }
    let last = look(glance);
    let after = look(last.glance);
    assert_eq!((look(after.glance).pieces, after.is_more), (Vec::new(), false));
    let expected = |at: usize| if at / WIDTH == 3 { 0x0065_4321 } else { 0x0012_3456 };
    assert!(seen.iter().enumerate().all(|(at, pixel)| *pixel == expected(at)));
}
