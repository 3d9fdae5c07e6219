//! Where exports are received: `[udp://|tcp://|tls://][ADDRESS:]PORT`.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;
use std::sync::Arc;

use rustix::net::sockopt;
use rustls::ServerConfig;

/// How exports come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams: any protocol.
    Udp,
    /// A connection: IPFIX only (RFC 7011, section 10.4).
    Tcp,
    /// An encrypted connection (RFC 7011, section 11.1).
    Tls,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// How exports come.
    pub transport: Transport,
    /// Address and port; the address `::` is all of this host's, of IPv4 as well.
    pub socket: SocketAddr,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (transport, rest) = match text.split_once("://") {
            None | Some(("udp", _)) => (Transport::Udp, text.trim_start_matches("udp://")),
            Some(("tcp", rest)) => (Transport::Tcp, rest),
            Some(("tls", rest)) => (Transport::Tls, rest),
            Some((other, _)) => return Err(format!("`{other}` is none of udp, tcp, tls")),
        };
        let everywhere = |port| SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        let port = rest.trim_start_matches("*:").trim_start_matches(':').parse().map(everywhere);
        let socket = port.or_else(|_| rest.parse());
        let socket = socket.map_err(|_| {
            format!(
                "`{text}` is no place to listen at; use 2055, 192.0.2.1:2055 or tcp://[::]:4739"
            )
        })?;
        Ok(Self { transport, socket })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        };
        write!(f, "{transport}://{}", self.socket)
    }
}

/// Why nothing can be received at an address.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system says no.
    #[error("cannot listen at {address}: {source}")]
    Bind {
        /// Where.
        address: Address,
        /// Why.
        source: io::Error,
    },
    /// Nobody said who we are.
    #[error(
        "cannot listen at {0}: TLS needs a certificate and its key; give --tls-cert and --tls-key"
    )]
    NoCertificate(Address),
}

/// A socket that receives.
#[derive(Debug)]
pub struct Listener {
    /// Where, with the port that the system chose if 0 was asked for.
    pub address: Address,
    pub(crate) socket: Socket,
    /// Bytes the kernel holds while nobody takes them, of UDP.
    pub buffer_bytes: usize,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Udp(UdpSocket),
    /// With what is needed for TLS, if it is that.
    Tcp(TcpListener, Option<Arc<ServerConfig>>),
}

impl Listener {
    /// Receives at `address` from now on; nothing is read yet.
    ///
    /// # Errors
    /// When the system does not let us, or TLS is wanted without a certificate.
    pub fn bind(address: Address, tls: Option<&Arc<ServerConfig>>) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Bind { address, source };
        let (socket, buffer_bytes) = match address.transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(address.socket).map_err(failed)?;
                socket.set_nonblocking(true).map_err(failed)?;
                let bytes = enlarge_buffer(&socket);
                (Socket::Udp(socket), bytes)
            }
            transport => {
                let tls = match (transport, tls) {
                    (Transport::Tls, None) => return Err(ListenError::NoCertificate(address)),
                    (Transport::Tls, Some(config)) => Some(Arc::clone(config)),
                    _ => None,
                };
                let socket = TcpListener::bind(address.socket).map_err(failed)?;
                socket.set_nonblocking(true).map_err(failed)?;
                (Socket::Tcp(socket, tls), 0)
            }
        };
        let bound = match &socket {
            Socket::Udp(socket) => socket.local_addr(),
            Socket::Tcp(socket, _) => socket.local_addr(),
        };
        let address = Address { socket: bound.map_err(failed)?, ..address };
        Ok(Self { address, socket, buffer_bytes })
    }
}

/// As much as we may have: the default of 208 KiB is where collectors lose first.
fn enlarge_buffer(socket: &UdpSocket) -> usize {
    // The first needs CAP_NET_ADMIN, the second ends at net.core.rmem_max.
    if sockopt::set_socket_recv_buffer_size_force(socket, BUFFER_BYTES).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(socket, BUFFER_BYTES);
    }
    sockopt::socket_recv_buffer_size(socket).unwrap_or_default()
}

/// Bytes asked for; the kernel counts its own overhead as well and grants twice of it.
const BUFFER_BYTES: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_udp_at_all_addresses() {
        let parsed = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(parsed("2055").as_deref(), Ok("udp://[::]:2055"));
        assert_eq!(parsed(":2055").as_deref(), Ok("udp://[::]:2055"));
        assert_eq!(parsed("192.0.2.1:9995").as_deref(), Ok("udp://192.0.2.1:9995"));
        assert_eq!(parsed("tcp://4739").as_deref(), Ok("tcp://[::]:4739"));
        assert_eq!(parsed("tls://[::1]:4740").as_deref(), Ok("tls://[::1]:4740"));
        assert!(parsed("dtls://4740").is_err());
        assert!(parsed("here").is_err());
    }
}
