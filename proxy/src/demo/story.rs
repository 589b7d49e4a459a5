//! The story that `holdpoint demo --auto` plays with the gate running: refused, asked, approved, worked, a file refused,
//! a controller looked at and then touched, extended, cut. What is done with the evidence afterwards is in `evidence`.

use std::sync::Arc;
use std::time::Duration;

use approver::floor::Floor as _;
use policies::ids::SessionId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::crew::{OPERATOR, TECHNICIAN};
use super::stage::{Stage, plain};
use super::technician::{Reply, Shell, Technician};
use super::{DemoFault, Plant};

/// Why tess comes.
const REASON: &str = "the glue is too cold, alarm E-207";
/// What tess does about it.
const REMEDY: &str = "set glue.temp_sp 165";
/// What is looked for in the recording.
pub(super) const DONE: &str = "glue.temp_sp set to 165";
/// How often the panel is looked at while the glue warms up.
const LOOKED_AT: Duration = Duration::from_millis(300);

/// Plays it; gives the session that was cut.
///
/// # Errors
/// The first step that did not end as it was told.
pub(super) async fn play(stage: &mut Stage, plant: &Plant) -> Result<SessionId, DemoFault> {
    say!(
        "A packaging line, its panel hmi-2, and a gate before it. tess is a technician of the vendor acme, lee is shift \
         lead.\nEverything listens on loopback; the gate is the real one, tess uses a real SSH client, and what lee types \
         is run."
    );
    let (mut tess, prompts) = refused(stage, plant).await?;
    asked(stage, &mut tess, &prompts).await?;
    approved(stage, plant, &mut tess).await?;
    let (session, mut shell) = worked(stage, plant, &tess).await?;
    file_refused(stage, plant).await?;
    looked_and_then_touched(stage, plant).await?;
    extended(stage, plant, &mut shell).await?;
    cut(stage, plant, tess, shell, session).await?;
    Ok(session)
}

/// Connects as tess, with key and code; with the key alone where the rule lets a complete login serve for a while.
async fn sign_in(stage: &Stage, plant: &Plant, user: &str, order: &str) -> Result<(Technician, Reply), DemoFault> {
    say!("{}", format!("    {TECHNICIAN}$ ssh {user}@gate {order}").trim_end());
    let connecting = Technician::connect(plant.ssh(), &plant.host_key, user, Arc::clone(&plant.technician));
    let (mut tess, wanted) = stage.in_time("the gate to answer", connecting).await??;
    if wanted == Reply::In {
        return Ok((tess, wanted));
    }
    let (_, prompts) = stage.questions(wanted, "a code to be wanted beside the key")?;
    stage.expect(prompts.len() == 1, "one code to be asked for", &prompts.join(", "))?;
    let code = stage.code(TECHNICIAN).await?;
    let reply = stage.in_time("the code to be checked", tess.answer(&[&code])).await??;
    Ok((tess, reply))
}

async fn refused(stage: &mut Stage, plant: &Plant) -> Result<(Technician, Vec<String>), DemoFault> {
    stage.step("refused", "tess connects. Key and code are right, but nobody at the plant has said yes.");
    let (tess, reply) = sign_in(stage, plant, "tess+hmi-2", "").await?;
    let (words, prompts) = stage.questions(reply, "no way in without a grant")?;
    stage.seen(TECHNICIAN, &words);
    stage.expect(words.contains("No grant for hmi-2"), "the gate to say that there is no grant", &words)?;
    let reached = plant.hmi.connections();
    stage.expect(reached == 0, "that nothing reached the panel", &format!("{reached} connections"))?;
    stage.so("Not one byte reached the panel.");
    Ok((tess, prompts))
}

async fn asked(stage: &mut Stage, tess: &mut Technician, prompts: &[String]) -> Result<(), DemoFault> {
    stage.step("asked", "She answers the gate's questions: why, for what, for how long. Her client waits.");
    answer(stage, tess, prompts, &[REASON, "shell", "6m"]).await
}

/// Answers what the gate asks before a request, one by one; then the request must wait for a shift lead.
async fn answer(stage: &Stage, tess: &mut Technician, prompts: &[String], answers: &[&str]) -> Result<(), DemoFault> {
    let (mut words, mut prompts) = (String::new(), prompts.to_vec());
    for answer in answers {
        let [prompt] = prompts.as_slice() else {
            return Err(stage.unlike("one question at a time", &prompts.join("\n")));
        };
        stage.seen(TECHNICIAN, &format!("{prompt}{answer}"));
        let reply = stage.in_time("the answer to be taken", tess.answer(&[answer])).await??;
        (words, prompts) = stage.questions(reply, "the next question, or the request to wait")?;
    }
    stage.expect(prompts.is_empty(), "no more questions than answers", &prompts.join("\n"))?;
    stage.seen(TECHNICIAN, &words);
    stage.expect(words.contains("waits for 1 of shift-lead"), "the request to wait for a shift lead", &words)
}

async fn approved(stage: &mut Stage, plant: &Plant, tess: &mut Technician) -> Result<(), DemoFault> {
    stage.step(
        "approved",
        "lee signs in with key and code, reads the request, and signs a yes, for less time than asked.\n\
         The signature is lee's own; the gate cannot make one.",
    );
    let code = stage.code(OPERATOR).await?;
    stage.types(OPERATOR, &["login"], &format!("{}\n", code.as_str())).await?;
    approve(stage, tess, "hmi-2", &["--for", "3m"]).await?;
    stage.so("tess's client, which waited all the while, is let in.");
    let reached = plant.hmi.connections();
    stage.expect(reached == 0, "that nothing reached the panel before it was asked for", &reached.to_string())?;
    Ok(())
}

/// lee looks at what waits and says yes; then the technician who waits must be let in.
async fn approve(stage: &Stage, tess: &mut Technician, target: &str, narrowing: &[&str]) -> Result<(), DemoFault> {
    let listed = stage.types(OPERATOR, &["requests"], "").await?;
    stage.expect(listed.contains(TECHNICIAN) && listed.contains(target), "the request to be listed", &listed)?;
    let pending = listed.lines().find(|line| line.contains("pending")).unwrap_or_default();
    let request = id(stage, pending, "r_")?;
    let approving = [&["approve", &request], narrowing, &["--yes"]].concat();
    let (approved, connected) =
        tokio::join!(stage.types(OPERATOR, &approving, ""), stage.in_time("the technician to be let in", tess.wait()));
    approved?;
    let connected = connected??;
    stage.expect(connected == Reply::In, "the technician to be let in", &format!("{connected:?}"))
}

async fn worked(stage: &mut Stage, plant: &Plant, tess: &Technician) -> Result<(SessionId, Shell), DemoFault> {
    stage.step(
        "worked",
        "tess finds the glue too cold, sets it right, and takes the recipe home. The gate signs in at the\n\
         panel for her, with a password that lies sealed in the gate and that she never sees.",
    );
    let mut shell = stage.in_time("a shell", tess.shell()).await??;
    at_prompt(stage, &mut shell).await?;
    shell.types(REMEDY).await?;
    let set = at_prompt(stage, &mut shell).await?;
    stage.seen(TECHNICIAN, &format!("{}{set}", super::panel::PROMPT));
    stage.expect(set.contains(DONE), DONE, &set)?;
    let warm = async {
        loop {
            shell.types("status").await?;
            let status = at_prompt(stage, &mut shell).await?;
            if status.contains("alarm: none") {
                return Ok::<_, DemoFault>(status);
            }
            tokio::time::sleep(LOOKED_AT).await;
        }
    };
    let status = stage.in_time("the alarm to go", warm).await??;
    stage.seen(TECHNICIAN, status.lines().nth(1).unwrap_or_default());
    let files = stage.in_time("file copies", tess.files()).await??;
    say!("    {TECHNICIAN}$ sftp get recipe-12.txt");
    let recipe = stage.in_time("a file", files.read("recipe-12.txt")).await??;
    let text = String::from_utf8_lossy(&recipe);
    stage.expect(text.contains("glue.temp_sp"), "the recipe", &text)?;
    files.close().await?;
    stage.so(&format!("The alarm is gone, and {} bytes came down: each recorded before it passed.", recipe.len()));
    let session = plant.app.floor().list().first().map(|live| live.session);
    Ok((session.ok_or_else(|| stage.unlike("a live session", "none"))?, shell))
}

async fn at_prompt(stage: &Stage, shell: &mut Shell) -> Result<String, DemoFault> {
    let seen = stage.in_time("the panel to answer", shell.until(super::panel::PROMPT)).await?;
    let text = seen.ok_or_else(|| stage.unlike("the panel's prompt", "a closed channel"))?;
    Ok(plain(text.trim_end_matches(super::panel::PROMPT)))
}

async fn file_refused(stage: &mut Stage, plant: &Plant) -> Result<(), DemoFault> {
    stage.step(
        "refused a file",
        "From the historian she wants a trend, and to put a recipe there. lee gives the first alone.",
    );
    let (mut tess, reply) = sign_in(stage, plant, "tess+historian", "").await?;
    let (_, prompts) = stage.questions(reply, "the gate to ask what for")?;
    answer(stage, &mut tess, &prompts, &["the night's trend, and a better recipe", "file-get, file-put", "6m"]).await?;
    approve(stage, &mut tess, "historian", &["--actions", "file-get"]).await?;
    let files = stage.in_time("file copies", tess.files()).await??;
    say!("    {TECHNICIAN}$ sftp get trend-glue.csv");
    let trend = stage.in_time("a file", files.read("trend-glue.csv")).await??;
    let text = String::from_utf8_lossy(&trend);
    stage.expect(text.starts_with("minute,glue_c\n") && trend.len() > 1_000, "the trend", &text)?;
    stage.so(&format!("{} bytes came down, each recorded before it passed.", trend.len()));
    say!("    {TECHNICIAN}$ sftp put recipe-13.txt");
    let put = stage.in_time("an answer", files.create("recipe-13.txt")).await?;
    let words = put.err().map_or_else(|| "it was taken".to_owned(), |refused| refused.to_string());
    stage.seen(TECHNICIAN, &words);
    stage.expect(words.contains("file-put is not granted"), "the gate to refuse it, with words", &words)?;
    let listed = stage.in_time("a listing", files.read_dir("/")).await??;
    let is_there = listed.map(|entry| entry.file_name()).any(|name| name == "recipe-13.txt");
    stage.expect(!is_there, "that the historian has no such file", "it has")?;
    stage.so("The historian never heard of it.");
    files.close().await?;
    tess.hang_up().await?;
    Ok(())
}

/// Register 100 of the controller: a read, a write that is refused, and the same write once lee said yes.
async fn looked_and_then_touched(stage: &mut Stage, plant: &Plant) -> Result<(), DemoFault> {
    const READ: [u8; 12] = [0, 1, 0, 0, 0, 6, 1, 3, 0, 100, 0, 1];
    const WRITE: [u8; 12] = [0, 2, 0, 0, 0, 6, 1, 6, 0, 100, 0, 165];
    const REFUSED: [u8; 9] = [0, 2, 0, 0, 0, 3, 1, 0x86, 1];
    stage.step("looked", "The controller plc-7 speaks Modbus. She asks to look, and lee gives that.");
    let (mut tess, reply) = sign_in(stage, plant, "tess+plc-7", "").await?;
    let (_, prompts) = stage.questions(reply, "the gate to ask what for")?;
    answer(stage, &mut tess, &prompts, &["which setpoint the controller has", "observe", "6m"]).await?;
    approve(stage, &mut tess, "plc-7", &[]).await?;
    let port = plant.plc.address().port();
    let mut tool = stage.in_time("a connection", tess.forward("plc-7", port)).await??;
    let read = exchange(stage, &mut tool, &READ, 11).await?;
    stage.expect(read[9..] == [0, 120], "the setpoint", &format!("{read:?}"))?;
    stage.so("Her tool reads 120 from holding register 40101.");
    let refused = exchange(stage, &mut tool, &WRITE, REFUSED.len()).await?;
    stage.expect(refused == REFUSED, "the write to be refused in Modbus's own form", &format!("{refused:?}"))?;
    stage.expect(
        plant.plc.setpoint() == 120,
        "that the controller never heard of it",
        &plant.plc.setpoint().to_string(),
    )?;
    stage.so("It writes 165: the gate answers with exception 01, and the controller never heard of it.");
    stage.step("touched", "She asks for more while her tool stays connected; lee signs for five minutes.");
    ask_in_the_lobby(stage, plant, "widen operate --at plc-7 --for 5m the setpoint is too low").await?;
    let listed = stage.types(OPERATOR, &["requests"], "").await?;
    let ask = id(stage, &listed, "a_")?;
    stage.types(OPERATOR, &["approve", &ask, "--yes"], "").await?;
    let passes = async {
        while exchange_one(&mut tool, &WRITE).await? != WRITE {
            tokio::time::sleep(LOOKED_AT).await;
        }
        Ok::<_, DemoFault>(())
    };
    stage.in_time("the write to pass", passes).await??;
    stage.expect(plant.plc.setpoint() == 165, "the new setpoint", &plant.plc.setpoint().to_string())?;
    stage
        .so("The same write passes on the same connection. After the five minutes the gate closes it again by itself.");
    drop(tool);
    tess.hang_up().await?;
    Ok(())
}

async fn exchange(
    stage: &Stage,
    tool: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
    length: usize,
) -> Result<Vec<u8>, DemoFault> {
    let exchanging = async {
        tool.write_all(request).await?;
        let mut answer = vec![0; length];
        tool.read_exact(&mut answer).await?;
        Ok::<_, DemoFault>(answer)
    };
    stage.in_time("the controller's answer", exchanging).await?
}

/// Sends a request and reads its whole answer, however long it is.
async fn exchange_one(tool: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> Result<Vec<u8>, DemoFault> {
    const HEAD: usize = 6;
    tool.write_all(request).await?;
    let mut answer = vec![0; HEAD];
    tool.read_exact(&mut answer).await?;
    let rest = usize::from(u16::from_be_bytes([answer[4], answer[5]]));
    answer.resize(HEAD + rest, 0);
    tool.read_exact(&mut answer[HEAD..]).await?;
    Ok(answer)
}

/// Gives an order in the lobby, which must be taken.
async fn ask_in_the_lobby(stage: &Stage, plant: &Plant, order: &str) -> Result<(), DemoFault> {
    let (lobby, reply) = sign_in(stage, plant, TECHNICIAN, order).await?;
    stage.expect(reply == Reply::In, "the lobby", &format!("{reply:?}"))?;
    let (said, status) = stage.in_time("an answer", lobby.run(order)).await??;
    stage.seen(TECHNICIAN, &said);
    stage.expect(status == Some(0), "the order to be taken", &said)?;
    lobby.hang_up().await?;
    Ok(())
}

async fn extended(stage: &mut Stage, plant: &Plant, shell: &mut Shell) -> Result<(), DemoFault> {
    stage.step("extended", "Time runs out; she asks for more, lee signs again, and the running session lasts longer.");
    ask_in_the_lobby(stage, plant, "extend 5m --at hmi-2 watching whether it holds").await?;
    let listed = stage.types(OPERATOR, &["requests"], "").await?;
    let ask = id(stage, &listed, "a_")?;
    stage.types(OPERATOR, &["approve", &ask, "--yes"], "").await?;
    let told = stage.in_time("word in the terminal", shell.until("The session now lasts until")).await?;
    let told = told.ok_or_else(|| stage.unlike("word in the terminal", "a closed channel"))?;
    let until = stage.in_time("the rest of it", shell.until("\r\n")).await?.unwrap_or_default();
    stage.seen(TECHNICIAN, plain(&(told + &until)).lines().last().unwrap_or_default());
    Ok(())
}

async fn cut(
    stage: &mut Stage,
    plant: &Plant,
    tess: Technician,
    mut shell: Shell,
    session: SessionId,
) -> Result<(), DemoFault> {
    stage.step("cut", "lee ends it at once. It acts before it is recorded, and nobody gets back until it is reopened.");
    stage.types(OPERATOR, &["cut", &session.to_string()], "").await?;
    let last = plain(&stage.in_time("the terminal to be closed", shell.rest()).await?);
    stage.seen(TECHNICIAN, &last);
    let farewell = stage.in_time("the connection to be closed", tess.farewell()).await?;
    stage.seen(TECHNICIAN, &format!("Received disconnect: {farewell}"));
    stage.expect(farewell.contains("Access was cut by an operator"), "the reason in the disconnect", &farewell)?;
    let reached = plant.hmi.connections();
    let again = Technician::connect(plant.ssh(), &plant.host_key, "tess+hmi-2", Arc::clone(&plant.technician));
    let (again, reply) = stage.in_time("the gate to answer", again).await??;
    let open = match reply {
        Reply::In => stage.in_time("an answer", again.run("status")).await?.is_ok_and(|(_, status)| status == Some(0)),
        Reply::Asked(..) | Reply::Refused => false,
    };
    stage.expect(!open && plant.hmi.connections() == reached, "that she is not let in again", "the panel answered")?;
    stage.so("She tries again, and the panel is not reached.");
    Ok(())
}

/// The first identifier of a kind in a text.
fn id(stage: &Stage, text: &str, prefix: &str) -> Result<String, DemoFault> {
    let is_id = |word: &&str| word.strip_prefix(prefix).is_some_and(|rest| rest.len() == ULID_CHARS);
    let found = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').find(is_id);
    found.map(str::to_owned).ok_or_else(|| stage.unlike(&format!("an identifier {prefix}…"), text))
}

/// Characters of an identifier behind its prefix.
const ULID_CHARS: usize = 26;
