//! Telling by a program of the operator's choice: started without a shell, the notice as one line of JSON on its standard
//! input. What it does with it is its own business.

use std::process::Stdio;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{NotTold, Notice, Notifier};

/// A program that takes longer is ended.
const TAKES_MAX: Duration = Duration::from_secs(30);

/// A program and its arguments. It inherits nothing of the gate's environment but `PATH`.
#[derive(Debug, Clone)]
pub struct RunCommand {
    program: String,
    arguments: Vec<String>,
}

impl RunCommand {
    /// The program first; `None` where there is none.
    pub fn new(command: &[String]) -> Option<Self> {
        let (program, arguments) = command.split_first()?;
        Some(Self { program: program.clone(), arguments: arguments.to_vec() })
    }

    async fn run(&self, notice: &Notice) -> Result<(), NotTold> {
        let failed = |error: std::io::Error| NotTold(format!("{}: {error}", self.program));
        let mut line = serde_json::to_vec(notice).expect("a notice has string keys and finite numbers");
        line.push(b'\n');
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut input = child.stdin.take().expect("its standard input is piped");
        // A program that does not read its input may still have done its work: its exit status decides.
        let written = input.write_all(&line).await;
        drop(input);
        let status = child.wait().await.map_err(failed)?;
        match (status.success(), written) {
            (true, _) => Ok(()),
            (false, Err(error)) => Err(NotTold(format!("{}: {status}, and it did not read: {error}", self.program))),
            (false, Ok(())) => Err(NotTold(format!("{}: {status}", self.program))),
        }
    }
}

impl Notifier for RunCommand {
    fn name(&self) -> &'static str {
        "command"
    }

    fn notify<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), NotTold>> {
        async move {
            let run = tokio::time::timeout(TAKES_MAX, self.run(notice)).await;
            run.unwrap_or_else(|_| Err(NotTold(format!("{} took longer than {TAKES_MAX:?}", self.program))))
        }
        .boxed()
    }
}
