//! `holdpoint export`: a recording in a form that other programs read, on the machine where the auditor's key is.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use recordings::cast::{CastFault, CastOptions, CastVersion, write_cast};
use recordings::keys::SessionKeys;
use recordings::read::{Recording, Store};
use recordings::table::{TableFault, TableForm, write_operations};
use recordings::wire::{Side, Survey, WireFault, WireOptions, write_pcapng};

use super::reading::Which;
use super::showing::counted;
use super::{Done, Failure};

/// Write a recording in a form that other programs read: a terminal as an asciicast, TCP connections as packets or as a list
/// of operations.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// The form.
    #[arg(long = "as", value_enum, default_value_t = Form::Cast)]
    form: Form,
    /// Of a cast: what was typed goes in too; passwords are masked as far as they can be told.
    #[arg(long)]
    input: bool,
    /// Of packets: whose side of the gate; the technician's has what the gate answered in the target's stead.
    #[arg(long, value_enum, value_name = "SIDE")]
    side: Option<OneSide>,
    /// The file; it must not exist yet.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// asciicast v3.
    Cast,
    /// asciicast v2, for older players.
    CastV2,
    /// What a protocol gate read, passed and refused, as CSV for spreadsheets.
    Operations,
    /// The same as JSON lines.
    OperationsJson,
    /// The bytes of TCP connections as packets, for Wireshark; the packets are made up around them.
    Pcapng,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OneSide {
    /// What the technician sent and was sent.
    Technician,
    /// What reached the target, and what it sent.
    Target,
}

pub(super) fn run(args: &Args) -> Done {
    args.suits_its_form()?;
    let local = args.which.local()?;
    let (store, recording, keys) = args.which.open(&local)?;
    let cannot = |cause: io::Error| Failure::failed(format_args!("{}: {cause}", args.output.display()));
    let mut out = BufWriter::new(File::create_new(&args.output).map_err(cannot)?);
    let written = args.write(&mut out, &store, &recording, keys);
    let written = written.and_then(|written| {
        out.into_inner().map_err(|error| cannot(error.into_error()))?.sync_all().map_err(cannot)?;
        Ok(written)
    });
    if written.is_err() {
        // Half a file would be taken for a whole one.
        std::fs::remove_file(&args.output).map_err(cannot)?;
    }
    say!("{}: {}", args.output.display(), written?);
    Ok(())
}

impl Args {
    fn suits_its_form(&self) -> Done {
        if self.input && !matches!(self.form, Form::Cast | Form::CastV2) {
            return Err(Failure::usage("--input is for a cast: operations and packets have what was sent anyway"));
        }
        if self.side.is_some() && self.form != Form::Pcapng {
            return Err(Failure::usage("--side is for packets: add --as pcapng"));
        }
        Ok(())
    }

    /// Gives what was written, in words.
    fn write(
        &self,
        out: &mut dyn Write,
        store: &Store,
        recording: &Recording,
        keys: SessionKeys,
    ) -> Result<String, Failure> {
        match self.form {
            Form::Cast => self.cast(out, store, recording, keys, CastVersion::V3),
            Form::CastV2 => self.cast(out, store, recording, keys, CastVersion::V2),
            Form::Operations => self.operations(out, store, recording, keys, TableForm::Csv),
            Form::OperationsJson => self.operations(out, store, recording, keys, TableForm::JsonLines),
            Form::Pcapng => self.packets(out, store, recording, keys),
        }
    }

    fn cast(
        &self,
        out: &mut dyn Write,
        store: &Store,
        recording: &Recording,
        keys: SessionKeys,
        version: CastVersion,
    ) -> Result<String, Failure> {
        let ending = recording.sealed.as_ref().map_or("no ending", |sealed| sealed.ending.as_str());
        let title = Some(format!("{}: {ending}", recording.id()));
        let options = CastOptions { version, input: self.input, channel: self.which.channel, title };
        let cast =
            write_cast(out, recording, store.moments(recording, keys), &options).map_err(|fault| match fault {
                CastFault::NoTerminal => Failure::refused(fault),
                fault => Failure::failed(fault),
            })?;
        Ok(format!("{} events of channel {}", cast.events, cast.channel))
    }

    fn operations(
        &self,
        out: &mut dyn Write,
        store: &Store,
        recording: &Recording,
        keys: SessionKeys,
        form: TableForm,
    ) -> Result<String, Failure> {
        let moments = store.moments(recording, keys);
        let lines = write_operations(out, moments, form, self.which.channel).map_err(|fault| match fault {
            TableFault::NoOperation => Failure::refused(fault),
            fault => Failure::failed(fault),
        })?;
        Ok(format!("{lines} operations, readable by whoever has the file"))
    }

    fn packets(
        &self,
        out: &mut dyn Write,
        store: &Store,
        recording: &Recording,
        keys: SessionKeys,
    ) -> Result<String, Failure> {
        let (mut survey, mut moments) = (Survey::default(), store.moments(recording, keys));
        for moment in moments.by_ref() {
            survey.take(&moment.map_err(Failure::failed)?);
        }
        let side = match self.side {
            Some(OneSide::Target) => Side::Target,
            Some(OneSide::Technician) | None => Side::Technician,
        };
        let options = WireOptions { side, channel: self.which.channel };
        let (moments, program) = (store.moments(recording, moments.into_keys()), PROGRAM);
        let written =
            write_pcapng(out, recording, moments, &survey, &options, program).map_err(|fault| match fault {
                WireFault::NoConnection | WireFault::NotKnown(_) => Failure::refused(fault),
                fault => Failure::failed(fault),
            })?;
        let connections = counted(usize::try_from(written.connections).unwrap_or(usize::MAX), "connection");
        let rough = if written.is_rough { ROUGH } else { "" };
        Ok(format!("{connections}, {} bytes of {side}; packets are made up around them{rough}", written.bytes))
    }
}

const PROGRAM: &str = concat!("holdpoint ", env!("CARGO_PKG_VERSION"));

const ROUGH: &str = ". The gate's own answers stand where they were recorded, which may be within what the target sent";
