//! A machine in the plant: takes one password, greets on a shell, and echoes.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use russh::keys::{HashAlg, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg};
use russh::{Channel, ChannelId};
use tokio::net::TcpListener;

pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) struct Machine {
    pub(crate) address: SocketAddr,
    host_key: PrivateKey,
}

impl Machine {
    pub(crate) async fn start() -> Self {
        let host_key = certs::ssh_ca::fresh_key("hmi-2");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(server::Config { keys: vec![host_key.clone()], ..server::Config::default() });
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let config = Arc::clone(&config);
                tokio::spawn(async move {
                    if let Ok(running) = server::run_stream(config, socket, Panel).await {
                        drop(running.await);
                    }
                });
            }
        });
        Self { address, host_key }
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.host_key.public_key().fingerprint(HashAlg::Sha256).to_string()
    }
}

struct Panel;

impl server::Handler for Panel {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        Ok(if (user, password) == ("maint", PASSWORD) { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], session: &mut server::Session) -> Result<(), russh::Error> {
        session.data(id, Bytes::copy_from_slice(data))?;
        Ok(())
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut server::Session) -> Result<(), russh::Error> {
        session.channel_success(id)?;
        session.data(id, Bytes::from_static(b"\x1b]0;a title\x07PANEL \x1b[31mready\x1b[0m\r\n"))?;
        Ok(())
    }
}
