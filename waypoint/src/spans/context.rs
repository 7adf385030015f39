//! Trace context in headers: W3C's `traceparent`, and B3 in one header or in several.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// Where in which trace a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub trace: u128,
    pub span: u64,
    pub sampled: bool,
    /// Whether somebody before has decided about sampling.
    pub decided: bool,
    parent: Option<u64>,
    form: Form,
}

/// How it was told, and is told on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    W3c,
    B3,
    B3Single,
}

// === impl Context ===

impl Context {
    /// What a request brings; W3C first.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        text(&TRACEPARENT).and_then(w3c).or_else(|| text(&B3).and_then(b3_single)).or_else(|| {
            let sampled = match (text(&B3_FLAGS), text(&B3_SAMPLED)) {
                (Some("1"), _) => Some("d"),
                (_, sampled) => sampled,
            };
            Self::of_b3(text(&B3_TRACE)?, text(&B3_SPAN)?, sampled, Form::B3)
        })
    }

    /// A trace that begins here.
    pub(crate) fn random() -> Self {
        Self {
            trace: rand::random::<u128>().max(1),
            span: rand::random::<u64>().max(1),
            sampled: true,
            decided: false,
            parent: None,
            form: Form::W3c,
        }
    }

    /// The next span of the trace, which is sampled.
    pub(crate) fn child(self) -> Self {
        let span = rand::random::<u64>().max(1);
        Self { span, parent: Some(self.span), sampled: true, ..self }
    }

    /// Tells it on, in the form in which it came.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let Self { trace, span, .. } = self;
        let mut set = |name: HeaderName, text: String| {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        };
        match self.form {
            Form::W3c => set(TRACEPARENT, format!("00-{trace:032x}-{span:016x}-01")),
            Form::B3Single => {
                let parent = self.parent.map(|parent| format!("-{parent:016x}"));
                set(B3, format!("{trace:032x}-{span:016x}-1{}", parent.unwrap_or_default()));
            }
            Form::B3 => {
                set(B3_TRACE, format!("{trace:032x}"));
                set(B3_SPAN, format!("{span:016x}"));
                set(B3_SAMPLED, "1".to_owned());
                if let Some(parent) = self.parent {
                    set(B3_PARENT, format!("{parent:016x}"));
                }
            }
        }
    }

    fn of_b3(trace: &str, span: &str, sampled: Option<&str>, form: Form) -> Option<Self> {
        if !matches!(trace.len(), 16 | 32) {
            return None;
        }
        Some(Self {
            trace: hex(trace, trace.len()).filter(|trace| *trace != 0)?,
            span: u64::try_from(hex(span, 16)?).ok().filter(|span| *span != 0)?,
            sampled: matches!(sampled, Some("1" | "d" | "true")),
            decided: sampled.is_some(),
            parent: None,
            form,
        })
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`; later versions may have more after it.
fn w3c(text: &str) -> Option<Context> {
    let mut parts = text.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (span, flags) = (parts.next()?, parts.next()?);
    if hex(version, 2)? == 0xff || (version == "00" && parts.next().is_some()) {
        return None;
    }
    Some(Context {
        trace: hex(trace, 32).filter(|trace| *trace != 0)?,
        span: u64::try_from(hex(span, 16)?).ok().filter(|span| *span != 0)?,
        sampled: hex(flags, 2)? & 1 == 1,
        decided: true,
        parent: None,
        form: Form::W3c,
    })
}

/// `<trace>-<span>[-<sampled>[-<parent>]]`.
fn b3_single(text: &str) -> Option<Context> {
    let mut parts = text.split('-');
    let (trace, span) = (parts.next()?, parts.next()?);
    Context::of_b3(trace, span, parts.next(), Form::B3Single)
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    let valid = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if valid { u128::from_str_radix(text, 16).ok() } else { None }
}
