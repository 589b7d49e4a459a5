//! What a plant says of one Modbus service otherwise than the gate's own table does.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::actions::Action;

/// What holds at one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// What counts as another action than by default. A function with a sub-function goes before the whole function.
    pub functions: BTreeMap<Code, Action>,
    /// Data that nobody reaches through the gate, whatever was granted.
    pub blocked: Vec<Block>,
}

/// A function code, and for 8 and 43 which sub-function or MEI type; as text `16`, `8/1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code {
    /// The function.
    pub function: u8,
    /// What tells apart what hides behind the function.
    pub sub: Option<u16>,
}

/// Addresses of one table, zero-based as on the wire; as text `holding-registers 100-199`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Which table.
    pub table: Table,
    /// First and last.
    pub addresses: RangeInclusive<u16>,
}

/// The four tables of data that a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Bits that can be written.
    Coils,
    /// Bits that are read.
    DiscreteInputs,
    /// Registers that are read.
    InputRegisters,
    /// Registers that can be written.
    HoldingRegisters,
}

/// A text that is no function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCode {
    /// No number from 1 to 127; higher ones are negative answers.
    #[error(
        "not a function code: write 1 to 127, and for 8 and 43 what stands behind it if need be, for example \"8/1\""
    )]
    Function,
    /// Nothing is told apart behind it.
    #[error("function {0} has nothing behind a '/': write \"{0}\"")]
    Whole(u8),
}

/// A text that is no block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBlock {
    /// The table is none, or nothing stands behind it.
    #[error(
        "not a table and its addresses: write coils, discrete-inputs, input-registers or holding-registers, and first and \
         last address on the wire, for example \"holding-registers 100-199\""
    )]
    Table,
    /// The addresses are none.
    #[error(
        "not addresses from 0 to 65535, the smaller first: write for example \"holding-registers 100-199\" or \"coils 7\""
    )]
    Addresses,
}

impl Code {
    /// Whether a function has sub-functions that are told apart.
    pub const fn has_parts(function: u8) -> bool {
        matches!(function, 8 | 43)
    }
}

impl FromStr for Code {
    type Err = BadCode;
    fn from_str(text: &str) -> Result<Self, BadCode> {
        let (function, sub) = text.split_once('/').map_or((text, None), |(function, sub)| (function, Some(sub)));
        let function =
            function.parse().ok().filter(|function| (1..=127).contains(function)).ok_or(BadCode::Function)?;
        match sub {
            Some(_) if !Self::has_parts(function) => Err(BadCode::Whole(function)),
            Some(sub) => Ok(Self { function, sub: Some(sub.parse().map_err(|_| BadCode::Function)?) }),
            None => Ok(Self { function, sub: None }),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sub {
            Some(sub) => write!(f, "{}/{sub}", self.function),
            None => write!(f, "{}", self.function),
        }
    }
}

impl FromStr for Block {
    type Err = BadBlock;
    fn from_str(text: &str) -> Result<Self, BadBlock> {
        let (table, addresses) = text.split_once(' ').ok_or(BadBlock::Table)?;
        let table = match table {
            "coils" => Table::Coils,
            "discrete-inputs" => Table::DiscreteInputs,
            "input-registers" => Table::InputRegisters,
            "holding-registers" => Table::HoldingRegisters,
            _ => return Err(BadBlock::Table),
        };
        let (first, last) = addresses.split_once('-').unwrap_or((addresses, addresses));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self { table, addresses: first..=last }),
            _ => Err(BadBlock::Addresses),
        }
    }
}
