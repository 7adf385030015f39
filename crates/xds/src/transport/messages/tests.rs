use http_body_util::StreamBody;
use hyper::body::Frame;
use proptest::prelude::*;
use tonic::Code;

use super::*;

fn response(nonce: &str, resources: usize) -> Response {
    let resources = (0..resources).map(|n| Bytes::from(format!("resource {n}"))).collect();
    Response { resources, nonce: nonce.to_owned(), ..Response::default() }
}

/// A message as it goes over the wire.
fn framed(response: &Response) -> Vec<u8> {
    let message = response.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &message].concat()
}

/// A body of these pieces, and of trailers with that status if there is one.
fn body(pieces: Vec<Vec<u8>>, status: Option<Code>) -> Body {
    let mut frames: Vec<Result<_, Status>> =
        pieces.into_iter().map(|piece| Ok(Frame::data(Bytes::from(piece)))).collect();
    if let Some(status) = status {
        let value = http::HeaderValue::from(i32::from(status));
        frames.push(Ok(Frame::trailers(
            [(http::HeaderName::from_static("grpc-status"), value)].into_iter().collect(),
        )));
    }
    Body::new(StreamBody::new(tokio_stream::iter(frames)))
}

/// What comes of a body: the messages and how it ended.
fn all(body: Body) -> (Vec<Response>, Option<Status>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut messages, mut all) = (Messages::new(body), Vec::new());
        loop {
            match messages.next().await {
                Ok(Some(message)) => all.push(message),
                Ok(None) => return (all, None),
                Err(status) => return (all, Some(status)),
            }
        }
    })
}

proptest! {
    /// Wherever the pieces are cut.
    #[test]
    fn messages_come_out_as_they_went_in(
        sizes in prop::collection::vec(0_usize..20, 0..5),
        cuts in prop::collection::vec(0_usize..400, 0..20),
    ) {
        let sent: Vec<Response> = sizes.iter().map(|n| response(&n.to_string(), *n)).collect();
        let mut rest = sent.iter().flat_map(framed).collect::<Vec<u8>>();
        let mut pieces = Vec::new();
        for cut in cuts {
            let after = rest.split_off(cut.min(rest.len()));
            pieces.push(std::mem::replace(&mut rest, after));
        }
        pieces.push(rest);
        let (received, end) = all(body(pieces, Some(Code::Ok)));
        prop_assert_eq!(received, sent);
        prop_assert!(end.is_none());
    }

    #[test]
    fn no_bytes_make_it_panic(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..10)) {
        all(body(pieces, None));
    }
}

#[test]
fn a_stream_ends_with_its_status() {
    let whole = framed(&response("n", 1));
    let mut compressed = whole.clone();
    compressed[0] = 1;
    let cases = [
        ("in good order", vec![whole.clone()], Some(Code::Ok), None),
        ("with an error", vec![whole.clone()], Some(Code::Unavailable), Some(Code::Unavailable)),
        ("without a status", vec![whole.clone()], None, Some(Code::Unknown)),
        ("within a message", vec![whole[..7].to_vec()], None, Some(Code::Unknown)),
        ("compressed", vec![compressed], Some(Code::Ok), Some(Code::Unimplemented)),
        ("too long", vec![vec![0, 0xff, 0, 0, 0]], Some(Code::Ok), Some(Code::OutOfRange)),
        ("no message", vec![vec![0, 0, 0, 0, 1, 0xff]], Some(Code::Ok), Some(Code::Internal)),
    ];
    for (case, pieces, status, expected) in cases {
        let (_, end) = all(body(pieces, status));
        assert_eq!(end.map(|status| status.code()), expected, "{case}");
    }
}

#[test]
fn what_one_piece_has_is_not_copied() {
    let mut pieces = Pieces::default();
    let piece = Bytes::from_static(b"a resource");
    pieces.push(piece.clone());
    pieces.push(Bytes::from_static(b" and the rest"));
    pieces.advance(2);
    assert_eq!(pieces.copy_to_bytes(5).as_ptr(), piece[2..].as_ptr());
    assert_eq!(pieces.copy_to_bytes(16), "rce and the rest");
    assert!(!pieces.has_remaining() && pieces.queue.is_empty());
}
