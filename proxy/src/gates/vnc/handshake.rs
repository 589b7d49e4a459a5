//! The handshake (RFC 6143, 7.1 to 7.3.1), of which the gate is the end on both sides: the technician has signed in at the
//! gate and is asked for nothing; at the target the gate logs in itself. The target's login stands before the technician is
//! told that there is none, so that whatever fails there can still be said in the protocol's own words.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use recordings::words::Words;

use super::password::{CHALLENGE_BYTES, Password};
use crate::gates::{Judge, Need, Passed, Piece};

/// How long each side may take for its part. A server that delays its answer to a wrong password takes some seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much is read of a reason that the target gives.
const REASON_BYTES_MAX: usize = 512;

const VERSION_BYTES: usize = 12;

const NONE: u8 = 1;
const VNC_AUTHENTICATION: u8 = 2;

/// The versions that differ from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V3_3,
    V3_7,
    V3_8,
}

#[derive(Debug)]
pub(super) struct Handshake {
    password: Option<Password>,
    technician: Option<Version>,
    target: Version,
    state: State,
    held: BytesMut,
    until: Option<Instant>,
}

/// Whose turn it is to say what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    TechniciansVersion,
    Target(Awaited),
    /// Which of the offered types the technician's program takes.
    Choice,
    ClientInit,
}

/// What the target says next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Version,
    /// The one type that a server of 3.3 decides on.
    Security,
    TypesCount,
    Types(usize),
    Challenge,
    Result,
    /// Why it did what these words say.
    ReasonLength(&'static str),
    Reason(&'static str, usize),
}

/// What of the handshake ends the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    Refused(String),
    Malformed(String),
}

/// What the technician's program asked for last of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientInit {
    /// To be the only one on the screen.
    pub(super) alone: bool,
}

impl Handshake {
    pub(super) fn new(password: Option<Password>) -> Self {
        Self {
            password,
            technician: None,
            target: Version::V3_8,
            state: State::TechniciansVersion,
            held: BytesMut::new(),
            until: None,
        }
    }

    pub(super) fn open(&mut self, now: Instant, passed: &mut Passed) {
        self.until = Some(now + PATIENCE);
        passed.to_technician.push(Piece::Made(Bytes::from_static(Version::V3_8.as_bytes())));
    }

    /// When somebody has taken too long.
    pub(super) const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Takes what is the handshake's of what the technician's program said.
    pub(super) fn upward(
        &mut self,
        chunk: &mut Bytes,
        judge: &dyn Judge,
        now: Instant,
        passed: &mut Passed,
    ) -> Result<Option<ClientInit>, Failure> {
        while !chunk.is_empty() {
            let awaited = match self.state {
                State::TechniciansVersion => VERSION_BYTES,
                State::Choice | State::ClientInit => 1,
                State::Target(_) => return Err(of_technician("it spoke before it was asked")),
            };
            let Some(bytes) = self.take(chunk, awaited, passed) else { break };
            match self.state {
                State::TechniciansVersion => self.technicians_version(&bytes, judge, now, passed)?,
                State::Choice => self.choice(bytes[0], passed)?,
                State::ClientInit => {
                    self.until = None;
                    // Never alone: that would throw off everybody else on this screen, the plant's own operator too.
                    passed.to_target.push(Piece::Made(Bytes::from_static(&[1])));
                    return Ok(Some(ClientInit { alone: bytes[0] == 0 }));
                }
                State::Target(_) => {}
            }
        }
        Ok(None)
    }

    fn technicians_version(
        &mut self,
        bytes: &[u8],
        judge: &dyn Judge,
        now: Instant,
        passed: &mut Passed,
    ) -> Result<(), Failure> {
        let version = match numbers(bytes) {
            Some((3, minor)) => Version::of_minor(minor),
            _ => None,
        };
        let none = || of_technician("it began with no version of RFB that is known here");
        self.technician = Some(version.ok_or_else(none)?);
        judge.may_pass(Need::Sight).map_err(Failure::Refused)?;
        passed.wants_target = true;
        self.until = Some(now + PATIENCE);
        self.state = State::Target(Awaited::Version);
        Ok(())
    }

    fn choice(&mut self, chosen: u8, passed: &mut Passed) -> Result<(), Failure> {
        if chosen != NONE {
            return Err(Failure::Refused(format!("security type {chosen} was not offered")));
        }
        if self.technician == Some(Version::V3_8) {
            passed.to_technician.push(Piece::Made(Bytes::from_static(&[0; 4])));
        }
        self.state = State::ClientInit;
        Ok(())
    }

    /// Takes what the target said.
    pub(super) fn downward(&mut self, chunk: &mut Bytes, now: Instant, passed: &mut Passed) -> Result<(), Failure> {
        while !chunk.is_empty() {
            let State::Target(awaited) = self.state else {
                return Err(of_target("it spoke before it was asked"));
            };
            let Some(bytes) = self.take(chunk, awaited.bytes(), passed) else { break };
            match self.target_said(awaited, &bytes, passed)? {
                Some(next) => self.state = State::Target(next),
                None => self.welcome(now, passed),
            }
        }
        Ok(())
    }

    /// What is awaited after it; nothing once the target lets the gate in.
    fn target_said(&mut self, awaited: Awaited, bytes: &[u8], passed: &mut Passed) -> Result<Option<Awaited>, Failure> {
        let number = || bytes.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        Ok(Some(match awaited {
            Awaited::Version => {
                self.target = targets_version(bytes)?;
                passed.to_target.push(Piece::Made(Bytes::from_static(self.target.as_bytes())));
                if self.target == Version::V3_3 { Awaited::Security } else { Awaited::TypesCount }
            }
            Awaited::Security => match number() {
                0 => Awaited::ReasonLength(TURNED_AWAY),
                1 => return Ok(None),
                2 if self.password.is_some() => Awaited::Challenge,
                other => return Err(self.cannot_log_in(&[u8::try_from(other).unwrap_or(0)])),
            },
            Awaited::TypesCount if bytes[0] == 0 => Awaited::ReasonLength(TURNED_AWAY),
            Awaited::TypesCount => Awaited::Types(bytes[0].into()),
            Awaited::Types(_) => return self.choose(bytes, passed),
            Awaited::Challenge => {
                let (Some(password), Ok(challenge)) = (&self.password, bytes.try_into()) else {
                    return Err(self.cannot_log_in(&[VNC_AUTHENTICATION]));
                };
                passed.to_target.push(Piece::Hidden(password.answer(challenge)));
                Awaited::Result
            }
            Awaited::Result if number() == 0 => return Ok(None),
            Awaited::Result if self.target == Version::V3_8 => Awaited::ReasonLength(NOT_LET_IN),
            Awaited::Result => return Err(Failure::Refused(NOT_LET_IN.to_owned())),
            Awaited::ReasonLength(what) => match usize::try_from(number()).unwrap_or(usize::MAX) {
                0 => return Err(Failure::Refused(what.to_owned())),
                length => Awaited::Reason(what, length.min(REASON_BYTES_MAX)),
            },
            Awaited::Reason(what, _) => {
                return Err(Failure::Refused(format!("{what}: {}", Words::new(bytes))));
            }
        }))
    }

    /// Of what the target offers. Without a password nothing is at stake, so one that is set goes first.
    fn choose(&self, types: &[u8], passed: &mut Passed) -> Result<Option<Awaited>, Failure> {
        let mut take = |chosen| passed.to_target.push(Piece::Made(Bytes::copy_from_slice(&[chosen])));
        if self.password.is_some() && types.contains(&VNC_AUTHENTICATION) {
            take(VNC_AUTHENTICATION);
            Ok(Some(Awaited::Challenge))
        } else if types.contains(&NONE) {
            take(NONE);
            Ok((self.target == Version::V3_8).then_some(Awaited::Result))
        } else {
            Err(self.cannot_log_in(types))
        }
    }

    fn cannot_log_in(&self, types: &[u8]) -> Failure {
        Failure::Refused(if types.contains(&VNC_AUTHENTICATION) && self.password.is_none() {
            "the target wants a password, and the plant's file names no credential for it. Ask the control room"
                .to_owned()
        } else {
            let names: Vec<_> = types.iter().take(8).map(|number| name(*number)).collect();
            format!(
                "the target lets nobody in but by {}, which the gate cannot do. Its VNC password (type 2) has to be switched on. Ask the control room",
                names.join(", ")
            )
        })
    }

    /// The target lets the gate in, so the technician is.
    fn welcome(&mut self, now: Instant, passed: &mut Passed) {
        let (offer, next): (&'static [u8], _) = match self.technician {
            Some(Version::V3_3) => (&[0, 0, 0, NONE], State::ClientInit),
            _ => (&[1, NONE], State::Choice),
        };
        passed.to_technician.push(Piece::Made(Bytes::from_static(offer)));
        self.state = next;
        self.until = Some(now + PATIENCE);
    }

    /// That there will be no connection, in the form that the technician's program shows; none while that is not known or
    /// no longer awaited.
    pub(super) fn said_no(&self, why: &str) -> Option<Piece> {
        let head: &[u8] = match (self.technician?, &self.state) {
            (Version::V3_3, State::TechniciansVersion | State::Target(_)) => &[0; 4],
            (_, State::TechniciansVersion | State::Target(_)) => &[0],
            (Version::V3_8, State::Choice) => &[0, 0, 0, 1],
            _ => return None,
        };
        let mut no = BytesMut::from(head);
        no.put_u32(u32::try_from(why.len()).ok()?);
        no.put_slice(why.as_bytes());
        Some(Piece::Made(no.freeze()))
    }

    /// Who kept the other waiting.
    pub(super) fn late(&self) -> Failure {
        let late = |who| Failure::Refused(format!("{who} said nothing for {} s", PATIENCE.as_secs()));
        if matches!(self.state, State::Target(_)) { late("the target") } else { late("the program") }
    }

    /// So many bytes, once they are there. The gate is their end, so they go no further.
    fn take(&mut self, chunk: &mut Bytes, count: usize, passed: &mut Passed) -> Option<Bytes> {
        let piece = chunk.split_to(chunk.len().min(count - self.held.len()));
        let side = match self.state {
            State::Target(_) => &mut passed.to_technician,
            _ => &mut passed.to_target,
        };
        left_out(side, piece.len());
        self.held.extend_from_slice(&piece);
        (self.held.len() == count).then(|| self.held.split().freeze())
    }
}

const TURNED_AWAY: &str = "the target turned the gate away";
const NOT_LET_IN: &str =
    "the target did not let the gate in with the password that was set for it. Ask the control room";

impl Version {
    /// Versions between these were never made or are forms of 3.3 (7.1.1).
    const fn of_minor(minor: u16) -> Option<Self> {
        match minor {
            0..3 => None,
            3..7 => Some(Self::V3_3),
            7 => Some(Self::V3_7),
            8.. => Some(Self::V3_8),
        }
    }

    const fn as_bytes(self) -> &'static [u8; VERSION_BYTES] {
        match self {
            Self::V3_3 => b"RFB 003.003\n",
            Self::V3_7 => b"RFB 003.007\n",
            Self::V3_8 => b"RFB 003.008\n",
        }
    }
}

/// A server of a later version speaks earlier ones too.
fn targets_version(bytes: &[u8]) -> Result<Version, Failure> {
    match numbers(bytes) {
        Some((3, minor)) => Version::of_minor(minor),
        Some((4.., _)) => Some(Version::V3_8),
        _ => None,
    }
    .ok_or_else(|| of_target("it began with no version of RFB that is known here"))
}

fn numbers(bytes: &[u8]) -> Option<(u16, u16)> {
    let (major, minor) = bytes.strip_prefix(b"RFB ")?.strip_suffix(b"\n")?.split_at_checked(3)?;
    let number = |digits: &[u8]| {
        let is_number = digits.len() == 3 && digits.iter().all(u8::is_ascii_digit);
        is_number.then(|| digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
    };
    Some((number(major)?, number(minor.strip_prefix(b".")?)?))
}

/// After the registry of RFC 6143, 8.1, and the community's document.
fn name(security: u8) -> String {
    let name = match security {
        5 | 6 | 13 | 129 | 130 | 133 => "a RealVNC login",
        16 => "Tight",
        17 | 113 | 117 => "an UltraVNC login",
        18 => "TLS",
        19 => "VeNCrypt",
        20 => "SASL",
        30 | 33 | 35 | 36 => "an Apple login",
        _ => return format!("security type {security}"),
    };
    format!("{name} ({security})")
}

impl Awaited {
    const fn bytes(self) -> usize {
        match self {
            Self::Version => VERSION_BYTES,
            Self::Security | Self::Result | Self::ReasonLength(_) => 4,
            Self::TypesCount => 1,
            Self::Types(count) | Self::Reason(_, count) => count,
            Self::Challenge => CHALLENGE_BYTES,
        }
    }
}

/// So many bytes go no further.
pub(super) fn left_out(side: &mut Vec<Piece>, bytes: usize) {
    if bytes > 0 {
        side.push(Piece::LeftOut(bytes));
    }
}

pub(super) fn of_technician(what: &str) -> Failure {
    Failure::Malformed(format!("what the technician's program sent is not RFB: {what}"))
}

pub(super) fn of_target(what: &str) -> Failure {
    Failure::Malformed(format!("what the target sent is not RFB: {what}"))
}
