//! Reports, in pieces and in one: what they tell of what stands.

use policies::events::ErasedOn;
use policies::refusals::Refusal;
use policies::reports::{Cell, Gathering, Report, Scope as Span, Table};

use super::closing::with_grants;
use super::*;

fn report_on(world: &World, report: Report, span: Span, at_once: usize) -> Result<Table, Refusal> {
    let mut gathering = Gathering::new(report, span, world.now)?;
    while gathering.take(&world.state, at_once) {}
    gathering.table()
}

fn ever(world: &World) -> Span {
    Span { from: seconds_later(world.now, -86_400), until: seconds_later(world.now, 86_400), vendor: None }
}

/// What stands in a column of a report about all that ever was.
pub(super) fn reported(world: &World, report: Report, column: &str) -> Vec<Cell> {
    let table = report_on(world, report, ever(world), 1).unwrap();
    let in_one = report_on(world, report, ever(world), 10_000).unwrap();
    assert_eq!(table, in_one, "in pieces it is the same");
    let at = table.columns.iter().position(|name| *name == column).unwrap();
    table.rows.into_iter().map(|mut row| row.swap_remove(at)).collect()
}

fn words(words: &str) -> Cell {
    Cell::Words(words.into())
}

#[test]
fn reports_tell_of_grants_how_they_stand() {
    let (mut world, [request, _]) = with_grants();
    let door = world.door(0);
    world.must(&Command::Admit(door.clone()));
    assert_eq!(reported(&world, Report::CloseOuts, "close-out"), [words("work is not over")]);
    let by = person(TECHNICIANS[0].0);
    let [given, lost] = [0, 1].map(|_| {
        let ask = AskId::new(world.id());
        world.must(&Command::AskExtension { ask, request, more: Seconds(60), reason: salted("more"), by });
        ask
    });
    world.must(&world.yes(LEADS[0], Matter::Extension(given)));
    world.must(&world.yes(SECURITY, Matter::Extension(given)));
    assert!(world.state.asks[&given].granted && !world.state.asks[&lost].granted);
    assert_eq!(reported(&world, Report::Overruns, "request"), [words(&request.to_string())]);
    world.must(&Command::End { session: door.session, ending: Ending::Left, seal: None });
    let standing = |world: &World| reported(world, Report::Requests, "standing");
    assert_eq!(standing(&world), [words("granted"), words("granted")]);
    world.now = world.state.cases[&request].deadline;
    assert!(standing(&world).contains(&words("granted, used and over")), "{:?}", standing(&world));
    assert_eq!(reported(&world, Report::CloseOuts, "close-out"), [words("waits")]);
}

#[test]
fn who_may_reach_what_is_nobody_whose_vendor_is_out() {
    let (mut world, _) = with_grants();
    let vendors = |world: &World| reported(world, Report::WhoCan, "vendor");
    let acme = words("acme");
    assert!(vendors(&world).contains(&acme));
    world.must(&Command::DisableVendor { vendor: label("acme"), by: person(ADMINISTRATOR) });
    assert!(!vendors(&world).contains(&acme));
}

#[test]
fn a_report_is_about_a_span_and_about_no_more_than_fits() {
    let (world, _) = with_grants();
    let report = |days: i64| {
        let span = Span { from: world.now, until: seconds_later(world.now, days * 86_400), vendor: None };
        report_on(&world, Report::People, span, 10).map(drop)
    };
    assert_eq!(report(0), Err(Refusal::EmptySpan));
    assert_eq!(report(Span::DAYS_MAX), Ok(()));
    assert_eq!(report(Span::DAYS_MAX + 1), Err(Refusal::LongSpan(Span::DAYS_MAX)));
}

/// What stands in one row, in each of these columns.
fn row(world: &World, report: Report, columns: &[&str]) -> Vec<Cell> {
    columns.iter().map(|column| reported(world, report, column).swap_remove(0)).collect()
}

#[test]
fn who_used_which_account_is_known_of_each_session_whatever_the_plant_file_says_now() {
    let (mut world, _) = with_grants();
    for who in [1, 0] {
        let door = world.door(who);
        world.must(&Command::Admit(door.clone()));
        world.must(&Command::End { session: door.session, ending: Ending::Left, seal: None });
    }
    world.state.plant = None;
    let by_account = |column| reported(&world, Report::SharedAccounts, column);
    assert_eq!(by_account("account"), [words("maint"), words("maint")]);
    assert_eq!(by_account("opened by"), [words("secret hmi"), words("secret hmi")]);
    let technicians = TECHNICIANS.map(|(id, ..)| Cell::People(vec![person(id)]));
    assert_eq!(by_account("technician"), [technicians[1].clone(), technicians[0].clone()], "as they came");
}

#[test]
fn a_cut_is_reported_with_what_it_ended_and_who_let_back_in() {
    let (mut world, _) = with_grants();
    let door = world.door(0);
    world.must(&Command::Admit(door.clone()));
    let cut = CutId::new(world.id());
    let (by, at) = (CutBy::Operator(person(LEADS[0])), world.now);
    world.must(&Command::Cut { cut, scope: Scope::Vendor(label("acme")), by, at });
    world.must(&Command::End { session: door.session, ending: Ending::Cut { cut }, seal: None });
    let columns = ["what", "which", "by", "sessions ended", "let in by"];
    let lead = Cell::People(vec![person(LEADS[0])]);
    let still = [words("vendor"), words("acme"), lead.clone(), words("1"), Cell::None];
    assert_eq!(row(&world, Report::Cuts, &columns), still);
    let reopening = Reopening { cut, reason: salted("checked") };
    let yes = Answer::Yes { narrowing: Narrowing::default() };
    let digest = world.state.reopening_digest(&reopening);
    let verdict = world.sign(Matter::Reopening(cut), digest, yes, LEADS[0], false);
    world.must(&Command::Reopen { reopening, verdict });
    assert_eq!(row(&world, Report::Cuts, &["let in by", "because"]), [lead, Cell::Text(salted("checked"))]);
    let of = |vendor: &str| {
        let span = Span { vendor: Some(label(vendor)), ..ever(&world) };
        report_on(&world, Report::Cuts, span, 1).unwrap().rows.len()
    };
    assert_eq!([of("acme"), of("bolt")], [1, 0]);
}

#[test]
fn refusals_lost_recorders_erasures_and_plant_files_are_reported_from_what_the_journal_has() {
    let (mut world, _) = with_grants();
    let (by, target) = (person(TECHNICIANS[0].0), Some(target_name(0)));
    let reason = "no-grant".into();
    world.must(&Command::ReportRefusal { person: by, reason, target, rule: None, asked: None });
    assert_eq!(
        row(&world, Report::Refusals, &["vendor", "target", "what", "refused because"]),
        [words("acme"), words("hmi-1"), words("connection"), words("no grant for it")]
    );
    let reason = "provider-refused".into();
    world.must(&Command::ReportRefusal { person: by, reason, target: None, rule: None, asked: None });
    assert!(reported(&world, Report::Refusals, "what").contains(&words("sign-in")));
    let door = world.door(0);
    world.must(&Command::Admit(door.clone()));
    world.must(&Command::End { session: door.session, ending: Ending::RecorderFailed, seal: None });
    world.state.apply(&Event::RecorderFailed { node: door.node.clone() }, world.now);
    assert_eq!(reported(&world, Report::RecorderFailures, "session"), [Cell::None, words(&door.session.to_string())]);
    assert_eq!(row(&world, Report::Retention, &["recording", "erased by"]), [words("NOT SEALED"), Cell::None]);
    let on = ErasedOn::People { administrator: person(ADMINISTRATOR), operator: person(LEADS[0]) };
    world.state.apply(&Event::Erased { session: door.session, on }, world.now);
    let both = Cell::People(
        vec![person(LEADS[0]), person(ADMINISTRATOR)].into_iter().collect::<BTreeSet<_>>().into_iter().collect(),
    );
    assert_eq!(reported(&world, Report::Retention, "erased by"), [both]);
    let first = Digest::of_bytes(b"first");
    let next = Digest::of_bytes(b"next");
    let before = reported(&world, Report::PlantFiles, "file").len();
    for (plant, seconds) in [(first, 10), (next, 20)] {
        let at = seconds_later(world.now, seconds);
        world.state.apply(&Event::PlantProposed { plant, by: person(ADMINISTRATOR) }, at);
        world.state.apply(&Event::PlantAdopted { plant }, at);
    }
    assert_eq!(
        reported(&world, Report::PlantFiles, "file")[before..],
        [words(&first.to_string()), words(&next.to_string())]
    );
    let later = Span { from: seconds_later(world.now, 15), until: seconds_later(world.now, 16), vendor: None };
    let then = report_on(&world, Report::PlantFiles, later, 1).unwrap();
    assert_eq!(then.rows.len(), 1, "the one in force then");
}
