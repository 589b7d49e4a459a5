//! What the user name of an SSH login says: who comes, and where to. Whether there is such a person or target is not
//! known here.

use approver::people::NAME_CHARS_MAX;
use policies::ids::{ServiceName, TargetName};
use policies::offers::Offer;

/// As whom and where to somebody connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// `enrol`: has a one-use code.
    Enrolling,
    /// `NAME`: to the lobby, or through it by `-J`.
    Visitor(String),
    /// `NAME+TARGET` or `NAME+TARGET+SERVICE`.
    BoundFor(String, Place),
}

/// A target, and its service where it was named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) target: TargetName,
    pub(super) service: Option<ServiceName>,
}

impl Caller {
    /// Reads a user name. `None` where it is none: nothing of it is ever shown.
    pub(super) fn parse(user: &str) -> Option<Self> {
        let mut parts = user.split('+');
        let name = parts.next().filter(|name| is_name(name))?;
        let Some(place) = parts.next() else {
            return Some(if is_enrol(name) { Self::Enrolling } else { Self::Visitor(name.to_owned()) });
        };
        let service = parts.next().map(str::parse).transpose().ok()?;
        if parts.next().is_some() || is_enrol(name) {
            return None;
        }
        Some(Self::BoundFor(name.to_owned(), Place { target: place.parse().ok()?, service }))
    }

    /// The person's name.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Enrolling => None,
            Self::Visitor(name) | Self::BoundFor(name, _) => Some(name),
        }
    }

    /// Where to.
    pub(super) const fn place(&self) -> Option<&Place> {
        match self {
            Self::BoundFor(_, place) => Some(place),
            Self::Enrolling | Self::Visitor(_) => None,
        }
    }
}

impl Place {
    /// Where something may be asked for.
    pub(super) fn of(offer: &Offer) -> Self {
        Self { target: offer.target.clone(), service: Some(offer.service.clone()) }
    }

    /// As it is typed behind a name: `hmi-2` or `hmi-2+ssh`.
    pub(super) fn typed(&self) -> String {
        match &self.service {
            Some(service) => format!("{}+{service}", self.target),
            None => self.target.to_string(),
        }
    }

    /// As it stands in a forwarding.
    pub(super) fn forwarded(&self) -> String {
        match &self.service {
            Some(service) => format!("{service}.{}", self.target),
            None => self.target.to_string(),
        }
    }
}

fn is_enrol(name: &str) -> bool {
    name.eq_ignore_ascii_case("enrol")
}

/// The names that [`People`](approver::people::People) gives out.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.chars().next().is_some_and(char::is_alphabetic)
        && name.chars().all(fits)
        && name.chars().count() <= NAME_CHARS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(target: &str, service: Option<&str>) -> Option<Caller> {
        let service = service.map(|service| service.parse().unwrap());
        Some(Caller::BoundFor("tess".into(), Place { target: target.parse().unwrap(), service }))
    }

    #[test]
    fn a_user_name_says_who_and_where_to() {
        assert_eq!(Caller::parse("tess"), Some(Caller::Visitor("tess".into())));
        assert_eq!(Caller::parse("tess+hmi-2"), bound("hmi-2", None));
        assert_eq!(Caller::parse("tess+hmi-2+ssh"), bound("hmi-2", Some("ssh")));
        assert_eq!(Caller::parse("Enrol"), Some(Caller::Enrolling));
    }

    #[test]
    fn what_is_not_exactly_a_user_name_is_none() {
        let long = "t".repeat(NAME_CHARS_MAX + 1);
        for text in [
            "",
            "+",
            "+hmi-2",
            "tess+",
            "tess+hmi-2+",
            "tess+hmi-2+ssh+x",
            "tess+HMI",
            "te\x1bss",
            "tess\n",
            "enrol+hmi-2",
            "9",
            &long,
        ] {
            assert_eq!(Caller::parse(text), None, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic_and_what_passes_holds_no_control_character(text: String) {
            if Caller::parse(&text).is_some() {
                proptest::prop_assert!(!text.chars().any(char::is_control));
            }
        }
    }
}
