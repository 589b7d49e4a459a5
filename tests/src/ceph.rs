//! A real S3 with Object Lock, for tests of what is kept in a bucket: Ceph's gateway, on loopback, with a folder of its own. It
//! takes some fifteen seconds to start, so one test has all that is asked of it. It ends with the value.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use approver::testing::bucket::write_credentials;
use tempfile::TempDir;

use crate::process::{Ended, run};

/// A running service.
pub struct Ceph {
    process: Child,
    port: u16,
    folder: TempDir,
    python: String,
}

/// The key to it.
const KEY: [&str; 2] = ["AK1", "SK1secretSK1secret"];

impl Ceph {
    /// Starts one; none where it is not installed, which is said.
    pub fn start() -> Option<Self> {
        let python = crate::python()?;
        if !Path::new("/usr/bin/radosgw").exists() {
            println!("SKIPPED: Ceph (Debian: radosgw ceph-mon ceph-osd ceph-mgr) is not installed");
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: only root runs Ceph");
            return None;
        }
        // Paths of its sockets are short.
        let folder = tempfile::Builder::new().prefix("c").tempdir_in("/tmp").expect("a folder");
        let port = free_port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/ceph.sh");
        let mut command = Command::new(script);
        command.arg(folder.path().join("d")).arg(port.to_string()).arg(free_port().to_string());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash");
        // The script gives up by itself.
        let (mut said, out) = (String::new(), process.stdout.take().expect("piped"));
        BufReader::new(out).read_line(&mut said).expect("read");
        assert_eq!(
            said.trim(),
            "ready",
            "{}",
            std::fs::read_to_string(folder.path().join("d/log/start")).unwrap_or_default()
        );
        Some(Self { process, port, folder, python })
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A file with the key to it.
    pub fn credentials(&self) -> PathBuf {
        let path = self.folder.path().join("credentials");
        write_credentials(&path, KEY[0], KEY[1]);
        path
    }

    /// Asks it by Amazon's own client, in Python; `s3` is the client.
    pub fn ask(&self, code: &str) -> Ended {
        let head = format!(
            "import boto3\nfrom botocore.config import Config\nfrom botocore.exceptions import ClientError\n\
             s3 = boto3.client('s3', endpoint_url='{}', aws_access_key_id='{}', aws_secret_access_key='{}', \
             region_name='us-east-1', config=Config(s3={{'addressing_style': 'path'}}, retries={{'max_attempts': 1}}))\n",
            self.endpoint(),
            KEY[0],
            KEY[1]
        );
        run(Command::new(&self.python).arg("-c").arg(format!("{head}{code}")), b"")
    }

    /// Makes a bucket with Object Lock.
    pub fn make(&self, bucket: &str) {
        self.ask(&format!("s3.create_bucket(Bucket='{bucket}', ObjectLockEnabledForBucket=True)")).ok();
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        // The script ends what it started when nobody is left who could write to it.
        drop(self.process.stdin.take());
        drop(self.process.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}
