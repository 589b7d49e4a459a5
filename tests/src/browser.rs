//! Chromium with a passkey, at one of the faces: it goes by the face's name, and takes its certificate as if the gate's CA
//! were installed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::person::{GATE, PLANT_FACE};
use crate::plant::Plant;

/// One window. What a test tells it to do has been done when the method returns.
pub struct Browser {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    origin: String,
}

impl Browser {
    /// For the plant face, opened at nothing yet; none, and a word of it, where no browser is installed.
    pub fn new(plant: &Plant) -> Option<Self> {
        Self::at(PLANT_FACE, 9443, plant.faces.plant[0])
    }

    /// For the vendor face.
    pub fn of_a_technician(plant: &Plant) -> Option<Self> {
        Self::at(GATE, 8443, plant.faces.pages[0])
    }

    fn at(face: &str, port: u16, address: SocketAddr) -> Option<Self> {
        let chromium = Path::new("/usr/bin/chromium");
        if !chromium.exists() {
            println!("SKIPPED: no browser is installed (Debian: chromium)");
            return None;
        }
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("player/browser.mjs");
        let mut node = Command::new("node");
        node.arg(program).arg(chromium).args([face, &address.to_string()]);
        let mut child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node runs");
        let (to, from) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
        Some(Self { child, to, from: BufReader::new(from), origin: format!("https://{face}:{port}") })
    }

    #[track_caller]
    fn tell(&mut self, told: &Value) -> Value {
        writeln!(self.to.as_mut().expect("it is open until dropped"), "{told}").expect("the browser listens");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the browser answers");
        let answer: Value = serde_json::from_str(&line).expect("one object");
        assert_eq!(answer["error"], Value::Null, "{told}");
        answer["value"].clone()
    }

    /// Enrols a passkey with the code of an invitation, for somebody of this name.
    #[track_caller]
    pub fn enrols(&mut self, name: &str, code: &str) {
        self.open("/enrol");
        self.says("The code that you were given");
        self.fill("#code", code);
        self.click("Go on");
        self.says(&format!("You enrol as {name}"));
        self.look("enrol");
        self.click("Make the passkey");
        self.says(&format!("You are enrolled, {name}"));
        self.look("enrolled");
    }

    /// Signs in with it.
    #[track_caller]
    pub fn signs_in(&mut self) {
        self.open("/");
        self.says("Sign in with your passkey");
        self.look("sign-in");
        self.click("Sign in with your passkey");
        self.until("document.querySelector('nav')");
    }

    /// A page of the face.
    #[track_caller]
    pub fn open(&mut self, path: &str) {
        self.tell(&json!({"do": "open", "url": format!("{}{path}", self.origin)}));
    }

    /// Plugs a passkey in, which is touched whenever it asks; gives its name.
    #[track_caller]
    pub fn has_a_passkey(&mut self) -> String {
        self.tell(&json!({"do": "passkey"})).as_str().expect("a name").to_owned()
    }

    /// Whether the passkey knows who holds it from now on.
    #[track_caller]
    pub fn knows_its_holder(&mut self, passkey: &str, is: bool) {
        self.tell(&json!({"do": "verified", "authenticator": passkey, "is": is}));
    }

    /// Takes the certificate that the gate makes when it is started again, too, as if the CA behind it were installed.
    #[track_caller]
    pub fn trusts(&mut self) {
        self.tell(&json!({"do": "trust"}));
    }

    /// Waits until these words stand on the page.
    #[track_caller]
    pub fn says(&mut self, words: &str) {
        self.tell(&json!({"do": "says", "words": words}));
    }

    /// Writes into a field, by its selector.
    #[track_caller]
    pub fn fill(&mut self, field: &str, value: &str) {
        self.tell(&json!({"do": "fill", "field": field, "value": value}));
    }

    /// Chooses a file of this machine in a field, by its selector.
    #[track_caller]
    pub fn chooses(&mut self, field: &str, file: &Path) {
        self.tell(&json!({"do": "chooses", "field": field, "file": file}));
    }

    /// Clicks on the first button or link with these words.
    #[track_caller]
    pub fn click(&mut self, words: &str) {
        self.tell(&json!({"do": "click", "words": words}));
    }

    /// Clicks on what has no words, by its selector, at these parts of its width and its height.
    #[track_caller]
    pub fn click_on(&mut self, selector: &str, parts: [f64; 2]) {
        self.tell(&json!({"do": "clickOn", "selector": selector, "parts": parts}));
    }

    /// Types, key by key, wherever the page takes it.
    #[track_caller]
    pub fn types(&mut self, text: &str) {
        self.tell(&json!({"do": "types", "text": text}));
    }

    /// Presses on it, and does not let go.
    #[track_caller]
    pub fn press(&mut self, words: &str) {
        self.tell(&json!({"do": "press", "words": words}));
    }

    /// What JavaScript says of the page.
    #[track_caller]
    pub fn evaluate(&mut self, code: &str) -> Value {
        self.tell(&json!({"do": "evaluate", "code": code}))
    }

    /// Waits until JavaScript says so.
    #[track_caller]
    pub fn until(&mut self, code: &str) {
        self.tell(&json!({"do": "until", "code": code}));
    }

    /// What the browser complained of since it was asked last.
    #[track_caller]
    pub fn complaints(&mut self) -> Value {
        self.tell(&json!({"do": "complaints"}))
    }

    /// Keeps what it downloads in this folder.
    #[track_caller]
    pub fn downloads(&mut self, folder: &Path) {
        self.tell(&json!({"do": "downloads", "folder": folder}));
    }

    /// The cookies of the page, as a browser sends them.
    #[track_caller]
    pub fn cookie(&mut self) -> String {
        self.tell(&json!({"do": "cookie"})).as_str().expect("a text").to_owned()
    }

    /// Looks at the page as it stands: axe-core finds nothing that WCAG 2.2 AA forbids, in light or in dark. Keeps
    /// what is seen in the folder that `HOLDPOINT_SCREENSHOTS` names, if it names one.
    #[track_caller]
    pub fn look(&mut self, name: &str) {
        let modules = std::env::var_os("HOLDPOINT_NODE").expect("the folder with the packages of tests/player");
        let axe = Path::new(&modules).join("node_modules/axe-core/axe.min.js");
        assert_eq!(self.tell(&json!({"do": "axe", "axe": axe})), json!([]), "{name}");
        if let Some(folder) = std::env::var_os("HOLDPOINT_SCREENSHOTS") {
            let file = Path::new(&folder).join(format!("{name}.png"));
            self.tell(&json!({"do": "picture", "file": file}));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of its input ends it, and the browser with it.
        drop(self.to.take());
        self.child.wait().ok();
    }
}
