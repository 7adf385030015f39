//! The client: one exchange for each call, and the answer on standard output.

mod grpc;
mod http;
mod stream;
mod tls;

use std::time::Duration;

use ::http::Uri;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What to call, and how often.
#[derive(Args)]
pub(crate) struct Options {
    /// http://, h2c://, https:// or tls://, grpc://, ws:// or tcp://, then host:port and for HTTP a path.
    url: Uri,
    /// Calls to make, one after the other.
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// Make a new connection for each call of HTTP and gRPC; WebSocket and TCP always do.
    #[arg(long)]
    fresh: bool,
    /// What to send; HTTP then uses POST.
    #[arg(long)]
    data: Option<String>,
    /// A header or gRPC metadata, may be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The server name of TLS, if not the host.
    #[arg(long)]
    sni: Option<String>,
    /// The most seconds that one call may take.
    #[arg(long, default_value_t = 10)]
    timeout: u64,
}

/// One kind of exchange with one server.
#[derive(Clone, Copy)]
pub(crate) enum Scheme {
    Http,
    H2c,
    Tls,
    Grpc,
    WebSocket,
    Tcp,
}

/// What every kind of exchange needs.
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    url: Uri,
    /// host:port.
    authority: String,
    data: Option<String>,
    headers: Vec<(String, String)>,
    sni: Option<String>,
}

/// Something that can be asked again.
pub(crate) enum Session {
    Http(http::Session),
    Grpc(grpc::Session),
    /// Connects anew for each call.
    Stream,
}

/// Calls and prints; fails at the first call that fails.
pub(crate) async fn run(options: Options) -> Result<()> {
    let limit = Duration::from_secs(options.timeout);
    let (count, fresh) = (options.count, options.fresh);
    let target = Target::new(options)?;
    let mut session = None;
    for number in 1..=count {
        let exchange = async {
            let mut current = match session.take().filter(|_| !fresh) {
                Some(session) => session,
                None => target.open().await?,
            };
            let answer = target.call(&mut current).await?;
            Ok::<_, anyhow::Error>((answer, current))
        };
        let done = timeout(limit, exchange).await;
        let (answer, current) = done
            .unwrap_or_else(|_| bail!("no answer within {} s", limit.as_secs()))
            .with_context(|| format!("call {number} of {count} to {}", target.url))?;
        println!("{}", answer.trim_end());
        session = Some(current);
    }
    Ok(())
}

// === impl Target ===

impl Target {
    fn new(options: Options) -> Result<Self> {
        let Options { url, data, headers, sni, .. } = options;
        let headers = headers
            .iter()
            .map(|header| {
                let (name, value) =
                    header.split_once(':').context("not of the form name: value")?;
                Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect::<Result<_>>()?;
        Ok(Self { data, headers, sni, ..Self::of(url)? })
    }

    /// Plain calls of `url`.
    pub(crate) fn of(url: Uri) -> Result<Self> {
        let (scheme, port) = match url.scheme_str() {
            Some("http") => (Scheme::Http, Some(80)),
            Some("h2c") => (Scheme::H2c, Some(80)),
            Some("https" | "tls") => (Scheme::Tls, Some(443)),
            Some("ws") => (Scheme::WebSocket, Some(80)),
            Some("grpc") => (Scheme::Grpc, None),
            Some("tcp") => (Scheme::Tcp, None),
            _ => bail!("{url} has no scheme of http, h2c, https, tls, grpc, ws, tcp"),
        };
        let host = url.host().with_context(|| format!("{url} names no host"))?;
        let port = url.port_u16().or(port).with_context(|| format!("{url} names no port"))?;
        let authority = format!("{host}:{port}");
        Ok(Self { scheme, authority, data: None, headers: Vec::new(), sni: None, url })
    }

    pub(crate) async fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(&self.authority)
            .await
            .with_context(|| format!("connecting to {}", self.authority))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    pub(crate) async fn open(&self) -> Result<Session> {
        Ok(match self.scheme {
            Scheme::Http => Session::Http(http::Session::http1(self.connect().await?).await?),
            Scheme::H2c => Session::Http(http::Session::http2(self.connect().await?).await?),
            Scheme::Tls => Session::Http(tls::open(self).await?),
            Scheme::Grpc => Session::Grpc(grpc::open(self).await?),
            Scheme::WebSocket | Scheme::Tcp => Session::Stream,
        })
    }

    pub(crate) async fn call(&self, session: &mut Session) -> Result<String> {
        match (session, self.scheme) {
            (Session::Http(session), _) => session.call(self).await,
            (Session::Grpc(session), _) => session.call(self).await,
            (Session::Stream, Scheme::WebSocket) => stream::websocket(self).await,
            (Session::Stream, _) => stream::tcp(self).await,
        }
    }
}

/// Checks that what came back is what was sent.
fn same(sent: &str, echoed: &str) -> Result<()> {
    ensure!(sent == echoed, "sent {sent:?}, got {echoed:?} back");
    Ok(())
}
