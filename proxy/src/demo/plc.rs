//! A controller on loopback that speaks Modbus/TCP: two hundred holding registers, read with 3 and written with 6 and 16.
//! Everything else it does not know.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A running controller.
pub(super) struct Plc {
    address: SocketAddr,
    registers: Registers,
}

type Registers = Arc<Mutex<[u16; REGISTERS]>>;

const REGISTERS: usize = 200;
/// The register in which the glue's setpoint stands, in degrees.
pub(super) const SETPOINT: u16 = 100;
/// What it is at first.
const COLD: u16 = 120;

impl Plc {
    /// Listens on a port of the system's choice, until `stop`.
    ///
    /// # Errors
    /// Nothing can be listened on.
    pub(super) async fn start(tracker: &TaskTracker, stop: &CancellationToken) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut registers = [0; REGISTERS];
        registers[usize::from(SETPOINT)] = COLD;
        let registers = Arc::new(Mutex::new(registers));
        let (served, tasks, until) = (Arc::clone(&registers), tracker.clone(), stop.clone());
        tracker.spawn(async move {
            while let Some(Ok((socket, _))) = until.run_until_cancelled(listener.accept()).await {
                let (registers, until) = (Arc::clone(&served), until.clone());
                tasks.spawn(async move { until.run_until_cancelled(serve(socket, &registers)).await });
            }
        });
        Ok(Self { address, registers })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The setpoint as it stands.
    pub(super) fn setpoint(&self) -> u16 {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(SETPOINT)]
    }
}

/// Answers requests until the connection ends, or sends what is none.
async fn serve(mut socket: TcpStream, registers: &Mutex<[u16; REGISTERS]>) {
    loop {
        let mut head = [0; 7];
        if socket.read_exact(&mut head).await.is_err() {
            return;
        }
        let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
        if !(2..=254).contains(&length) {
            return;
        }
        let mut asked = vec![0; length - 1];
        if socket.read_exact(&mut asked).await.is_err() {
            return;
        }
        let answer = {
            let mut registers = registers.lock().unwrap_or_else(PoisonError::into_inner);
            answer(&asked, &mut *registers).unwrap_or_else(|exception| vec![asked[0] | 0x80, exception])
        };
        let length = u16::try_from(answer.len() + 1).expect("an answer is short");
        let mut whole = head[..4].to_vec();
        whole.extend_from_slice(&length.to_be_bytes());
        whole.push(head[6]);
        whole.extend_from_slice(&answer);
        if socket.write_all(&whole).await.is_err() {
            return;
        }
    }
}

/// What a request is answered with (MODBUS Application Protocol V1.1b3, 6); the exception's code where it cannot be done.
fn answer(asked: &[u8], registers: &mut [u16]) -> Result<Vec<u8>, u8> {
    const ILLEGAL_FUNCTION: u8 = 1;
    const ILLEGAL_ADDRESS: u8 = 2;
    const ILLEGAL_VALUE: u8 = 3;
    let word =
        |at: usize| asked.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).ok_or(ILLEGAL_VALUE);
    match asked[0] {
        3 => {
            let (from, count) = (usize::from(word(1)?), usize::from(word(3)?));
            let read = registers.get(from..from + count).filter(|read| (1..=125).contains(&read.len()));
            let bytes: Vec<u8> = read.ok_or(ILLEGAL_ADDRESS)?.iter().flat_map(|value| value.to_be_bytes()).collect();
            Ok([vec![3, u8::try_from(bytes.len()).expect("at most 250")], bytes].concat())
        }
        6 => {
            *registers.get_mut(usize::from(word(1)?)).ok_or(ILLEGAL_ADDRESS)? = word(3)?;
            Ok(asked[..5].to_vec())
        }
        16 => {
            let (from, count) = (usize::from(word(1)?), usize::from(word(3)?));
            let written = registers.get_mut(from..from + count).ok_or(ILLEGAL_ADDRESS)?;
            for (offset, register) in written.iter_mut().enumerate() {
                *register = word(6 + 2 * offset)?;
            }
            Ok(asked[..5].to_vec())
        }
        _ => Err(ILLEGAL_FUNCTION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read_and_written_and_the_rest_is_refused_by_its_number() {
        let mut registers = [0; 4];
        assert_eq!(answer(&[6, 0, 1, 0, 55], &mut registers), Ok(vec![6, 0, 1, 0, 55]));
        assert_eq!(answer(&[16, 0, 2, 0, 2, 4, 0, 7, 1, 0], &mut registers), Ok(vec![16, 0, 2, 0, 2]));
        assert_eq!(answer(&[3, 0, 1, 0, 3], &mut registers), Ok(vec![3, 6, 0, 55, 0, 7, 1, 0]));
        assert_eq!(answer(&[3, 0, 3, 0, 2], &mut registers), Err(2));
        assert_eq!(answer(&[16, 0, 2, 0, 2, 4, 0, 7], &mut registers), Err(3));
        assert_eq!(answer(&[90, 0], &mut registers), Err(1));
    }
}
