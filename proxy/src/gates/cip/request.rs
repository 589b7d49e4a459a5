//! What one CIP message asks: after the class of the object and the service together, because services from 4b on mean
//! different things on different classes. Several in one, and one sent through another, are unwrapped to a bounded depth.

use policies::actions::Action;

use super::frame::word;
use super::values;
use crate::gates::told::{Told, Verb, counted, plain};

/// How deep a message may be wrapped and is still read.
const DEPTH_MAX: usize = 4;

/// How many services of one message are told.
const PARTS_MAX: usize = 32;

/// One service asked of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The action it counts as; none where nobody knows.
    pub class: Option<Action>,
    /// Class and service in hexadecimal digits, such as `06/54`; `tag/4d` for a tag.
    pub code: String,
    pub(in crate::gates) told: Told,
}

/// Reads a message; gives each service asked in it, in order.
pub fn classify(message: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    unwrap(message, 0, &mut requests);
    requests
}

fn unwrap(message: &[u8], depth: usize, requests: &mut Vec<Request>) {
    if requests.len() >= PARTS_MAX {
        return;
    }
    let Some((service, path, data)) = parts(message) else {
        return requests.push(unknown("message", "a message whose path does not fit it".to_owned()));
    };
    if depth >= DEPTH_MAX {
        return requests.push(unknown("message", format!("a message wrapped more than {DEPTH_MAX} times")));
    }
    let inside = match (path.class, service) {
        (Some(0x02), 0x0a) => several(data),
        (Some(0x06), 0x52) => sent_on(data).map(|message| vec![message]),
        _ => return requests.push(request(service, &path, data)),
    };
    match inside {
        Some(messages) => messages.into_iter().for_each(|message| unwrap(message, depth + 1, requests)),
        None => {
            requests.push(unknown(&path.code(service), "a message with others in it that do not fit it".to_owned()));
        }
    }
}

fn unknown(code: &str, what: String) -> Request {
    Request { class: None, code: code.to_owned(), told: Told::of(Verb::SEND, what) }
}

/// Service, path and data of a request.
fn parts(message: &[u8]) -> Option<(u8, Path, &[u8])> {
    let [service, words, rest @ ..] = message else { return None };
    let (path, data) = rest.split_at_checked(2 * usize::from(*words))?;
    Some((*service, Path::parse(path)?, data))
}

/// The messages of a Multiple Service Packet: how many, where each begins counted from here, then they themselves.
pub(super) fn several(data: &[u8]) -> Option<Vec<&[u8]>> {
    let (count, offsets) = data.split_at_checked(2)?;
    let offsets: Vec<usize> =
        offsets.get(..2 * usize::from(word(count)))?.chunks_exact(2).map(|at| usize::from(word(at))).collect();
    let ends = offsets.iter().skip(1).copied().chain([data.len()]);
    offsets.iter().zip(ends).map(|(from, to)| data.get(*from..to)).collect()
}

/// The message in an Unconnected Send: behind priority and timeout its length.
fn sent_on(data: &[u8]) -> Option<&[u8]> {
    let length = data.get(2..4).map(word)?;
    data.get(4..4 + usize::from(length))
}

/// What a request is about.
#[derive(Debug, Default, PartialEq, Eq)]
struct Path {
    /// A tag with its members and elements.
    tag: String,
    class: Option<u32>,
    instance: Option<u32>,
    attribute: Option<u32>,
}

impl Path {
    fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut path = Self::default();
        while let Some((segment, rest)) = bytes.split_first() {
            bytes = match segment {
                0x20..=0x33 => path.logical(*segment, rest)?,
                0x91 => path.symbol(rest)?,
                // An electronic key: its format, then eight bytes.
                0x34 => rest.get(9..)?,
                // A port and an address on it.
                0x01..=0x0f => rest.get(1..)?,
                _ => return None,
            };
        }
        Some(path)
    }

    /// Its lower two bits say how long the number is, the upper what it numbers.
    fn logical<'a>(&mut self, segment: u8, rest: &'a [u8]) -> Option<&'a [u8]> {
        let (number, behind) = match segment & 0x03 {
            0 => (u32::from(*rest.first()?), rest.get(1..)?),
            1 => (u32::from(word(rest.get(1..3)?)), rest.get(3..)?),
            2 => (u32::from_le_bytes(rest.get(1..5)?.try_into().ok()?), rest.get(5..)?),
            _ => return None,
        };
        match segment & 0xfc {
            0x20 => self.class = Some(number),
            0x24 => self.instance = Some(number),
            0x28 if self.tag.is_empty() => {}
            0x28 => self.tag.push_str(&format!("[{number}]")),
            0x30 => self.attribute = Some(number),
            _ => {}
        }
        Some(behind)
    }

    fn symbol<'a>(&mut self, rest: &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = rest.split_first()?;
        let length = usize::from(*length);
        if !self.tag.is_empty() {
            self.tag.push('.');
        }
        self.tag.push_str(&plain(rest.get(..length)?));
        rest.get(length + length % 2..)
    }

    fn code(&self, service: u8) -> String {
        match self.class {
            None => format!("tag/{service:02x}"),
            Some(class) => format!("{class:02x}/{service:02x}"),
        }
    }

    fn object(&self) -> String {
        let Some(class) = self.class.filter(|_| self.tag.is_empty()) else { return self.tag.clone() };
        let instance = self.instance.map_or_else(String::new, |instance| format!(" {instance}"));
        let object = format!("{}{instance}", class_name(class));
        match self.attribute {
            Some(attribute) => format!("attribute {attribute} of {object}"),
            None => object,
        }
    }
}

fn request(service: u8, path: &Path, data: &[u8]) -> Request {
    let is_data = path.class.is_none() || path.class == Some(0x6b);
    let (class, told) = match (path.class, service) {
        (Some(0x06), _) => connection_manager(service, data),
        (_, 0x4c | 0x4d | 0x4e | 0x52 | 0x53) if is_data => tag_data(service, path, data),
        (Some(0x67), 0x4b) => {
            let what = format!("a PCCC command of {}, which is not read", counted(data.len(), "byte"));
            (Some(Action::Operate), Told::of(Verb::SEND, what))
        }
        (Some(0x6b), 0x55) => (Some(Action::Observe), Told::of(Verb::READ, "the list of tags".to_owned())),
        (Some(0x6c), 0x4c) => {
            (Some(Action::Observe), Told::of(Verb::READ, format!("the structure of {}", path.object())))
        }
        _ => common(service, path, data),
    };
    Request { class, code: path.code(service), told }
}

/// A connection for messages is how a tool goes online; one for I/O may take hold of outputs.
fn connection_manager(service: u8, data: &[u8]) -> (Option<Action>, Told) {
    let open = |transport: Option<&u8>| {
        if transport.is_some_and(|transport| transport & 0x0f == 3) {
            (Some(Action::Observe), Told::of(Verb::new("open", "opened"), "a connection for messages".to_owned()))
        } else {
            (Some(Action::Operate), Told::of(Verb::new("open", "opened"), "a connection for I/O".to_owned()))
        }
    };
    match service {
        0x54 => open(data.get(34)),
        0x5b => open(data.get(38)),
        0x4e => (Some(Action::Observe), Told::of(Verb::new("close", "closed"), "a connection".to_owned())),
        0x01 | 0x0e => (Some(Action::Observe), Told::of(Verb::READ, "the Connection Manager".to_owned())),
        _ => (None, Told::of(Verb::USE, format!("unknown service {service:02x} of the Connection Manager"))),
    }
}

fn tag_data(service: u8, path: &Path, data: &[u8]) -> (Option<Action>, Told) {
    let object = path.object();
    let count = |at: usize| data.get(at..at + 2).map_or(0, |count| usize::from(word(count)));
    if matches!(service, 0x4c | 0x52) {
        let rest = format!("{} of {object}", counted(count(0), "element"));
        return (Some(Action::Observe), Told { verb: Verb::READ, rest, object: Some(object), value: None });
    }
    let told = match service {
        0x4e => {
            let verb = Verb::new("mask", "masked");
            Told { verb, rest: format!("bits of {object}"), object: Some(object), value: None }
        }
        _ => {
            let head = if service == 0x53 { 8 } else { 4 };
            match values::shown(data, head) {
                Some((kind, value)) => {
                    let told = Told::write(value, object);
                    Told { rest: format!("{} ({kind})", told.rest), ..told }
                }
                None => {
                    let rest = format!("{} to {object}", counted(count(2), "element"));
                    Told { verb: Verb::WRITE, rest, object: Some(object), value: None }
                }
            }
        }
    };
    (Some(Action::Operate), told)
}

/// Services that mean the same on every class (*The CIP Networks Library*, volume 1, appendix A).
fn common(service: u8, path: &Path, data: &[u8]) -> (Option<Action>, Told) {
    let object = path.object();
    let told =
        |verb, what: &str| Told { verb, rest: format!("{what}{object}"), object: Some(object.clone()), value: None };
    match service {
        0x01 | 0x03 => (Some(Action::Observe), told(Verb::READ, "attributes of ")),
        0x0e | 0x18 => (Some(Action::Observe), told(Verb::READ, "")),
        0x11 => (Some(Action::Observe), told(Verb::READ, "the next instance of ")),
        0x10 => (Some(Action::Operate), Told::write(values::bytes(data), object)),
        0x02 | 0x04 => (Some(Action::Operate), told(Verb::WRITE, "attributes of ")),
        0x0d => (Some(Action::Operate), told(Verb::new("apply", "applied"), "attributes of ")),
        0x19..=0x1b => (Some(Action::Operate), told(Verb::WRITE, "a member of ")),
        0x08 => (Some(Action::Program), told(Verb::new("create", "created"), "an instance of ")),
        0x09 => (Some(Action::Program), told(Verb::new("delete", "deleted"), "")),
        0x15 => (Some(Action::Program), told(Verb::new("restore", "restored"), "")),
        0x16 => (Some(Action::Program), told(Verb::new("save", "saved"), "")),
        0x05 => (Some(Action::Control), told(Verb::new("reset", "reset"), "")),
        0x06 => (Some(Action::Control), told(Verb::new("start", "started"), "")),
        0x07 => (Some(Action::Control), told(Verb::new("stop", "stopped"), "")),
        _ => (None, told(Verb::USE, &format!("unknown service {service:02x} of "))),
    }
}

fn class_name(class: u32) -> String {
    let name = match class {
        0x01 => "Identity",
        0x02 => "Message Router",
        0x04 => "Assembly",
        0x05 => "Connection",
        0x06 => "Connection Manager",
        0x0f => "Parameter",
        0x37 => "File",
        0x67 => "PCCC",
        0x6b => "Symbol",
        0x6c => "Template",
        0xf4 => "Port",
        0xf5 => "TCP/IP Interface",
        0xf6 => "Ethernet Link",
        _ => return format!("class {class:02x}"),
    };
    name.to_owned()
}
