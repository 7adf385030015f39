//! Exchanges over WebSocket and TCP: what the server saw, then the echo of what was sent.

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};

use super::{Target, same};

/// What is sent where nothing was given.
const DEFAULT_DATA: &str = "hello";

pub(super) async fn websocket(target: &Target) -> Result<String> {
    let path = target.url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = format!("ws://{}{path}", target.authority).into_client_request()?;
    for (name, value) in &target.headers {
        request.headers_mut().insert(name.parse::<HeaderName>()?, value.parse::<HeaderValue>()?);
    }
    let (mut socket, _) = tokio_tungstenite::client_async(request, target.connect().await?).await?;
    let data = target.data.as_deref().unwrap_or(DEFAULT_DATA);
    let seen = text(socket.next().await)?;
    socket.send(Message::text(data)).await?;
    same(data, &text(socket.next().await)?)?;
    socket.close(None).await?;
    Ok(seen)
}

fn text<E>(message: Option<Result<Message, E>>) -> Result<String>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match message.context("the server closed the connection")?? {
        Message::Text(text) => Ok(text.to_string()),
        other => bail!("unexpected message {other:?}"),
    }
}

pub(super) async fn tcp(target: &Target) -> Result<String> {
    let mut stream = target.connect().await?;
    let data = target.data.as_deref().unwrap_or(DEFAULT_DATA);
    stream.write_all(data.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (seen, echoed) = answer.split_once('\n').context("the answer has no first line")?;
    same(data, echoed)?;
    Ok(seen.to_owned())
}
