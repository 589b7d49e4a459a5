//! The list of all doors, written a second time: a route that stands here and not in the table, or there and not here, is
//! a mistake in one of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use approver::api::routes::{Role, Who, table};
use approver::api::{ApiParts, openapi_document};
use approver::directory::Dumped;
use approver::journal::Head;
use approver::mint;
use approver::testing::{PLANT, Props, enrol, person};
use certs::proof::Face;
use policies::decide::Command;
use policies::digest::Digest;
use policies::events::{CutBy, Scope};
use policies::people::Kind;
use policies::time::Seconds;

use crate::kit::{House, Session, limits, record_log, recorded};

/// Face, method, path, and who may: `*` anyone, else technician, operator, auditor, administrator (`toua`, `u` for the
/// auditor, `s` for a sensor, `d` for a display); `!` also by key alone, `~` by a client certificate alone, `+` not by an identity
/// provider's word alone.
const DOORS: &str = "
plant  GET    /healthz                                      *
plant  GET    /metrics                                      *
plant  GET    /api/v1/openapi.json                          *
plant  GET    /api/v1/ca.pem                                *
plant  POST   /api/v1/sign-in/challenge                     *
plant  POST   /api/v1/sign-in                               *
plant  POST   /api/v1/enrol                                 *
plant  GET    /api/v1/backup                                a+
plant  GET    /api/v1/status                                ouad!
plant  GET    /api/v1/settings                              oua
plant  GET    /api/v1/nodes                                 oua
plant  POST   /api/v1/nodes/forget                          a
plant  POST   /api/v1/alarms/acknowledge                    od!
plant  GET    /api/v1/feed                                  ou!
plant  GET    /api/v1/me                                    ouad!
plant  DELETE /api/v1/me/subjects/{provider}                oua
plant  GET    /api/v1/requests                              ouad
plant  GET    /api/v1/requests/{request}                    ouad
plant  GET    /api/v1/requests/{request}/statement          o
plant  GET    /api/v1/requests/{request}/review             o
plant  GET    /api/v1/requests/{request}/close-out          o
plant  POST   /api/v1/requests/{request}/close-out          o
plant  POST   /api/v1/requests/{request}/revoke             o
plant  POST   /api/v1/requests/{request}/accept             o
plant  GET    /api/v1/history                               ou
plant  GET    /api/v1/requests/{request}/entries            ou
plant  GET    /api/v1/sessions/{session}/entries            ou
plant  GET    /api/v1/presence                              ou
plant  GET    /api/v1/shift                                 oua
plant  GET    /api/v1/asks                                  ouad
plant  GET    /api/v1/asks/{ask}/statement                  o
plant  POST   /api/v1/verdicts                              o
plant  POST   /api/v1/verdicts/weaker                       o
plant  POST   /api/v1/texts                                 o
plant  GET    /api/v1/texts/{digest}                        ou
plant  GET    /api/v1/sessions                              ouad!
plant  GET    /api/v1/sessions/{session}                    ouad!
plant  GET    /api/v1/sessions/{session}/review             o
plant  GET    /api/v1/sessions/{session}/watch              o!
plant  POST   /api/v1/sessions/{session}/disconnect         o!
plant  GET    /api/v1/capture                               ous!
plant  POST   /api/v1/sessions/{session}/freeze             o!
plant  POST   /api/v1/sessions/{session}/thaw               o
plant  POST   /api/v1/sessions/{session}/escort             o
plant  POST   /api/v1/sessions/{session}/tell               o
plant  GET    /api/v1/cuts                                  ouad!
plant  POST   /api/v1/cuts                                  od!
plant  GET    /api/v1/cuts/{cut}/statement                  o
plant  POST   /api/v1/cuts/{cut}/reopen                     o
plant  GET    /api/v1/people                                oua
plant  POST   /api/v1/people                                a+
plant  GET    /api/v1/people/{person}                       oua
plant  GET    /api/v1/people/{person}/statement             oa
plant  POST   /api/v1/people/{person}/certificates          oa
plant  POST   /api/v1/people/{person}/name                  a
plant  POST   /api/v1/people/{person}/disable               a
plant  PUT    /api/v1/people/{person}/manager               a+
plant  DELETE /api/v1/people/{person}/manager               a
plant  DELETE /api/v1/people/{person}/subjects/{provider}   a+
plant  POST   /api/v1/people/{person}/reinvite              a+
plant  GET    /api/v1/guests                                oua
plant  POST   /api/v1/guests                                o+
plant  GET    /api/v1/guests/rules                          oua
plant  POST   /api/v1/guests/statement                      o+
plant  GET    /api/v1/guests/{guest}                        oua
plant  POST   /api/v1/guests/{guest}/end                    oa
plant  GET    /api/v1/guests/{guest}/review                 o
plant  GET    /api/v1/reviews                               oua
plant  GET    /api/v1/vendors                               oua
plant  PUT    /api/v1/vendors/{vendor}                      a+
plant  POST   /api/v1/vendors/{vendor}/disable              a
plant  GET    /api/v1/reports                               oua
plant  GET    /api/v1/reports/{report}                      oua
plant  GET    /api/v1/plant                                 oua
plant  GET    /api/v1/plant/files                           oua
plant  POST   /api/v1/plant/files                           a
plant  GET    /api/v1/plant/files/{digest}                  oua
plant  GET    /api/v1/plant/files/{digest}/statement        oa
plant  POST   /api/v1/plant/files/{digest}/signatures       oa
plant  GET    /api/v1/secrets                               a
plant  PUT    /api/v1/secrets/{name}                        a+
plant  DELETE /api/v1/secrets/{name}                        a
plant  GET    /api/v1/trust                                 oua
plant  GET    /api/v1/recordings                            ou
plant  GET    /api/v1/recordings/{session}/files            ou
plant  POST   /api/v1/recordings/{session}/hold             u
plant  POST   /api/v1/recordings/{session}/release          u+
plant  GET    /api/v1/recordings/{session}/erasure          oa
plant  POST   /api/v1/recordings/{session}/erasure          oa
plant  POST   /api/v1/packs                                 ou
plant  POST   /api/v1/packs/file                            ou
plant  POST   /api/v1/rehearsals                            ou
plant  GET    /api/v1/journal                               ou
plant  GET    /api/v1/journal/files                         ou
vendor GET    /healthz                                      *
vendor GET    /api/v1/openapi.json                          *
vendor GET    /api/v1/ca.pem                                *
vendor POST   /api/v1/sign-in/challenge                     *
vendor POST   /api/v1/sign-in                               *
vendor POST   /api/v1/enrol                                 *
vendor POST   /api/v1/certificate                           *
vendor GET    /api/v1/me                                    t
vendor DELETE /api/v1/me/subjects/{provider}                t
vendor GET    /api/v1/company                               t+
vendor GET    /api/v1/people                                t+
vendor POST   /api/v1/people                                t+
vendor POST   /api/v1/people/{person}/reinvite              t+
vendor POST   /api/v1/people/{person}/disable               t+
vendor POST   /api/v1/people/{person}/attestation           t+
vendor DELETE /api/v1/people/{person}/attestation           t+
vendor GET    /api/v1/reach                                 t
vendor GET    /api/v1/requests                              t
vendor POST   /api/v1/requests                              t
vendor GET    /api/v1/requests/{request}                    t
vendor POST   /api/v1/requests/{request}/withdraw           t
vendor POST   /api/v1/requests/{request}/account            t
vendor POST   /api/v1/requests/{request}/extensions         t
vendor POST   /api/v1/requests/{request}/widenings          t
vendor POST   /api/v1/requests/{request}/client-certificate t+
vendor POST   /api/v1/client-certificate                    t~
vendor GET    /api/v1/sessions                              t
vendor GET    /api/v1/tcp/{target}/{service}                t~
";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Expected {
    face: &'static str,
    method: &'static str,
    path: &'static str,
    who: String,
}

fn expected() -> Vec<Expected> {
    let mut doors: Vec<Expected> = DOORS
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut next = || words.next().unwrap();
            Expected { face: next(), method: next(), path: next(), who: next().to_owned() }
        })
        .collect();
    doors.sort();
    doors
}

#[test]
fn the_table_of_routes_is_the_list_of_all_doors() {
    let letter = |role: &Role| match role {
        Role::Technician => 't',
        Role::Operator => 'o',
        Role::Auditor => 'u',
        Role::Administrator => 'a',
        Role::Sensor => 's',
        Role::Display => 'd',
    };
    let mut found: Vec<Expected> = table()
        .iter()
        .map(|route| {
            let mut who: String = match route.who {
                Who::Anyone => "*".into(),
                Who::SignedIn(roles) => roles.iter().map(letter).collect(),
            };
            who.push_str(if route.key_alone { "!" } else { "" });
            who.push_str(if route.by_certificate { "~" } else { "" });
            who.push_str(if route.own_factors { "+" } else { "" });
            let face = if route.face == Face::Plant { "plant" } else { "vendor" };
            Expected { face, method: route.method, path: route.path, who }
        })
        .collect();
    found.sort();
    assert_eq!(found, expected());
}

/// A path to nothing in particular: whoever is let in finds nothing there.
fn path_of(route: &str) -> String {
    let id = "01jd0c4000000000000000000z";
    let path = route
        .replace("{request}", &format!("r_{id}"))
        .replace("{ask}", &format!("a_{id}"))
        .replace("{session}", &format!("s_{id}"))
        .replace("{cut}", &format!("c_{id}"))
        .replace("{guest}", &format!("g_{id}"))
        .replace("{person}", &format!("p_{id}"))
        .replace("{vendor}", "nobody")
        .replace("{name}", "nothing")
        .replace("{report}", "nothing")
        .replace("{provider}", "nobody")
        .replace("{target}", "nothing")
        .replace("{service}", "nothing")
        .replace("{digest}", &"ab".repeat(32));
    match route {
        "/api/v1/cuts/{cut}/statement" => format!("{path}?reason={}", "cd".repeat(32)),
        // It would not end otherwise.
        "/api/v1/capture" => format!("{path}?target=nothing"),
        _ => path,
    }
}

/// Everybody, by the letter of the list; `-` is nobody at all.
async fn everybody(house: &House) -> BTreeMap<char, Option<Session>> {
    let stage = &house.stage;
    let sensor = house.unattended("ids-1", Kind::Sensor).await;
    let display = house.unattended("wall-1", Kind::Display).await;
    BTreeMap::from([
        ('-', None),
        ('t', Some(house.sign_in(Face::Vendor, &stage.technician).await)),
        ('o', Some(house.sign_in(Face::Plant, &stage.lead).await)),
        ('u', Some(house.sign_in(Face::Plant, &house.auditor).await)),
        ('a', Some(house.sign_in(Face::Plant, &stage.admin).await)),
        ('s', Some(house.sign_in_by_key_alone(&sensor).await)),
        ('d', Some(house.sign_in_by_key_alone(&display).await)),
    ])
}

#[tokio::test]
async fn every_door_lets_in_whom_the_list_names_and_nobody_else() {
    let house = House::new().await;
    let everybody = everybody(&house).await;
    for door in expected() {
        let face = if door.face == "plant" { Face::Plant } else { Face::Vendor };
        // An empty object is no body that any of them takes, so whoever is let in changes nothing.
        let body = (door.method == "POST" || door.method == "PUT").then(|| serde_json::json!({}));
        let by_certificate = door.who.contains('~');
        for (letter, session) in &everybody {
            let answer = house.send(face, door.method, &path_of(door.path), session.as_ref(), body.clone()).await;
            let refusal = if answer.status < 400 || answer.status == 503 { String::new() } else { answer.refusal() };
            let of_this_face = (*letter == 't') == (face == Face::Vendor) && *letter != '-';
            let is_kept_out = match answer.status {
                401 if !of_this_face || by_certificate => refusal == "not-signed-in",
                403 if of_this_face => refusal == "wrong-kind",
                _ => false,
            };
            let may = door.who.contains('*') || door.who.contains(*letter) && !by_certificate;
            assert_eq!(!is_kept_out, may, "{door:?} by {letter}: {} {}", answer.status, answer.text());
        }
    }
}

/// One of everything that a path can name, in a house that keeps recordings in files.
struct Furnished {
    house: House,
    named: Vec<(&'static str, String)>,
    _folder: tempfile::TempDir,
}

impl Furnished {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("records");
        let log = Arc::new(record_log(&records));
        let set = |parts: &mut ApiParts| {
            (parts.records_dir, parts.recorder) = (Some(records.clone()), Some(log.clone()));
        };
        let house = House::on(Props::new(), set, limits()).await;
        let stage = &house.stage;
        let (lead, admin) = (stage.lead.person, stage.admin.person);
        let session = recorded(stage, &log).await;
        let request = stage.desk.with_state(|state| state.sessions[&session].request);
        let text = |text: &'static str| async move { stage.people.put_text(text).await.unwrap() };
        let (ask, by) = (mint::ask(stage.desk.clock().wall()), stage.technician.person);
        let reason = text("one more pump").await;
        stage.desk.act(Command::AskExtension { ask, request, more: Seconds(600), reason, by }).await.unwrap();
        let cut = stage.desk.cut(CutBy::Operator(lead), Scope::Zone("packaging".parse().unwrap())).await.unwrap().cut;
        let why = text("it was somebody else").await;
        let plant = format!("{PLANT}# another\n");
        let proposed = Digest::of_bytes(plant.as_bytes());
        stage.desk.act(Command::ProposePlant { text: plant, by: admin }).await.unwrap();
        let invited =
            stage.people.invite(person("oda", Kind::Operator { vendor: None }, &["shift-lead"]), Seconds(600), admin);
        let oda = enrol(&stage.people, &invited.await.unwrap().code).await;
        stage.desk.act(Command::NameManager { person: stage.technician.person, by: admin }).await.unwrap();
        stage.invite_guest(&stage.lead, "gus", Seconds(600)).await.unwrap();
        let guest = stage.desk.with_state(|state| *state.guests.keys().next().unwrap());
        let named = vec![
            ("{guest}", guest.to_string()),
            ("/texts/{digest}", format!("/texts/{}", reason.0)),
            ("/plant/files/{digest}", format!("/plant/files/{proposed}")),
            ("/cuts/{cut}/statement", format!("/cuts/{cut}/statement?reason={}", why.0)),
            ("/requests/{request}/close-out", {
                let kept = why.0;
                format!("/requests/{request}/close-out?done={kept}&changed={kept}&left={kept}")
            }),
            ("{report}", "sessions".to_owned()),
            ("{request}", request.to_string()),
            ("{ask}", ask.to_string()),
            ("{session}", session.to_string()),
            ("{person}", oda.person.to_string()),
        ];
        Self { house, named, _folder: folder }
    }

    fn path(&self, route: &str) -> String {
        self.named.iter().fold(route.to_owned(), |path, (variable, id)| path.replace(variable, id))
    }

    /// All that is kept: the journal's head and the directory.
    async fn kept(&self) -> (Head, Dumped) {
        (self.house.stage.desk.head(), self.house.stage.props.directory.dump().await.unwrap())
    }
}

#[tokio::test]
async fn no_get_changes_anything() {
    const TIMES: usize = 10;
    const FETCH: &str = "/api/v1/recordings/{session}/files";
    const ENDLESS: [&str; 2] = ["/api/v1/sessions/{session}/watch", "/api/v1/capture"];
    /// Nobody gets it here: what is kept for three years is not erased, this journal lies in no files, and there is no feed.
    const SHUT: [&str; 4] =
        ["/api/v1/recordings/{session}/erasure", "/api/v1/journal/files", "/api/v1/backup", "/api/v1/feed"];
    let furnished = Furnished::new().await;
    let house = &furnished.house;
    let everybody = everybody(house).await;
    let reads = |door: &Expected| door.method == "GET" && !ENDLESS.contains(&door.path) && !door.who.contains('~');
    for door in expected().into_iter().filter(reads) {
        let face = if door.face == "plant" { Face::Plant } else { Face::Vendor };
        let path = furnished.path(door.path);
        let mut works = false;
        for session in everybody.values() {
            let before = furnished.kept().await;
            let mut answers = Vec::new();
            for _ in 0..TIMES {
                answers.push(house.send(face, "GET", &path, session.as_ref(), None).await.status);
            }
            assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{path}: {answers:?}");
            works |= answers[0] == 200;
            let after = furnished.kept().await;
            // But that somebody takes a recording away is itself in the journal.
            let told = if door.path == FETCH && answers[0] == 200 { TIMES as u64 } else { 0 };
            assert_eq!(after.0.size, before.0.size + told, "{path}");
            assert!(after.1 == before.1, "the directory changed: {path}");
        }
        assert_eq!(works, !SHUT.contains(&door.path), "{path}");
    }
    let unknown = house.send(Face::Plant, "GET", "/api/v1/nothing", None, None).await;
    assert_eq!((unknown.status, unknown.refusal().as_str()), (404, "not-found"));
    let other = house.send(Face::Plant, "DELETE", "/api/v1/requests", None, None).await;
    assert_eq!((other.status, other.refusal().as_str()), (405, "method"));
}

const FACES: [(Face, &str); 2] = [(Face::Plant, "plant"), (Face::Vendor, "vendor")];

#[test]
fn the_committed_descriptions_are_those_that_are_served() {
    for (face, name) in FACES {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("openapi/{name}.json"));
        let current = serde_json::to_string_pretty(&openapi_document(face)).unwrap() + "\n";
        if std::env::var_os("HOLDPOINT_WRITE").is_some() {
            std::fs::write(&path, &current).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == current, "{} is out of date: run this test with HOLDPOINT_WRITE=1", path.display());
    }
}

#[test]
fn every_reference_in_the_descriptions_leads_somewhere() {
    for (face, name) in FACES {
        let document = serde_json::to_value(openapi_document(face)).unwrap();
        let text = document.to_string();
        let references: Vec<&str> = text.split("\"#/components/schemas/").skip(1).collect();
        assert!(references.len() > 20, "{name}");
        for reference in references {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
