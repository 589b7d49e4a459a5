//! The two faces on their listeners.

use certs::keys::KeyStore;
use tokio::net::TcpListener;

use super::{App, StartFault};

impl App {
    /// Serves both faces until the program stops.
    pub(super) fn serve_faces(
        &self,
        _keys: &KeyStore,
        _ssh: Vec<TcpListener>,
        _pages: Vec<TcpListener>,
        _plant: Vec<TcpListener>,
    ) -> Result<(), StartFault> {
        Ok(())
    }
}
