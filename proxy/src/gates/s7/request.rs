//! What one message asks: its class, after `docs/GATES.md`, and its words. Pure, so that a dry run over a recording says the
//! same as the gate did.

use bytes::Bytes;
use policies::actions::Action;

use super::items;
use super::packets::{Message, Tpdu};
use super::pdu::{Kind, Pdu, Reason, Userdata, disconnect, refusal};
use crate::gates::Need;
use crate::gates::told::{Told, Verb, plain};

/// One message that asks something of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it takes to pass.
    pub need: Need,
    /// Function or group and sub-function, in hexadecimal digits, such as `05`, `28 P_PROGRAM` or `07 4/01`.
    pub code: String,
    /// Its items do not fill it, so that nobody could say what the target would do.
    pub is_misshapen: bool,
    pub(in crate::gates) told: Told,
}

/// What a message of the technician's program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Classified {
    /// It asks something.
    Request(Request),
    /// An answer to something that the target asked, in a download.
    Answer,
    /// It says goodbye.
    Goodbye,
    /// S7comm-plus, which nobody can read and no answer can be made to.
    Plus,
    /// Another protocol that shares the port, such as MMS.
    Foreign,
}

/// Reads a message of the technician's program.
///
/// # Errors
/// Why it cannot be read.
pub fn classify(message: &Message) -> Result<Classified, String> {
    Ok(match &message.tpdu {
        Tpdu::Connect(rest) => Classified::Request(connect(rest)),
        Tpdu::Disconnect => Classified::Goodbye,
        Tpdu::Confirm | Tpdu::Error => return Err("a TPDU that only a target sends".to_owned()),
        Tpdu::Data(data) => match data.first() {
            Some(0x32) => match Pdu::parse(data)? {
                pdu if matches!(pdu.kind, Kind::Ack(..)) => Classified::Answer,
                pdu => Classified::Request(pdu_request(&pdu)),
            },
            Some(0x72) => Classified::Plus,
            Some(_) => Classified::Foreign,
            None => return Err("a message without data".to_owned()),
        },
    })
}

/// The negative answer to a message that asks something.
pub fn refuse(message: &Message) -> Option<Bytes> {
    match &message.tpdu {
        Tpdu::Connect(rest) => Some(disconnect(source(rest), Reason::NotSpecified)),
        Tpdu::Data(data) => {
            Pdu::parse(data).ok().filter(|pdu| !matches!(pdu.kind, Kind::Ack(..))).map(|pdu| refusal(&pdu))
        }
        _ => None,
    }
}

/// The reference that a connection request's asker gave itself.
pub(super) fn source(connect: &[u8]) -> u16 {
    u16::from_be_bytes([connect[2], connect[3]])
}

/// The TSAP shows as what a program comes, which is a hint and no permission.
fn connect(rest: &[u8]) -> Request {
    let called = called_tsap(rest.get(5..).unwrap_or_default());
    let object = match called {
        Some([kind, place]) => {
            let kind = match kind {
                1 => "programming device".to_owned(),
                2 => "operator panel".to_owned(),
                3 => "basic partner".to_owned(),
                other => format!("kind {other:02x}"),
            };
            format!("as {kind}, to rack {}, slot {}", place >> 5, place & 0x1f)
        }
        None => "to an unnamed place".to_owned(),
    };
    request(Need::one(Action::Observe), "CR".to_owned(), Told::of(Verb::new("connect", "connected"), object))
}

fn called_tsap(mut options: &[u8]) -> Option<[u8; 2]> {
    while let [code, length, rest @ ..] = options {
        let (value, behind) = rest.split_at_checked(usize::from(*length))?;
        if *code == 0xc2 {
            return value.try_into().ok();
        }
        options = behind;
    }
    None
}

fn request(need: Need, code: String, told: Told) -> Request {
    Request { need, code, is_misshapen: false, told }
}

fn pdu_request(pdu: &Pdu) -> Request {
    match (pdu.kind, pdu.userdata(), pdu.function()) {
        (Kind::Userdata, Some(userdata), _) => userdata_request(pdu, userdata),
        (Kind::Userdata, None, _) => {
            request(Need::Unknown, "07".to_owned(), Told::of(Verb::SEND, "userdata that is not known".to_owned()))
        }
        (_, _, Some(function)) => job_request(pdu, function),
        (_, _, None) => {
            request(Need::Unknown, "01".to_owned(), Told::of(Verb::SEND, "a job without a function".to_owned()))
        }
    }
}

fn job_request(pdu: &Pdu, function: u8) -> Request {
    let one =
        |action, verb, object: String| request(Need::one(action), format!("{function:02x}"), Told::of(verb, object));
    let start = Verb::new("start", "started");
    match function {
        0xf0 => {
            let size = pdu.parameters.get(6..8).map_or(0, |size| u16::from_be_bytes([size[0], size[1]]));
            one(Action::Observe, Verb::new("agree on", "agreed on"), format!("messages of at most {size} bytes"))
        }
        0x04 => variables(pdu, Action::Observe, "04"),
        0x05 => variables(pdu, Action::Operate, "05"),
        0x1d => one(Action::Upload, start, format!("the upload of {}", block(pdu))),
        0x1e => one(Action::Upload, Verb::new("go on with", "went on with"), "the upload".to_owned()),
        0x1f => one(Action::Upload, Verb::new("end", "ended"), "the upload".to_owned()),
        0x1a => one(Action::Program, Verb::new("request", "requested"), format!("the download of {}", block(pdu))),
        0x1b => one(Action::Program, Verb::new("download", "downloaded"), block(pdu)),
        0x1c => one(Action::Program, Verb::new("end", "ended"), format!("the download of {}", block(pdu))),
        0x28 => service(pdu),
        0x29 => one(Action::Control, Verb::new("stop", "stopped"), "the CPU".to_owned()),
        _ => {
            let object = format!("unknown function {function:02x}");
            request(Need::Unknown, format!("{function:02x}"), Told::of(Verb::USE, object))
        }
    }
}

fn variables(pdu: &Pdu, action: Action, code: &str) -> Request {
    let told = items::told(pdu);
    let is_misshapen = told.is_none();
    let misshapen = || Told::of(Verb::SEND, format!("a job of function {code} whose parts do not fit each other"));
    Request { is_misshapen, ..request(Need::one(action), code.to_owned(), told.unwrap_or_else(misshapen)) }
}

/// The block that a job about blocks names: behind function, status, two unused bytes and a session of four, as text after
/// its length.
fn block(pdu: &Pdu) -> String {
    let name = pdu.parameters.get(8).and_then(|length| pdu.parameters.get(9..9 + usize::from(*length)));
    match name.map(plain) {
        Some(name) => block_name(name.strip_prefix('_').unwrap_or(&name)),
        None => "a block without a name".to_owned(),
    }
}

/// `DB1` of `0A00001P`: kind, number, and whether the passive or the active copy is meant.
fn block_name(name: &str) -> String {
    let Some((kind, rest)) = name.split_at_checked(2) else { return name.to_owned() };
    let kind = match kind {
        "08" => "OB",
        "0A" => "DB",
        "0B" => "SDB",
        "0C" => "FC",
        "0D" => "SFC",
        "0E" => "FB",
        "0F" => "SFB",
        _ => return name.to_owned(),
    };
    match rest.get(..5).and_then(|digits| digits.parse::<u32>().ok()) {
        Some(number) => format!("{kind}{number}"),
        None => name.to_owned(),
    }
}

/// A PI service: behind function and seven fixed bytes its argument after two bytes of length, and its name after one.
fn service(pdu: &Pdu) -> Request {
    let Some((argument, name)) = service_parts(&pdu.parameters) else {
        let object = "a PI service whose name does not fit its message".to_owned();
        return request(Need::Unknown, "28".to_owned(), Told::of(Verb::SEND, object));
    };
    let code = format!("28 {}", plain(name));
    let named = |action, verb, object: String| {
        let object = format!("{object} (PI service {})", plain(name));
        request(Need::one(action), code.clone(), Told::of(verb, object))
    };
    match name {
        b"P_PROGRAM" => {
            let cold = if argument.starts_with(b"C") { "the CPU cold" } else { "the CPU" };
            named(Action::Control, Verb::new("start", "started"), cold.to_owned())
        }
        b"_INSE" | b"_INS2" => named(Action::Program, Verb::new("activate", "activated"), blocks(argument)),
        b"_DELE" => named(Action::Program, Verb::new("delete", "deleted"), blocks(argument)),
        b"_MODU" => named(Action::Program, Verb::new("copy", "copied"), "RAM to ROM".to_owned()),
        b"_GARB" => named(Action::Program, Verb::new("compress", "compressed"), "the memory".to_owned()),
        _ => {
            let object = format!("unknown PI service {}", plain(name));
            request(Need::Unknown, code, Told::of(Verb::USE, object))
        }
    }
}

fn service_parts(parameters: &[u8]) -> Option<(&[u8], &[u8])> {
    let [high, low, rest @ ..] = parameters.get(8..)? else { return None };
    let (argument, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
    let (length, name) = rest.split_first()?;
    (name.len() == usize::from(*length)).then_some((argument, name))
}

/// How many blocks, one unused byte, then eight characters for each.
fn blocks(argument: &[u8]) -> String {
    let names: Vec<String> =
        argument.get(2..).unwrap_or_default().chunks(8).map(|name| block_name(&plain(name))).collect();
    if names.is_empty() { "no block".to_owned() } else { crate::gates::told::first_of(names.into_iter()) }
}

fn userdata_request(pdu: &Pdu, userdata: Userdata) -> Request {
    let Userdata { direction, group, subfunction, .. } = userdata;
    let code = format!("07 {group:x}/{subfunction:02x}");
    let need = match direction {
        4 => userdata_need(group, subfunction),
        // What a partner tells unasked: a change of mode, or a block of data.
        0 if matches!(group, 0x0 | 0x6) => userdata_need(group, subfunction),
        _ => Need::Unknown,
    };
    let told = match (group, subfunction) {
        _ if need == Need::Unknown => Told::of(Verb::SEND, format!("unknown userdata {group:x}/{subfunction:02x}")),
        (0x4, 0x01) => Told::of(Verb::READ, szl(&pdu.data)),
        _ => {
            let (verb, object) = userdata_name(group, subfunction);
            Told::of(verb, object.to_owned())
        }
    };
    request(need, code, told)
}

fn userdata_need(group: u8, subfunction: u8) -> Need {
    Need::one(match (group, subfunction) {
        (0x0, _) => Action::Control,
        (0x1, 0x01..=0x06 | 0x10 | 0x11 | 0x13) => Action::Observe,
        (0x1, 0x08 | 0x0d | 0x0e | 0x0f | 0x12 | 0x16) => Action::Operate,
        (0x1, 0x07 | 0x09 | 0x0a | 0x0b | 0x0c) => Action::Control,
        (0x2, 0x01 | 0x04 | 0x05 | 0x07 | 0x08) | (0x3, 0x01..=0x03) => Action::Observe,
        (0x4, 0x01 | 0x02 | 0x0d) => Action::Observe,
        (0x4, 0x06 | 0x07 | 0x0e) => Action::Operate,
        (0x5, 0x01) => return Need::MoreThanObserve,
        (0x6, _) => Action::Operate,
        (0x7, 0x01 | 0x03) => Action::Observe,
        (0x7, 0x02 | 0x04) => Action::Control,
        (0xf, _) => Action::Program,
        _ => return Need::Unknown,
    })
}

fn userdata_name(group: u8, subfunction: u8) -> (Verb, &'static str) {
    match (group, subfunction) {
        (0x0, 0x00) => (Verb::new("change", "changed"), "the mode to STOP"),
        (0x0, 0x01) => (Verb::new("change", "changed"), "the mode to warm restart"),
        (0x0, 0x02) => (Verb::new("change", "changed"), "the mode to RUN"),
        (0x0, 0x03) => (Verb::new("change", "changed"), "the mode to hot restart"),
        (0x0, 0x04) => (Verb::new("change", "changed"), "the mode to HOLD"),
        (0x0, 0x06) => (Verb::new("change", "changed"), "the mode to cold restart"),
        (0x0, _) => (Verb::new("change", "changed"), "the mode"),
        (0x1, 0x01 | 0x13) => (Verb::READ, "the status of a block"),
        (0x1, 0x02) => (Verb::READ, "the status of variables"),
        (0x1, 0x03..=0x05) => (Verb::READ, "a stack"),
        (0x1, 0x06) => (Verb::READ, "a time measurement"),
        (0x1, 0x07) => (Verb::new("select", "selected"), "variables to force"),
        (0x1, 0x08) => (Verb::new("modify", "modified"), "variables"),
        (0x1, 0x09) => (Verb::new("force", "forced"), "variables"),
        (0x1, 0x0a) => (Verb::new("set", "set"), "a breakpoint"),
        (0x1, 0x0b) => (Verb::new("leave", "left"), "HOLD"),
        (0x1, 0x0c) => (Verb::new("reset", "reset"), "the memory"),
        (0x1, 0x0d) => (Verb::new("disable", "disabled"), "a job"),
        (0x1, 0x0e) => (Verb::new("enable", "enabled"), "a job"),
        (0x1, 0x0f) => (Verb::new("delete", "deleted"), "a job"),
        (0x1, 0x10) => (Verb::READ, "the list of jobs"),
        (0x1, 0x11) => (Verb::READ, "a job"),
        (0x1, 0x12) => (Verb::new("replace", "replaced"), "a job"),
        (0x1, 0x16) => (Verb::new("flash", "flashed"), "an LED"),
        (0x2, 0x04) => (Verb::new("end", "ended"), "cyclic reading"),
        (0x2, _) => (Verb::new("begin", "began"), "cyclic reading"),
        (0x3, 0x01) => (Verb::READ, "how many blocks there are"),
        (0x3, 0x02) => (Verb::READ, "which blocks of a type there are"),
        (0x3, 0x03) => (Verb::READ, "what a block is"),
        (0x4, 0x02) => (Verb::new("subscribe to", "subscribed to"), "messages"),
        (0x4, 0x06) => (Verb::new("lock", "locked"), "alarms"),
        (0x4, 0x07) => (Verb::new("unlock", "unlocked"), "alarms"),
        (0x4, 0x0d) => (Verb::READ, "alarms"),
        (0x4, 0x0e) => (Verb::new("acknowledge", "acknowledged"), "alarms"),
        (0x5, _) => (Verb::SEND, "a password (masked)"),
        (0x6, _) => (Verb::SEND, "a block of data (BSEND)"),
        (0x7, 0x02 | 0x04) => (Verb::new("set", "set"), "the clock"),
        (0x7, _) => (Verb::READ, "the clock"),
        (0xf, _) => (Verb::USE, "NC programming"),
        _ => (Verb::SEND, "userdata"),
    }
}

/// A system status list: after return code, kind and length its number and index.
fn szl(data: &[u8]) -> String {
    let [_, _, _, _, id_high, id_low, index_high, index_low, ..] = *data else {
        return "the next part of a status list".to_owned();
    };
    let (id, index) = (u16::from_be_bytes([id_high, id_low]), u16::from_be_bytes([index_high, index_low]));
    let name = match id_low {
        0x00 => " (all lists)",
        0x11 => " (module identification)",
        0x12 => " (CPU characteristics)",
        0x13 => " (memory areas)",
        0x14 => " (system areas)",
        0x15 => " (block types)",
        0x19 | 0x74 => " (LEDs)",
        0x1c => " (component identification)",
        0x22 => " (interrupts)",
        0x24 => " (modes)",
        0x31 | 0x32 => " (communication)",
        0x37 => " (Ethernet)",
        0x91 | 0x92 | 0x94 | 0x96 => " (modules)",
        0xa0 => " (diagnostic buffer)",
        0xb1..=0xb4 => " (diagnosis of a module)",
        _ => "",
    };
    format!("status list {id:04x}{name}, index {index:04x}")
}
