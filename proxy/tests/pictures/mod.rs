//! Reads the pictures that the program draws with characters, as a camera would.

/// What lights up on a screen, or is ink on paper.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// Drawn for a dark terminal: a block is a light module.
    Screen,
    /// Drawn for paper: a block is a dark module.
    #[allow(dead_code, reason = "not everywhere is printed")]
    Paper,
}

/// What the one picture on this page says.
#[track_caller]
pub(crate) fn read(page: &str, on: On) -> String {
    let lines: Vec<Vec<char>> = page.lines().map(|line| line.trim_end_matches('\r').chars().collect()).collect();
    let is_drawn = |line: &&Vec<char>| line.len() > 20 && line.iter().all(|c| " \u{2588}\u{2580}\u{2584}".contains(*c));
    let drawn: Vec<&Vec<char>> = lines.iter().filter(is_drawn).collect();
    let width = drawn.iter().map(|line| line.len()).max().unwrap_or_else(|| panic!("no picture:\n{page}"));
    let is_dark = |column: usize, row: usize| {
        let block = drawn.get(row / 2).and_then(|line| line.get(column));
        let is_block = match block {
            Some('\u{2588}') => true,
            Some('\u{2580}') => row.is_multiple_of(2),
            Some('\u{2584}') => !row.is_multiple_of(2),
            _ => false,
        };
        is_block == (on == On::Paper)
    };
    let (pixels, margin) = (8, 4);
    let (wide, high) = (width + 2 * margin, 2 * drawn.len() + 2 * margin);
    let mut image = Vec::with_capacity(wide * high * pixels * pixels);
    for y in 0..high * pixels {
        for x in 0..wide * pixels {
            let (column, row) = (x / pixels, y / pixels);
            // Around it the page is blank, however the camera holds it.
            let is_within = (margin..margin + width).contains(&column) && (margin..high - margin).contains(&row);
            image.push(if is_within && is_dark(column - margin, row - margin) { 0 } else { 255 });
        }
    }
    let mut camera = quircs::Quirc::default();
    let mut seen = camera.identify(wide * pixels, high * pixels, &image);
    let code = seen.next().unwrap_or_else(|| panic!("no code is seen:\n{page}")).unwrap();
    let decoded = code.decode().unwrap_or_else(|error| panic!("{error}:\n{page}"));
    assert!(seen.next().is_none(), "two pictures:\n{page}");
    String::from_utf8(decoded.payload).unwrap()
}
