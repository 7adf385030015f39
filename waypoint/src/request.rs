//! One request, phase by phase.

mod answer;
mod authorize;
mod cors;
mod exchange;
mod fault;
mod forward;
mod head;
mod mirror;
mod redirect;
mod response;
mod retry;
mod source;
mod sticky;
mod upgrade;
mod version;

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::connection::Connection;
use crate::destination::Destination;
use crate::rules::Asked;
use crate::rules::{Action, Caller, Filter};
use crate::target::Target;
use answer::Answer;
use exchange::Exchange;

pub(crate) use authorize::guarded;
pub(crate) use exchange::{End, Line};
pub(crate) use head::Head;
pub(crate) use response::ResponseBody;
pub(crate) use sticky::cookie;

/// Serves one request: every answer is a response, also those of this process.
pub(crate) async fn serve(
    connection: Arc<Connection>,
    message: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let mut exchange = Exchange::begin(connection, &message);
    let response = match phases(&mut exchange, message).await {
        Ok(response) => response,
        Err(answer) => exchange.answer(answer),
    };
    Ok(response::finish(exchange, response))
}

/// The phases up to the response's head, in order. An [`Answer`] ends the request.
async fn phases(
    exchange: &mut Exchange,
    message: Request<Incoming>,
) -> Result<Response<response::Content>, Answer> {
    let (parts, body) = message.into_parts();
    let mut head = Head::read(parts, exchange.connection.scheme)?;
    if let Some(client) = &exchange.connection.forwarded_for {
        head.forwarded_for(client);
    }
    exchange.asked(&mut head);
    let connection = exchange.connection.clone();
    authorize::authorize(&connection, &head)?;
    let found = route(&connection, &head)?;
    exchange.routed(&found);
    fault::inject(exchange, found.action.as_deref()).await?;
    let mut filtered = filter(&mut head, &found)?;
    exchange.response_edits = std::mem::take(&mut filtered.edits);
    let response = forward::forward(exchange, head, body, found).await;
    let response = response.map(|mut response| {
        filtered.cors.apply(response.headers_mut());
        response
    });
    response.map_err(|answer| answer.with_cors(filtered.cors))
}

/// Where a request goes and what is done on the way.
pub(crate) struct Routed {
    /// The rule; none where everything goes to the service itself.
    pub action: Option<Arc<Action>>,
    /// How much of the path the rule's prefix took.
    pub matched: usize,
    /// The service itself.
    pub default: Option<Arc<Destination>>,
}

fn route(connection: &Connection, head: &Head) -> Result<Routed, Answer> {
    let rules = connection.local.context.rules.load();
    let caller: &Caller = &connection.caller;
    let asked = Asked {
        method: head.method.as_str(),
        scheme: head.scheme,
        authority: head.host(),
        path: head.path(),
        query: head.query(),
        headers: &head.headers,
        caller,
    };
    let (table, default) = match &connection.target {
        Target::Service { service, port } => {
            let port = rules.services.get(&service.key()).and_then(|route| route.port(*port));
            let port =
                port.ok_or_else(|| Answer::no_route("the service uses this waypoint no more"))?;
            let table = port.table(caller).filter(|table| table.has_http());
            (table, Some(port.default.clone()))
        }
        Target::Front { port, name } => {
            let front = rules.fronts.get(port);
            let front = front.ok_or_else(|| Answer::no_route("the listener is gone"))?;
            if name.is_some() && front.is_misdirected(name.as_deref(), head.host()) {
                return Err(Answer::misdirected());
            }
            let table = front.table(head.host());
            (Some(&**table.ok_or_else(|| Answer::no_route("no route is for this host"))?), None)
        }
        Target::Workload { workload, address } => {
            (None, Some(connection.local.context.destinations.workload(workload, *address)))
        }
    };
    let Some(table) = table else { return Ok(Routed { action: None, matched: 0, default }) };
    let found = table.request(&asked).ok_or_else(|| Answer::no_route("no rule matches"))?;
    Ok(Routed { action: Some(found.action.clone()), matched: found.matched, default })
}

/// What filters leave to be done with the response.
#[derive(Default)]
struct Filtered {
    edits: Vec<response::Edit>,
    cors: cors::Granted,
}

/// Applies the rule's own filters to the request; one that answers ends it.
fn filter(head: &mut Head, found: &Routed) -> Result<Filtered, Answer> {
    let mut filtered = Filtered::default();
    let Some(action) = &found.action else { return Ok(filtered) };
    // A browser's question is answered before anything that would answer the request itself.
    for filter in &action.filters {
        if let Filter::Cors(cors) = filter {
            filtered.cors = cors::check(cors, head)?;
        }
    }
    for (at, filter) in action.filters.iter().enumerate() {
        match filter {
            Filter::RequestHeaders(edit) => head.edit(edit),
            Filter::ResponseHeaders(_) => {
                filtered.edits.push(response::Edit::of_rule(action.clone(), at));
            }
            Filter::Redirect(to) => {
                return Err(redirect::answer(to, head, found.matched).with_cors(filtered.cors));
            }
            Filter::DirectResponse { status, body } => {
                let answer = Answer::given(*status, body.clone());
                return Err(answer.with_cors(filtered.cors));
            }
            Filter::Rewrite(to) => head.rewrite(to, found.matched)?,
            Filter::Cors(_) => {}
        }
    }
    Ok(filtered)
}
