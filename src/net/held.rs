//! One connection's requests that wait since too many are in progress.
//!
//! In: what the connection has for the loop. Out: the same without the requests that have to wait.
//!
//! Always true:
//! * requests keep their order, and one that is not done for having waited too long is answered in its place;
//! * a request whose client is gone is not done, unless the settings say so.
//!
//! Not here: how many are in progress (`gate`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::clients::Clients;
use super::gate::{Part, Passed};
use crate::base::ConnId;
use crate::proto::{ErrorCode, Request};
use crate::replica::event::{Ask, ClientRequest, Event, Granted};
use crate::replica::read::Local;

/// Requests that wait, and since when.
#[derive(Debug, Default)]
pub(super) struct Held {
    requests: VecDeque<(Instant, ClientRequest)>,
}

/// Whose requests they are.
pub(super) struct Holder<'a> {
    /// The connection.
    pub(super) id: ConnId,
    /// Its session.
    pub(super) granted: Option<Granted>,
    /// Its socket, which tells whether the client is gone.
    pub(super) stream: &'a TcpStream,
}

/// A request got stale: the connection is to be closed.
pub(super) struct Stale;

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Leaves among the events those requests that may go on beside what is in progress, of which `part` is counted and
    /// `asked` in all are this connection's.
    pub(super) async fn sift(
        &mut self,
        events: &mut Vec<Event>,
        (part, asked): (&Part, usize),
        from: Holder<'_>,
        clients: &Clients,
    ) -> Result<(), Stale> {
        let (gate, stats) = (&clients.gate, &clients.shared.stats);
        let timeout = from.granted.map_or(Duration::MAX, |granted| granted.timeout.as_duration());
        let now = Instant::now();
        for event in std::mem::take(events) {
            match event {
                Event::Requests(_, requests) => {
                    self.requests.extend(requests.into_iter().map(|request| (now, request)));
                }
                other => events.push(other),
            }
        }
        let (mut asked, mut going) = (asked, Vec::new());
        while let Some((since, _)) = self.requests.front() {
            if !gate.has_room(part, asked) {
                if gate.is_stale(since.elapsed(), timeout, from.stream, stats).await {
                    return Err(Stale);
                }
                break;
            }
            let Some((since, mut request)) = self.requests.pop_front() else { break };
            let ends = matches!(&request.ask, Ask::Write { request: Request::CloseSession, .. });
            match gate.pass(since.elapsed(), timeout, stats) {
                Passed::Throttled if !ends => {
                    request.ask = Ask::Local(Local::Refused(ErrorCode::ThrottledOp));
                }
                Passed::Throttled | Passed::On => {}
            }
            asked += 1;
            going.push(request);
        }
        if !going.is_empty() {
            events.push(Event::Requests(from.id, going));
        }
        Ok(())
    }
}
