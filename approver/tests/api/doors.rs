//! The list of all doors, written a second time: a route that stands here and not in the table, or there and not here, is
//! a mistake in one of them.

use std::collections::BTreeMap;

use approver::api::openapi_document;
use approver::api::routes::{Role, Who, table};
use certs::proof::Face;
use policies::actions::Action;

use crate::kit::{House, Session};

/// Face, method, path, and who may: `*` anyone, else technician, operator, auditor, administrator (`toua`, `u` for the
/// auditor); `!` also by key alone.
const DOORS: &str = "
plant  GET    /healthz                                      *
plant  GET    /metrics                                      *
plant  GET    /api/v1/openapi.json                          *
plant  GET    /api/v1/ca.pem                                *
plant  POST   /api/v1/sign-in/challenge                     *
plant  POST   /api/v1/sign-in                               *
plant  POST   /api/v1/enrol                                 *
plant  GET    /api/v1/backup                                a
plant  GET    /api/v1/status                                oua!
plant  GET    /api/v1/me                                    oua!
plant  GET    /api/v1/requests                              oua
plant  GET    /api/v1/requests/{request}                    oua
plant  GET    /api/v1/requests/{request}/statement          o
plant  GET    /api/v1/requests/{request}/review             o
plant  POST   /api/v1/requests/{request}/revoke             o
plant  GET    /api/v1/asks                                  oua
plant  GET    /api/v1/asks/{ask}/statement                  o
plant  POST   /api/v1/verdicts                              o
plant  POST   /api/v1/texts                                 o
plant  GET    /api/v1/texts/{digest}                        ou
plant  GET    /api/v1/sessions                              oua!
plant  GET    /api/v1/sessions/{session}                    oua!
plant  GET    /api/v1/sessions/{session}/watch              o!
plant  POST   /api/v1/sessions/{session}/freeze             o!
plant  POST   /api/v1/sessions/{session}/thaw               o
plant  GET    /api/v1/cuts                                  oua!
plant  POST   /api/v1/cuts                                  o!
plant  GET    /api/v1/cuts/{cut}/statement                  o
plant  POST   /api/v1/cuts/{cut}/reopen                     o
plant  GET    /api/v1/people                                oua
plant  POST   /api/v1/people                                a
plant  GET    /api/v1/people/{person}                       oua
plant  GET    /api/v1/people/{person}/statement             oa
plant  POST   /api/v1/people/{person}/certificates          oa
plant  POST   /api/v1/people/{person}/name                  a
plant  POST   /api/v1/people/{person}/disable               a
plant  POST   /api/v1/people/{person}/reinvite              a
plant  GET    /api/v1/vendors                               oua
plant  PUT    /api/v1/vendors/{vendor}                      a
plant  POST   /api/v1/vendors/{vendor}/disable              a
plant  GET    /api/v1/plant                                 oua
plant  GET    /api/v1/plant/files                           oua
plant  POST   /api/v1/plant/files                           a
plant  GET    /api/v1/plant/files/{digest}                  oua
plant  GET    /api/v1/plant/files/{digest}/statement        oa
plant  POST   /api/v1/plant/files/{digest}/signatures       oa
plant  GET    /api/v1/secrets                               a
plant  PUT    /api/v1/secrets/{name}                        a
plant  DELETE /api/v1/secrets/{name}                        a
plant  GET    /api/v1/trust                                 oua
plant  GET    /api/v1/recordings                            ou
plant  GET    /api/v1/recordings/{session}/files            ou
plant  POST   /api/v1/recordings/{session}/hold             u
plant  POST   /api/v1/recordings/{session}/release          u
plant  GET    /api/v1/recordings/{session}/erasure          oa
plant  POST   /api/v1/recordings/{session}/erasure          oa
plant  POST   /api/v1/packs                                 ou
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
vendor GET    /api/v1/requests                              t
vendor POST   /api/v1/requests                              t
vendor GET    /api/v1/requests/{request}                    t
vendor POST   /api/v1/requests/{request}/withdraw           t
vendor POST   /api/v1/requests/{request}/extensions         t
vendor POST   /api/v1/requests/{request}/widenings          t
vendor GET    /api/v1/sessions                              t
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
    };
    let mut found: Vec<Expected> = table()
        .iter()
        .map(|route| {
            let mut who: String = match route.who {
                Who::Anyone => "*".into(),
                Who::SignedIn(roles) => roles.iter().map(letter).collect(),
            };
            who.push_str(if route.key_alone { "!" } else { "" });
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
        .replace("{person}", &format!("p_{id}"))
        .replace("{vendor}", "nobody")
        .replace("{name}", "nothing")
        .replace("{digest}", &"ab".repeat(32));
    if route.ends_with("/cuts/{cut}/statement") { format!("{path}?reason={}", "cd".repeat(32)) } else { path }
}

/// Everybody, by the letter of the list; `-` is nobody at all.
async fn everybody(house: &House) -> BTreeMap<char, Option<Session>> {
    let stage = &house.stage;
    BTreeMap::from([
        ('-', None),
        ('t', Some(house.sign_in(Face::Vendor, &stage.technician).await)),
        ('o', Some(house.sign_in(Face::Plant, &stage.lead).await)),
        ('u', Some(house.sign_in(Face::Plant, &house.auditor).await)),
        ('a', Some(house.sign_in(Face::Plant, &stage.admin).await)),
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
        for (letter, session) in &everybody {
            let answer = house.send(face, door.method, &path_of(door.path), session.as_ref(), body.clone()).await;
            let refusal = if answer.status < 400 || answer.status == 503 { String::new() } else { answer.refusal() };
            let of_this_face = (*letter == 't') == (face == Face::Vendor) && *letter != '-';
            let is_kept_out = match answer.status {
                401 if !of_this_face => refusal == "not-signed-in",
                403 if of_this_face => refusal == "wrong-kind",
                _ => false,
            };
            let may = door.who.contains('*') || door.who.contains(*letter);
            assert_eq!(!is_kept_out, may, "{door:?} by {letter}: {} {}", answer.status, answer.text());
        }
    }
}

#[tokio::test]
async fn no_get_changes_anything() {
    let house = House::new().await;
    let everybody = everybody(&house).await;
    let request = house.stage.ask("hmi-2", &[Action::Shell]).await.unwrap();
    let before = house.stage.desk.head();
    for door in expected().into_iter().filter(|door| door.method == "GET" && !door.path.ends_with("/watch")) {
        let face = if door.face == "plant" { Face::Plant } else { Face::Vendor };
        let path = path_of(&door.path.replace("{request}", &request.to_string()));
        for session in everybody.values() {
            let mut answers = Vec::new();
            for _ in 0..3 {
                answers.push(house.send(face, "GET", &path, session.as_ref(), None).await.status);
            }
            assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{path}: {answers:?}");
        }
    }
    assert_eq!(house.stage.desk.head(), before);
    let unknown = house.send(Face::Plant, "GET", "/api/v1/nothing", None, None).await;
    assert_eq!((unknown.status, unknown.refusal().as_str()), (404, "not-found"));
    let other = house.send(Face::Plant, "DELETE", "/api/v1/requests", None, None).await;
    assert_eq!((other.status, other.refusal().as_str()), (405, "method"));
}

#[test]
fn the_committed_description_is_the_one_that_is_served() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let current = serde_json::to_string_pretty(&openapi_document()).unwrap() + "\n";
    if std::env::var_os("HOLDPOINT_WRITE").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == current, "approver/openapi.json is out of date: run this test with HOLDPOINT_WRITE=1");
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    let document = serde_json::to_value(openapi_document()).unwrap();
    let text = document.to_string();
    let references: Vec<&str> = text.split("\"#/components/schemas/").skip(1).collect();
    assert!(references.len() > 40);
    for reference in references {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
    }
}
