//! Command lines that are a file copy and nothing else. A line passes only if every shell a target may have, those of
//! Windows too, would read it as the same few plain words; what is cleverer than that is a command like any other.

/// What an exec request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Command {
    /// Old-style scp, of one path.
    Scp(Scp),
    /// rsync, whose own options run commands.
    Rsync,
    /// Anything else.
    Other,
}

/// The server's end of an old-style scp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Scp {
    /// Which way files go.
    pub(in super::super) direction: Direction,
    /// The file or directory at the target, as named.
    pub(in super::super) path: Vec<u8>,
    /// `-r`: directories with what is in them.
    pub(in super::super) recursive: bool,
    /// `-d`: the path must be a directory.
    pub(in super::super) into_directory: bool,
}

/// Which way an scp copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Direction {
    /// `-f`: from the target.
    Get,
    /// `-t`: to the target.
    Put,
}

/// Reads an exec line.
pub(in super::super) fn parse_command(line: &[u8]) -> Command {
    let words = std::str::from_utf8(line).ok().and_then(plain_words).unwrap_or_default();
    match words.split_first() {
        Some((program, arguments)) if program == "scp" => parse_scp(arguments).map_or(Command::Other, Command::Scp),
        Some((program, _)) if program == "rsync" => Command::Rsync,
        _ => Command::Other,
    }
}

/// Splits a line that needs no shell to be understood: words of harmless characters, each as it is or in one pair of
/// quotes. Quotes protect from some shells and not from others, so in them too only the space is gained.
fn plain_words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_matches(' ');
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|first| matches!(first, '\'' | '"'));
        let (word, after) = match quote {
            Some(quote) => rest[1..].split_once(quote)?,
            None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        let spaces_allowed = quote.is_some();
        let plain = word.chars().all(|c| is_harmless(c) || (c == ' ' && spaces_allowed));
        let ends_there = after.is_empty() || after.starts_with(' ');
        if word.is_empty() || !plain || !ends_there {
            return None;
        }
        words.push(word.to_owned());
        rest = after.trim_start_matches(' ');
    }
    Some(words)
}

/// No character that any of sh, csh, zsh, fish, cmd.exe or PowerShell gives a meaning in the middle of a word, whose
/// meaning at its beginning is more than "home directory", or that looks like a blank or a quote to one of them.
fn is_harmless(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '/' | '+' | '-' | ':' | ',' | '@' | '~')
}

fn parse_scp(arguments: &[String]) -> Option<Scp> {
    let is_flags = |word: &&String| word.len() > 1 && word.starts_with('-') && *word != "--";
    let flags: String = arguments.iter().take_while(is_flags).map(|word| &word[1..]).collect();
    let path = match &arguments[arguments.iter().take_while(is_flags).count()..] {
        [path] if !path.starts_with('-') => path,
        [separator, path] if separator == "--" => path,
        _ => return None,
    };
    let has = |flag| flags.contains(flag);
    let direction = match (has('f'), has('t')) {
        (true, false) => Direction::Get,
        (false, true) => Direction::Put,
        _ => return None,
    };
    let only_known = flags.chars().all(|flag| "ftrpdvq".contains(flag));
    only_known.then(|| Scp {
        direction,
        path: path.clone().into_bytes(),
        recursive: has('r'),
        into_directory: has('d'),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scp(direction: Direction, path: &str) -> Scp {
        Scp { direction, path: path.into(), recursive: false, into_directory: false }
    }

    #[test]
    fn what_clients_send_is_a_file_copy() {
        let put = |path| Command::Scp(scp(Direction::Put, path));
        let get = |path| Command::Scp(scp(Direction::Get, path));
        assert_eq!(parse_command(b"scp -t /tmp/x"), put("/tmp/x"));
        assert_eq!(parse_command(b"scp -v -p -t -- -x"), put("-x"));
        assert_eq!(parse_command(b"scp -pf '/opt/a file'"), get("/opt/a file"));
        assert_eq!(parse_command(b"scp -f \"/opt/a file\""), get("/opt/a file"));
        assert_eq!(parse_command("scp -f /größe/x".as_bytes()), get("/größe/x"));
        let recursive = Scp { recursive: true, into_directory: true, ..scp(Direction::Put, ".") };
        assert_eq!(parse_command(b"scp -r -d -t ."), Command::Scp(recursive));
    }

    #[test]
    fn a_prefix_does_not_make_it_a_file_copy() {
        for line in [
            "scp -t x; bash",
            "scp -t x;bash",
            "scp -t x && bash",
            "scp -t x & bash",
            "scp -t x | bash",
            "scp -t x\nbash",
            "scp -t $(bash)",
            "scp -t `bash`",
            "scp -t ${IFS}",
            "scp -t $HOME",
            "scp -t x > y",
            "scp -t < y",
            "scp -t x*",
            "scp -t [x]",
            "scp -t x?",
            "scp -t {x,y}",
            "scp -t x\\;bash",
            "scp -t 'x;bash'",
            "scp -t 'x&bash'",
            "scp -t \"$(bash)\"",
            "scp -t \"`bash`\"",
            "scp -t 'x''y'",
            "scp -t x'y'",
            "scp -t 'x",
            "scp -t \"x",
            "scp -t ''",
            "scp -t x y",
            "scp -t x -f",
            "scp -t",
            "scp -t --",
            "scp -f -t x",
            "scp x y",
            "scp -S bash -t x",
            "scp -tS x",
            "scp -o ProxyCommand=x -t y",
            "scp -t -- x y",
            "scp -t x # y",
            "scp -t !x",
            "scp -t x^y",
            "scp -t %PATH%",
            "scp -t =ls",
            "scp -t x\ty",
            "scp\t-t x",
            "scp -t x\u{a0}-f",
            "scp -t \u{2018}x\u{2019}",
            "scp -t x\0y",
            "scp -t x\r",
            "/tmp/scp -t x",
            "SCP -t x",
            "scp.exe -t x",
            "X=y scp -t x",
            "exec scp -t x",
            "scp -t (x)",
            "sudo scp -t x",
            "scp -t x\u{85}bash",
            "scp -t - x",
            "scp -t -",
            "bash",
            "",
            " ",
        ] {
            assert_eq!(parse_command(line.as_bytes()), Command::Other, "{line:?}");
        }
        assert_eq!(parse_command(b"scp -t \xff"), Command::Other);
    }

    #[test]
    fn rsync_is_known_by_its_name() {
        assert_eq!(parse_command(b"rsync --server -vlogDtpre.iLsfxCIvu . /tmp"), Command::Rsync);
        assert_eq!(parse_command(b"rsync --server $(bash)"), Command::Other);
    }

    proptest! {
        #[test]
        fn a_shell_reads_the_same_words(line in "scp( -(t|f|r|p|d)){1,2}( --)? ['\"a-c;$`&|<>(){}*? ~\\\\-]{0,8}") {
            if let Command::Scp(scp) = parse_command(line.as_bytes()) {
                let script = format!("HOME='~'; scp() {{ for last; do :; done; printf %s \"$last\"; }}; {line}");
                let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
                prop_assert_eq!(output.stdout, scp.path);
            }
        }
    }
}
