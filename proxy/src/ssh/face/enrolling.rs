//! `ssh enrol@gate`, after the one-use code was taken: shows the second factor once, as a QR code and as text, asks for
//! a first code so that nobody leaves with an app that does not work, and says what comes next.

use std::sync::Arc;

use approver::people::{Enrolled, People};
use certs::proof::{Face as Side, VerifiedKey};
use russh::ChannelWriteHalf;
use russh::server::{Handle, Msg};

use super::console::Console;
use super::orders;
use crate::flow::Queue;
use crate::picture::picture;
use approver::gate::Gate;

/// A technician who has just enrolled, on one channel.
pub(super) struct Newcomer {
    pub(super) people: People,
    pub(super) enrolled: Enrolled,
    /// The key they enrolled, as proof of it.
    pub(super) key: VerifiedKey,
    /// What people call the plant.
    pub(super) plant: String,
    /// How technicians reach the gate.
    pub(super) gate: Gate,
}

/// First codes that may be wrong, before the newcomer is left to find out why by themselves.
const TRIES: usize = 3;

/// Serves the channel to its end.
pub(super) async fn serve(newcomer: Newcomer, channel: ChannelWriteHalf<Msg>, session: Handle, upload: Arc<Queue>) {
    let Some((mut console, _)) = Console::begin(channel, session, upload).await else { return };
    let Enrolled { name, totp, recovery, .. } = &newcomer.enrolled;
    let url = totp.otpauth_url(&newcomer.plant, name);
    console.say(&format!("Welcome, {name}. Scan this with your authenticator app:\n\n{}", picture(&url))).await;
    console.say(&format!("\nor type it in: {}\n\n", *totp.base32())).await;
    console.say("For the day the phone is gone, ten recovery codes. Each works once. Print them:\n\n").await;
    let codes: Vec<_> = recovery.shown().collect();
    for pair in codes.chunks(2) {
        let line = pair.iter().map(|code| code.as_str()).collect::<Vec<_>>().join("    ");
        console.say(&format!("  {line}\n")).await;
    }
    console.say("\nNone of this is ever shown again.\n").await;
    let works = first_code(&newcomer, &mut console).await;
    console.say(&format!("\n{}\n", next_step(&newcomer, works))).await;
    console.end(if works { orders::DONE } else { orders::REFUSED }).await;
}

async fn first_code(newcomer: &Newcomer, console: &mut Console) -> bool {
    for _ in 0..TRIES {
        let Ok(code) = console.ask("\nThe code your app shows now: ").await else { return false };
        match newcomer.people.check_code(&newcomer.key, &code, Side::Vendor).await {
            Ok(_spent) => return true,
            Err(not_taken) => console.say(&format!("{not_taken}.\n")).await,
        }
    }
    false
}

fn next_step(newcomer: &Newcomer, works: bool) -> String {
    let Newcomer { enrolled: Enrolled { name, .. }, gate, .. } = newcomer;
    if !works {
        return "Your key is enrolled, but no code was right. Set the clock of your phone, compare what you scanned, and \
                sign in with the next code. A recovery code works too."
            .to_owned();
    }
    format!(
        "It works. From now on: {} shows what you may reach, {} connects.",
        gate.ssh(name),
        gate.ssh(&format!("{name}+TARGET"))
    )
}
