//! Signing in by an identity provider that signs whatever it is told, on the vendor face's own pages: what is refused, and why;
//! who is linked, once; what a provider's word alone opens, and what not; and what becomes of a provider that renames people,
//! gives one account to two, stalls, or is gone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use approver::oidc::{Groups, ProviderParts, Providers};
use approver::testing::{Actor, Props, enrol, person};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use certs::oidc::{Expected, IdToken, ProviderKeys, SeveralFactors};
use certs::passkey::{Asserted, Created, Site};
use certs::proof::Face;
use certs::testing::SoftwarePasskey;
use data_encoding::BASE64URL_NOPAD;
use futures::{StreamExt as _, stream};
use policies::actions::Action;
use policies::decide::Command;
use policies::events::Event;
use policies::ids::PersonId;
use policies::people::Kind;
use policies::time::Seconds;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::kit::{Answer, House, answer, limits};

/// A provider at a loopback port, whose codes are the tokens that it gives for them.
struct Hostile {
    issuer: String,
    said: Arc<Mutex<Said>>,
    serving: JoinHandle<()>,
}

struct Said {
    issuer: String,
    key: (&'static str, Ed25519KeyPair),
    /// As which it answers a code, and whoever asks what it is.
    token_status: StatusCode,
    document_status: StatusCode,
    /// Whoever sends the code `stall` arrives, and waits to be let go.
    arrived: Arc<Semaphore>,
    let_go: Arc<Semaphore>,
}

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn signed(key: &Ed25519KeyPair, head: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", part(head), part(claims));
    format!("{message}.{}", BASE64URL_NOPAD.encode(key.sign(message.as_bytes()).as_ref()))
}

type Told = State<Arc<Mutex<Said>>>;

async fn document(State(said): Told) -> (StatusCode, Json<Value>) {
    let (issuer, status) = {
        let said = said.lock().unwrap();
        (said.issuer.clone(), said.document_status)
    };
    let document = Json(json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"), "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"), "authorization_response_iss_parameter_supported": true,
    }));
    (status, document)
}

async fn keys(State(said): Told) -> Json<Value> {
    Json(key_set(&said.lock().unwrap()))
}

fn key_set(said: &Said) -> Value {
    let (kid, key) = &said.key;
    let x = BASE64URL_NOPAD.encode(key.public_key().as_ref());
    json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x }] })
}

async fn token(State(said): Told, sent: String) -> (StatusCode, Json<Value>) {
    let token = form_urlencoded::parse(sent.as_bytes()).find(|(name, _)| name == "code").unwrap().1.into_owned();
    let (status, arrived, let_go) = {
        let said = said.lock().unwrap();
        (said.token_status, said.arrived.clone(), said.let_go.clone())
    };
    if token == "stall" {
        arrived.add_permits(1);
        let_go.acquire().await.unwrap().forget();
    }
    (status, Json(json!({ "id_token": token, "access_token": "a", "token_type": "Bearer" })))
}

impl Hostile {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let said = Said {
            issuer: issuer.clone(),
            key: ("k1", key(1)),
            token_status: StatusCode::OK,
            document_status: StatusCode::OK,
            arrived: Arc::new(Semaphore::new(0)),
            let_go: Arc::new(Semaphore::new(0)),
        };
        let said = Arc::new(Mutex::new(said));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(document))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(said.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { issuer, said, serving }
    }

    fn parts(&self, name: &str, title: &str, vendor: Option<&str>) -> ProviderParts {
        let wanted = [("maintenance".to_owned(), ["Field service".to_owned()].into())].into();
        ProviderParts {
            name: name.parse().unwrap(),
            title: title.into(),
            issuer: self.issuer.parse().unwrap(),
            client: "gate".into(),
            secret: None,
            ca_pem: Ok(None),
            vendor: vendor.map(|vendor| vendor.parse().unwrap()),
            scopes: Vec::new(),
            several: SeveralFactors { acr: ["high".to_owned()].into(), amr: [].into() },
            groups: Some(Groups { claim: "groups".into(), wanted }),
        }
    }
}

/// A browser at the face of one provider.
struct Browser<'a> {
    house: &'a House,
    face: Face,
    provider: &'static str,
    cookies: Vec<(String, String)>,
    /// What answers for whoever sits before it.
    passkey: Option<(PersonId, SoftwarePasskey)>,
}

/// What the address of the provider says.
struct Begun {
    state: String,
    nonce: String,
}

impl<'a> Browser<'a> {
    fn new(house: &'a House) -> Self {
        Self { house, face: Face::Vendor, provider: "acme", cookies: Vec::new(), passkey: None }
    }

    fn at_the_plant(house: &'a House) -> Self {
        Self { face: Face::Plant, provider: "mill", ..Self::new(house) }
    }

    async fn send(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> (Answer, String) {
        let cookies = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", &*self.house.door(self.face).origin),
            ("cookie", cookies.as_str()),
        ];
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let response = self.house.door(self.face).call_with(&headers, method, path, None, None, body).await;
        for set in response.headers().get_all("set-cookie") {
            let (name, value) = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        let location = response.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        (answer(response).await, location.unwrap_or_default())
    }

    async fn begins(&mut self) -> Begun {
        let (begun, pairs) = self.goes_there("begin", &[]).await;
        assert!(!pairs.iter().any(|(name, _)| name == "max_age" || name == "prompt"), "{pairs:?}");
        begun
    }

    /// To link what it says there to whoever is signed in.
    async fn begins_to_link(&mut self) -> Begun {
        let csrf = self.csrf("/me").await;
        let answer = self.answers().await;
        let fields: Vec<_> = answer.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (begun, pairs) = self.goes_there("link", &[&fields[..], &[("csrf", &*csrf)]].concat()).await;
        for (name, value) in [("prompt", "login"), ("max_age", "0")] {
            assert!(pairs.contains(&(name.to_owned(), value.to_owned())), "{pairs:?}");
        }
        begun
    }

    /// Makes a passkey for `who`, with a code of the lobby.
    async fn makes_a_passkey(&mut self, who: &Actor) {
        let code = self.house.stage.people.offer_passkey(who.person).await.unwrap().code.reveal().to_string();
        let site = Site::of_origin(&self.house.door(self.face).origin).unwrap();
        let passkey = SoftwarePasskey::new(site);
        let (nonce, challenge) = self.challenge("enrol").await;
        let Created { client_data, authenticator_data } = passkey.created(&challenge);
        let [client_data, authenticator_data] =
            [client_data, authenticator_data].map(|said| BASE64URL_NOPAD.encode(&said));
        let fields = [
            ("code", &*code),
            ("nonce", &nonce),
            ("client-data", &client_data),
            ("authenticator-data", &authenticator_data),
        ];
        let said = self.send("POST", "/enrol/passkey", &fields).await.0;
        assert_eq!(said.status, 200, "{}", said.text());
        self.passkey = Some((who.person, passkey));
    }

    async fn challenge(&mut self, what: &str) -> (String, Vec<u8>) {
        let fresh: Value = self.send("GET", &format!("/challenge?for={what}"), &[]).await.0.json();
        let of = |name: &str| fresh[name].as_str().unwrap().to_owned();
        (of("nonce"), BASE64URL_NOPAD.decode(of("challenge").as_bytes()).unwrap())
    }

    /// The passkey's answer, as forms have it that ask for one.
    async fn answers(&mut self) -> Vec<(&'static str, String)> {
        let (nonce, challenge) = self.challenge("sign-in").await;
        let (person, passkey) = self.passkey.as_ref().expect("a passkey was made");
        let Asserted { client_data, authenticator_data, signature } = passkey.asserted(&challenge);
        let said = [
            ("user-handle", person.to_string().into_bytes()),
            ("client-data", client_data),
            ("authenticator-data", authenticator_data),
            ("signature", signature),
        ];
        let said = said.into_iter().map(|(name, value)| (name, BASE64URL_NOPAD.encode(&value)));
        said.chain([("nonce", nonce)]).collect()
    }

    async fn csrf(&mut self, page: &str) -> String {
        let text = self.send("GET", page, &[]).await.0.text();
        text.split("name=\"csrf\" value=\"")
            .nth(1)
            .unwrap_or_else(|| panic!("{text}"))
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    }

    async fn goes_there(&mut self, how: &str, fields: &[(&str, &str)]) -> (Begun, Vec<(String, String)>) {
        let (page, _) = self.send("POST", &format!("/oidc/{}/{how}", self.provider), fields).await;
        let text = page.text();
        assert_eq!(page.status, 200, "{text}");
        let query = text.split("/authorize?").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let of = |name: &str| pairs.iter().find(|(known, _)| known == name).unwrap().1.clone();
        assert_eq!((of("response_type").as_str(), of("code_challenge_method").as_str()), ("code", "S256"));
        assert_eq!(of("redirect_uri"), format!("{}/oidc/{}", self.house.door(self.face).origin, self.provider));
        (Begun { state: of("state"), nonce: of("nonce") }, pairs)
    }

    async fn comes_back(&mut self, state: &str, token: &str, issuer: &str) -> (Answer, String) {
        let path = format!("/oidc/{}", self.provider);
        self.send("POST", &path, &[("code", token), ("state", state), ("iss", issuer)]).await
    }

    /// Goes there and back, with a token in which this is otherwise.
    async fn tries(&mut self, hostile: &Hostile, otherwise: Value) -> (Answer, String) {
        self.tries_signed(hostile, &json!({ "alg": "EdDSA" }), otherwise).await
    }

    async fn tries_signed(&mut self, hostile: &Hostile, head: &Value, otherwise: Value) -> (Answer, String) {
        let begun = self.begins().await;
        self.comes_back_with(hostile, head, &begun, otherwise).await
    }

    async fn comes_back_with(
        &mut self,
        hostile: &Hostile,
        head: &Value,
        begun: &Begun,
        otherwise: Value,
    ) -> (Answer, String) {
        let token = hostile.signs(head, &hostile.claims(self.house, begun, otherwise));
        self.comes_back(&begun.state, &token, &hostile.issuer).await
    }

    fn is_in(&self) -> bool {
        self.cookies.iter().any(|(name, _)| name == "__Host-holdpoint")
    }

    async fn gives_code(&mut self, who: &Actor) -> (Answer, String) {
        self.house.stage.pass(Duration::from_secs(30));
        let code = who.totp.code_at(self.house.stage.desk.clock().wall()).to_string();
        self.send("POST", "/sign-in/code", &[("code", &code)]).await
    }

    async fn links(&mut self, who: &Actor) -> Answer {
        let code = self.house.stage.people.offer_passkey(who.person).await.unwrap().code;
        self.send("POST", "/sign-in/link", &[("code", &code.reveal())]).await.0
    }
}

impl Hostile {
    fn claims(&self, house: &House, begun: &Begun, otherwise: Value) -> Value {
        let now = house.stage.desk.clock().wall().as_second();
        let mut claims = json!({
            "iss": self.issuer, "sub": "s-1", "aud": "gate", "iat": now, "exp": now + 300, "nonce": begun.nonce,
            "preferred_username": "tess@acme.example", "groups": ["Field service"],
        });
        let Value::Object(otherwise) = otherwise else { return claims };
        otherwise.into_iter().for_each(|(name, value)| claims[name] = value);
        claims
    }

    fn signs(&self, head: &Value, claims: &Value) -> String {
        signed(&self.said.lock().unwrap().key.1, head, claims)
    }
}

async fn house(hostile: &Hostile) -> House {
    let set = |parts: &mut approver::api::ApiParts| {
        let providers = vec![
            hostile.parts("acme", "Acme", Some("acme")),
            hostile.parts("umbra", "Umbra", Some("umbra")),
            hostile.parts("mill", "Mill", None),
        ];
        parts.providers = Providers::new(providers);
    };
    House::on(Props::new(), set, limits()).await
}

async fn events(house: &House) -> Vec<Event> {
    house.stage.desk.entries(0).await.unwrap().into_iter().map(|entry| entry.event).collect()
}

#[tokio::test]
async fn whatever_a_provider_or_a_page_says_wrongly_signs_nobody_in_and_says_why() {
    let hostile = Hostile::start().await;
    let house = house(&hostile).await;
    let now = house.stage.desk.clock().wall().as_second();
    let tokens = [
        (json!({ "iss": "https://evil.example" }), "of another provider"),
        (json!({ "aud": "other" }), "for another program"),
        (json!({ "aud": ["gate", "other"] }), "for another program"),
        (json!({ "nonce": "another" }), "of another sign-in"),
        (json!({ "iat": now - 3_600, "exp": now - 3_000 }), "of another time"),
        (json!({ "iat": now + 3_600, "exp": now + 7_200 }), "of another time"),
        (json!({ "sub": "" }), "names nobody"),
    ];
    // Signatures that prove nothing.
    let public = BASE64URL_NOPAD.encode(key(1).public_key().as_ref());
    let heads = [
        (json!({ "alg": "none" }), "\"none\", which proves nothing"),
        (json!({ "alg": "HS256", "k": public }), "\"HS256\", which proves nothing"),
        (json!({ "alg": "EdDSA", "kid": "k7" }), "by a key that it does not publish"),
    ];
    let right = || json!({ "alg": "EdDSA" });
    let otherwise = tokens.into_iter().map(|(claims, why)| (right(), claims, why));
    let otherwise = otherwise.chain(heads.into_iter().map(|(head, why)| (head, Value::Null, why)));
    // Some at once, because a refusal takes its time.
    let (house_is, hostile_is) = (&house, &hostile);
    let tried = otherwise.map(|(head, claims, why)| async move {
        let mut browser = Browser::new(house_is);
        let (said, _) = browser.tries_signed(hostile_is, &head, claims).await;
        let text = said.text().replace("&#34;", "\"");
        assert!(said.status == 401 && text.contains(why), "{why}: {text}");
        assert!(text.contains("Your passkey signs you in") && !browser.is_in(), "{why}: {text}");
        assert!(browser.cookies.is_empty(), "{why}");
    });
    stream::iter(tried).buffer_unordered(4).collect::<Vec<()>>().await;

    // The way back: another's state, another browser, another provider's word.
    let mut browser = Browser::new(&house);
    let begun = browser.begins().await;
    let token = hostile.signs(&right(), &hostile.claims(&house, &begun, Value::Null));
    let (other, mut stranger) = (Browser::new(&house).begins().await, Browser::new(&house));
    let said = stranger.comes_back(&begun.state, &token, &hostile.issuer).await.0;
    assert!(said.text().contains("was not begun in this browser"), "{}", said.text());
    let said = browser.comes_back(&other.state, &token, &hostile.issuer).await.0;
    assert!(said.text().contains("was not begun in this browser"), "{}", said.text());
    for issuer in ["https://evil.example", ""] {
        let begun = browser.begins().await;
        let (said, _) = browser.comes_back(&begun.state, &token, issuer).await;
        assert!(said.text().contains("another provider has answered"), "{}", said.text());
    }
    let begun = browser.begins().await;
    house.stage.pass(Duration::from_secs(601));
    let (said, _) = browser.comes_back(&begun.state, &token, &hostile.issuer).await;
    assert!(said.text().contains("took too long"), "{}", said.text());
    let (said, _) = browser.send("GET", "/oidc/acme?error=access_denied&state=x", &[]).await;
    assert!(said.text().contains("did not say who you are (access_denied)"), "{}", said.text());
    let (said, _) = browser.send("GET", "/oidc/acme?error=call%20555-0100&state=x", &[]).await;
    assert!(said.text().contains("(it gives no reason)") && !said.text().contains("555"), "{}", said.text());
    let (said, _) = browser.send("GET", "/oidc/acme?code=%22%3E%3Cb%3E&state=x", &[]).await;
    assert!(said.status == 200 && !said.text().contains("<b>"), "{}", said.text());
    assert_eq!(browser.send("POST", "/oidc/mill/begin", &[]).await.0.status, 404);

    // None of all that is in the journal, and nobody is known by it.
    let known = |event: &Event| matches!(event, Event::SubjectLinked { .. } | Event::SubjectContested { .. });
    assert!(!events(&house).await.iter().any(known));
    assert!(!browser.is_in());
}

#[tokio::test]
async fn an_account_is_one_persons_beside_a_code_and_renames_shared_and_new_accounts_leave_one_state() {
    let hostile = Hostile::start().await;
    let house = house(&hostile).await;
    let (tara, admin) = (&house.stage.technician, house.stage.admin.person);
    let invite = |name: &'static str, vendor: &str| {
        let kind = Kind::Technician { vendor: vendor.parse().unwrap(), role: "maintenance".parse().unwrap() };
        house.stage.people.invite(person(name, kind, &[]), Seconds(600), admin)
    };
    let tom = enrol(&house.stage.people, &invite("tom", "acme").await.unwrap().code).await;
    let linked =
        |who: PersonId| house.stage.desk.with_state(|state| state.people[&who].subjects.values().copied().next());

    // Nobody's yet; a code of the lobby says whose, and the app's code is the second factor, wrong ones not.
    let mut browser = Browser::new(&house);
    let (said, _) = browser.tries(&hostile, json!({})).await;
    assert!(
        said.text().contains("nobody at this gate is linked") && said.text().contains("tess@acme.example"),
        "{}",
        said.text()
    );
    let said = browser.send("POST", "/sign-in/link", &[("code", "nonsense")]).await.0;
    assert!(said.text().contains("this enrolment code has"), "{}", said.text());
    let said = browser.links(tara).await;
    assert!(said.text().contains("One more factor"), "{}", said.text());
    let said = browser.send("POST", "/sign-in/code", &[("code", "000000")]).await.0;
    assert!(said.status == 200 && said.text().contains("One more factor") && !browser.is_in(), "{}", said.text());
    let (said, to) = browser.gives_code(tara).await;
    assert!((said.status, to.as_str()) == (303, "/") && browser.is_in(), "{}", said.text());
    let first = browser.cookies.clone();
    let me = browser.send("GET", "/me", &[]).await.0.text();
    assert!(me.contains("tess@acme.example") && me.contains("Linked since"), "{me}");
    assert!(!me.contains("Umbra"), "who else works here is nobody else's: {me}");
    // What it said was used up.
    let (said, _) = browser.gives_code(tara).await;
    assert!(said.text().contains("took too long"), "{}", said.text());

    // Somebody else, the same account: nothing changes, and the journal knows.
    let before = linked(tara.person);
    let mut second = Browser::new(&house);
    let (said, _) = second.tries(&hostile, json!({})).await;
    assert!(said.text().contains("One more factor"), "{}", said.text());
    let (said, _) = second.gives_code(&tom).await;
    assert!(said.text().contains("One more factor") && !second.is_in(), "tom's code is not tara's");
    let said = second.links(&tom).await;
    let text = said.text().replace("&#39;", "'");
    assert!(text.contains("somebody else's here") && text.contains("Acme"), "{text}");
    assert_eq!((linked(tara.person), linked(tom.person)), (before, None));
    let contested = |event: &Event| matches!(event, Event::SubjectContested { person, holder, .. } if (*person, *holder) == (tom.person, tara.person));
    assert!(events(&house).await.iter().any(contested));

    // Renamed there: even where several factors are believed, the gate's own says that it is the same person.
    let high = |name: &str| json!({ "acr": "high", "preferred_username": name });
    let mut alone = Browser::new(&house);
    let (_, to) = alone.tries(&hostile, high("tess@acme.example")).await;
    assert!(to == "/" && alone.is_in());
    let mut renamed = Browser::new(&house);
    let (said, _) = renamed.tries(&hostile, high("t.miller@acme.example")).await;
    assert!(said.text().contains("called you otherwise before") && !renamed.is_in(), "{}", said.text());
    renamed.gives_code(tara).await;
    assert!(renamed.is_in());
    let is_renamed = |event: &Event| matches!(event, Event::SubjectRenamed { person, .. } if *person == tara.person);
    assert_eq!(events(&house).await.iter().filter(|event| is_renamed(event)).count(), 1);
    assert_eq!(Browser::new(&house).tries(&hostile, high("t.miller@acme.example")).await.1, "/", "known by now");
    let mut nameless = Browser::new(&house);
    let (said, _) = nameless.tries(&hostile, json!({ "acr": "high", "preferred_username": null })).await;
    assert!(said.text().contains("says none now") && !nameless.is_in(), "{}", said.text());

    // Let go by an administrator while the code was looked for: the rename links nothing again.
    let mut slow = Browser::new(&house);
    slow.tries(&hostile, high("tess.again@acme.example")).await;
    let (person, provider) = (tara.person, "acme".parse().unwrap());
    house.stage.desk.act(Command::UnlinkSubject { person, provider, by: admin }).await.unwrap();
    slow.gives_code(tara).await;
    assert_eq!((slow.is_in(), linked(tara.person)), (false, None));
    let mut again = Browser::new(&house);
    again.tries(&hostile, json!({ "preferred_username": "t.miller@acme.example" })).await;
    again.links(tara).await;
    again.gives_code(tara).await;
    assert!(again.is_in());
    alone = again;

    // A new account of the same person takes the place of the old one, and what the old one opened is shut.
    let mut moved = Browser::new(&house);
    moved.tries(&hostile, json!({ "sub": "s-2" })).await;
    let said = moved.links(tara).await;
    assert!(said.text().contains("One more factor"), "{}", said.text());
    let (_, to) = alone.send("GET", "/me", &[]).await;
    assert_eq!(to, "/sign-in", "the old account is no longer theirs");
    browser.cookies = first;
    assert_eq!(browser.send("GET", "/", &[]).await.1, "/sign-in");
    let (said, _) = Browser::new(&house).tries(&hostile, json!({})).await;
    assert!(said.text().contains("nobody at this gate is linked"), "{}", said.text());
    moved.gives_code(tara).await;
    assert!(moved.is_in());

    // A key of the provider's that is new is looked for.
    hostile.said.lock().unwrap().key = ("k2", key(2));
    let (said, _) =
        moved.tries_signed(&hostile, &json!({ "alg": "EdDSA", "kid": "k2" }), json!({ "sub": "s-2" })).await;
    assert!(said.text().contains("One more factor"), "{}", said.text());

    // Out of the group there, and out here: the provider's word opens nothing.
    let (said, _) = moved.tries(&hostile, json!({ "sub": "s-2", "groups": ["Sales"], "acr": "high" })).await;
    assert!(said.status == 403 && said.text().contains("in none of Field service any more"), "{}", said.text());
    let is_refused = |event: &Event| matches!(event, Event::Refused { person, reason, .. } if *person == tara.person && reason == "provider-refused");
    assert!(events(&house).await.iter().any(is_refused));
    house.stage.people.disable(tara.person, admin).await.unwrap();
    let (said, _) = Browser::new(&house).tries(&hostile, json!({ "sub": "s-2", "acr": "high" })).await;
    assert!(said.status >= 400 && said.text().contains("your access was ended"), "{}", said.text());
}

#[tokio::test]
async fn a_provider_that_is_gone_is_told_and_the_passkey_stays() {
    let hostile = Hostile::start().await;
    let house = house(&hostile).await;
    let mut browser = Browser::new(&house);
    let (page, _) = browser.send("GET", "/sign-in", &[]).await;
    assert!(page.text().contains("Sign in with Acme") && !page.text().contains("has not answered"), "{}", page.text());
    // What calls itself otherwise than it is asked as is not asked further.
    hostile.said.lock().unwrap().issuer = "https://evil.example".into();
    let (said, _) = browser.send("POST", "/oidc/acme/begin", &[]).await;
    assert!(said.status == 503 && said.text().contains("it calls itself otherwise"), "{}", said.text());
    hostile.serving.abort();
    let (said, _) = browser.send("POST", "/oidc/acme/begin", &[]).await;
    assert_eq!(said.status, 503);
    assert!(
        said.text().contains("it does not answer") && said.text().contains("Your passkey signs you in"),
        "{}",
        said.text()
    );
    let (page, _) = browser.send("GET", "/sign-in", &[]).await;
    assert!(page.text().contains("Acme has not answered since") && page.text().contains("Sign in with your passkey"));
    // From another site nobody begins.
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", "https://evil.example")];
    let from_elsewhere = house.vendor.call_with(&headers, "POST", "/oidc/acme/begin", None, None, "").await;
    assert_eq!(from_elsewhere.status(), 403);
    // The plant face knows nothing of a vendor's provider.
    let plant = house.door(Face::Plant).call("GET", "/sign-in", None, None, "").await;
    assert!(!answer(plant).await.text().contains("Acme"));
}

/// What `mill` says of somebody is linked to them.
async fn is_known(house: &House, hostile: &Hostile, who: &Actor) {
    let now = house.stage.desk.clock().wall();
    let begun = Begun { state: String::new(), nonce: "n".into() };
    let claims = hostile.claims(house, &begun, json!({ "sub": who.name, "preferred_username": who.name }));
    let token = hostile.signs(&json!({ "alg": "EdDSA" }), &claims);
    let keys = ProviderKeys::parse(key_set(&hostile.said.lock().unwrap()).to_string().as_bytes()).unwrap();
    let expected = Expected {
        provider: &"mill".parse().unwrap(),
        issuer: &hostile.issuer,
        client: "gate",
        nonce: "n",
        several: &SeveralFactors::default(),
        groups_claim: None,
        since: None,
    };
    let token = IdToken::check(&token, &keys, &expected, now).unwrap();
    house.stage.people.link_subject((who.person, now), &token, "Mill").await.unwrap();
}

#[tokio::test]
async fn a_providers_word_alone_gives_nobody_a_way_in_and_counts_towards_no_approval() {
    let hostile = Hostile::start().await;
    let house = house(&hostile).await;
    let (admin, lead) = (&house.stage.admin, &house.stage.lead);
    for who in [admin, lead, &house.auditor] {
        is_known(&house, &hostile, who).await;
    }
    let alone = |who: &Actor| json!({ "sub": who.name, "preferred_username": who.name, "acr": "high" });
    let mut browser = Browser::at_the_plant(&house);
    let (said, _) = browser.tries(&hostile, alone(admin)).await;
    assert!(browser.is_in(), "{}", said.text());
    let csrf = browser.csrf("/people").await;
    let tara = house.stage.technician.person;
    let before = events(&house).await.len();
    let mallory = [("name", "mallory"), ("kind", "technician"), ("vendor", "acme"), ("role", "maintenance")];
    let sponsor = lead.person.to_string();
    let contract = [("vendor", "acme"), ("until", "2036-01-01"), ("sponsor", &*sponsor)];
    for (path, fields) in [
        ("/people".to_owned(), &mallory[..]),
        (format!("/people/{tara}/reinvite"), &[][..]),
        (format!("/people/{}/unlink", lead.person), &[("provider", "mill")][..]),
        ("/vendors".to_owned(), &contract[..]),
    ] {
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", &*csrf)]).collect();
        let said = browser.send("POST", &path, &fields).await.0;
        assert!(said.status == 403 && said.text().contains("which gives nobody a way in"), "{path}: {}", said.text());
    }
    assert_eq!(events(&house).await.len(), before, "nothing came of it");

    // An auditor sees what auditors see, and lets go of nothing that is held.
    let mut auditing = Browser::at_the_plant(&house);
    auditing.tries(&hostile, alone(&house.auditor)).await;
    let csrf = auditing.csrf("/history").await;
    let held = format!("/history/sessions/s_{}/release", "01jd0c4000000000000000000z");
    let said = auditing.send("POST", &held, &[("csrf", &csrf), ("of", &admin.person.to_string())]).await.0;
    assert!(said.status == 403 && said.text().contains("lets no evidence go"), "{}", said.text());
    assert_eq!(events(&house).await.len(), before, "nothing came of it");

    // With a code of the app it is two factors.
    let mut beside = Browser::at_the_plant(&house);
    beside.tries(&hostile, json!({ "sub": admin.name, "preferred_username": admin.name })).await;
    beside.gives_code(admin).await;
    let csrf = beside.csrf("/people").await;
    let said = beside.send("POST", "/people", &[&mallory[..], &[("csrf", &*csrf)]].concat()).await.0;
    assert!(said.status == 200 && events(&house).await.len() > before, "{}", said.text());

    // An answer by a code takes a sign-in with one's own key, whatever the rule lets one do.
    let request = house.stage.ask("hmi-2", &[Action::Shell]).await.unwrap();
    let statement = serde_json::to_string(&house.stage.approval(lead, request).statement).unwrap();
    let mut answering = Browser::at_the_plant(&house);
    answering.tries(&hostile, json!({ "sub": lead.name, "preferred_username": lead.name })).await;
    answering.gives_code(lead).await;
    assert!(answering.is_in());
    // Whose word it was that somebody came on duty by, stands there for ever.
    let is_on_duty = |event: &Event| matches!(event, Event::OnDuty { person, provider: Some(provider), .. } if *person == lead.person && provider.as_str() == "mill");
    assert!(events(&house).await.iter().any(is_on_duty));
    let csrf = answering.csrf("/").await;
    house.stage.pass(Duration::from_secs(30));
    let code = lead.totp.code_at(house.stage.desk.clock().wall()).to_string();
    let fields = [("csrf", &*csrf), ("statement", &statement), ("way", "totp"), ("code", &code)];
    let said = answering.send("POST", "/answered", &fields).await.0;
    assert!(said.status == 403 && said.text().contains("counts towards no approval"), "{}", said.text());
}

#[tokio::test]
async fn whoever_links_has_proved_it_there_anew_and_is_still_signed_in_as_whom_they_began() {
    let hostile = Hostile::start().await;
    let house = house(&hostile).await;
    let (right, tara) = (json!({ "alg": "EdDSA" }), &house.stage.technician);
    let mut browser = Browser::new(&house);
    browser.tries(&hostile, Value::Null).await;
    browser.links(tara).await;
    browser.gives_code(tara).await;
    assert!(browser.is_in());
    let page = browser.send("GET", "/me", &[]).await.0.text();
    assert!(page.contains("takes a passkey"), "{page}");
    browser.makes_a_passkey(tara).await;

    // Whoever found the browser left alone has no answer of it, nor one that was sent before, nor another's.
    let csrf = browser.csrf("/me").await;
    let mut others = Browser::new(&house);
    let kind = Kind::Technician { vendor: "acme".parse().unwrap(), role: "maintenance".parse().unwrap() };
    let invited = house.stage.people.invite(person("tom", kind, &[]), Seconds(600), house.stage.admin.person).await;
    others.makes_a_passkey(&enrol(&house.stage.people, &invited.unwrap().code).await).await;
    let used = browser.answers().await;
    let as_fields = |answer: &[(&'static str, String)]| -> Vec<(&'static str, String)> {
        answer.iter().cloned().chain([("csrf", csrf.clone())]).collect()
    };
    let first = as_fields(&used);
    let first: Vec<_> = first.iter().map(|(name, value)| (*name, value.as_str())).collect();
    browser.goes_there("link", &first).await;
    for answer in [Vec::new(), used, others.answers().await] {
        let fields = as_fields(&answer);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let said = browser.send("POST", "/oidc/acme/link", &fields).await.0;
        assert!(
            said.status == 403 && said.text().contains("the passkey&#39;s answer does not count"),
            "{}",
            said.text()
        );
    }
    let second = json!({ "sub": "s-2", "preferred_username": "tess.two@acme.example" });
    let now = || house.stage.desk.clock().wall().as_second();
    for proved in [Value::Null, json!(now() - 3_600)] {
        let begun = browser.begins_to_link().await;
        let mut claims = second.clone();
        claims["auth_time"] = proved;
        let (said, _) = browser.comes_back_with(&hostile, &right, &begun, claims).await;
        assert!(said.status == 401 && said.text().contains("signed in there anew"), "{}", said.text());
    }
    let links = |events: &[Event]| events.iter().filter(|event| matches!(event, Event::SubjectLinked { .. })).count();
    assert_eq!(links(&events(&house).await), 1);

    // Signed out, and in once more, between there and back: who links is not who began.
    let mut claims = second.clone();
    claims["auth_time"] = json!(now());
    let begun = browser.begins_to_link().await;
    let kept = browser.cookies.iter().find(|(name, _)| name == "__Host-holdpoint-begun").unwrap().clone();
    let mut other = Browser::new(&house);
    other.tries(&hostile, Value::Null).await;
    other.gives_code(tara).await;
    assert!(other.is_in());
    other.cookies.push(kept);
    let (said, _) = other.comes_back_with(&hostile, &right, &begun, claims.clone()).await;
    assert!(said.text().contains("was not begun in this browser"), "{}", said.text());

    let (said, to) = browser.comes_back_with(&hostile, &right, &begun, claims.clone()).await;
    assert_eq!((said.status, to.as_str()), (303, "/me"), "{}", said.text());
    assert_eq!(links(&events(&house).await), 2);
}

#[tokio::test]
async fn what_a_strangers_code_comes_to_shuts_a_provider_for_nobody_else() {
    let hostile = Hostile::start().await;
    let house = house(&hostile).await;
    let known = |page: &Answer| page.text().contains("nobody at this gate is linked");

    // Made to fail there.
    hostile.said.lock().unwrap().token_status = StatusCode::INTERNAL_SERVER_ERROR;
    let mut stranger = Browser::new(&house);
    let begun = stranger.begins().await;
    let cookies = stranger.cookies.clone();
    let (said, _) = stranger.comes_back(&begun.state, "bogus", &hostile.issuer).await;
    assert!(said.status == 503 && said.text().contains("it answers 500"), "{}", said.text());
    stranger.cookies = cookies;
    let (said, _) = stranger.comes_back(&begun.state, "bogus", &hostile.issuer).await;
    assert!(said.status == 401 && said.text().contains("sent twice"), "one way takes one code: {}", said.text());
    hostile.said.lock().unwrap().token_status = StatusCode::OK;
    let page = Browser::new(&house).send("GET", "/sign-in", &[]).await.0;
    assert!(!page.text().contains("has not answered"), "{}", page.text());

    // Made to stall there: so many of one source, and no more.
    let (arrived, let_go) = {
        let said = hostile.said.lock().unwrap();
        (said.arrived.clone(), said.let_go.clone())
    };
    let stalls = || async {
        let mut browser = Browser::new(&house);
        let begun = browser.begins().await;
        browser.comes_back(&begun.state, "stall", &hostile.issuer).await.0.status
    };
    let fifth = async {
        arrived.acquire_many(4).await.unwrap().forget();
        let (said, _) = Browser::new(&house).tries(&hostile, Value::Null).await;
        let_go.add_permits(4);
        said
    };
    let (statuses, said) = tokio::join!(futures::future::join_all([stalls(), stalls(), stalls(), stalls()]), fifth);
    assert_eq!(statuses, [401; 4]);
    assert!(said.status == 503 && said.text().contains("too many people sign in"), "{}", said.text());

    // Those whose places they were come and go; a key that is another under the same name is looked for.
    assert!(known(&Browser::new(&house).tries(&hostile, Value::Null).await.0));
    hostile.said.lock().unwrap().key = ("k1", key(2));
    let (page, _) =
        Browser::new(&house).tries_signed(&hostile, &json!({ "alg": "EdDSA", "kid": "k1" }), Value::Null).await;
    assert!(known(&page), "{}", page.text());
}

#[tokio::test]
async fn a_provider_that_says_it_is_broken_or_that_nobody_vouches_for_is_told_as_one_that_is_gone() {
    let hostile = Hostile::start().await;
    hostile.said.lock().unwrap().document_status = StatusCode::SERVICE_UNAVAILABLE;
    let set = |parts: &mut approver::api::ApiParts| {
        let ca_pem = Err(approver::post::NoCa::of(&"idp.pem: not there"));
        let issuer = "https://127.0.0.1:1".parse().unwrap();
        let unbelievable =
            approver::oidc::ProviderParts { ca_pem, issuer, ..hostile.parts("umbra", "Umbra", Some("umbra")) };
        let providers = Providers::new(vec![hostile.parts("acme", "Acme", Some("acme")), unbelievable]);
        assert_eq!(providers.unbelievable().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["umbra"]);
        parts.providers = providers;
    };
    let house = House::on(Props::new(), set, limits()).await;
    let mut browser = Browser::new(&house);
    for (provider, why) in [("acme", "it answers 503"), ("umbra", "idp.pem: not there")] {
        let path = format!("/oidc/{provider}/begin");
        for _ in 0..2 {
            let (said, _) = browser.send("POST", &path, &[]).await;
            assert!(said.status == 503 && said.text().contains(why), "{}", said.text());
        }
    }
    let page = browser.send("GET", "/sign-in", &[]).await.0.text();
    assert!(page.contains("Acme has not answered since") && page.contains("Umbra has not answered since"), "{page}");
}
