//! Questions and answers as they travel between nodes.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::call::{Call, RequestId};
use crate::error::Rejection;
use crate::etcd::lessor::LeaseTime;
use crate::failure::Failure;
use crate::forward::retry::Attempt;
use crate::limits;
use crate::pb::relay::{self, Propose, Question, answer, question};
use crate::replica;
use crate::state::{Command, codec};

/// What the leader says to a question. `R` is the log's reply: encoded as it travels, or read.
#[derive(Debug)]
pub(super) enum Said<R = Bytes> {
    Reply(R),
    /// Of a lease: its time, or that there is none.
    Lease(Option<LeaseTime>),
}

/// A question without its id, which the link gives.
pub(super) fn question(deadline: Instant, ask: question::Ask) -> Question {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    Question { id: 0, time_left_ms: u32::try_from(left).unwrap_or(u32::MAX).max(1), ask: Some(ask) }
}

pub(super) fn propose(call: &Call, command: Bytes) -> question::Ask {
    let RequestId { node, boot, sequence, acked_below } = call.request;
    let (principal, source) = (call.principal.clone(), call.source.clone());
    question::Ask::Propose(Propose { node, boot, sequence, acked_below, principal, source, command })
}

/// The deadline of a question that has just arrived.
pub(super) fn deadline(time_left_ms: u32) -> Instant {
    Instant::now() + Duration::from_millis(time_left_ms.into()).min(limits::CALL_TIME_MAX)
}

/// The stamp and the command of a proposal.
pub(super) fn proposed(proposed: Propose, deadline: Instant) -> Result<(Call, Command), Failure> {
    let Propose { node, boot, sequence, acked_below, principal, source, command } = proposed;
    let unreadable = |error| Rejection::Internal { detail: format!("cannot read a relayed command: {error}") };
    let command = codec::decode(&command).map_err(unreadable)?;
    let request = RequestId { node, boot, sequence, acked_below };
    Ok((Call { request, principal, source, deadline }, command))
}

pub(super) fn answer(said: Result<Said, Failure>) -> answer::Is {
    let failure = match said {
        Ok(Said::Reply(reply)) => return answer::Is::Reply(reply),
        Ok(Said::Lease(Some(LeaseTime { remaining_s, granted_s }))) => {
            return answer::Is::Lease(relay::LeaseTime { remaining_s, granted_s });
        }
        Ok(Said::Lease(None)) => return answer::Is::LeaseNotFound(relay::LeaseNotFound {}),
        Err(failure) => failure,
    };
    match failure {
        Failure::Rejected(rejection) | Failure::Decided(rejection) => match codec::encode(&rejection) {
            Ok(rejection) => answer::Is::Refused(rejection.into()),
            Err(error) => answer::Is::Again(relay::Again { maybe_executed: true, why: error.to_string() }),
        },
        Failure::Again(error) => {
            let maybe_executed = matches!(error, replica::Error::Unknown(_));
            answer::Is::Again(relay::Again { maybe_executed, why: error.to_string() })
        }
    }
}

pub(super) fn said(answered: Result<answer::Is, Attempt>) -> Result<Said, Failure> {
    let unknown = |why: String| Failure::Again(replica::Error::Unknown(why));
    match answered {
        Ok(answer::Is::Reply(reply)) => Ok(Said::Reply(reply)),
        Ok(answer::Is::Lease(relay::LeaseTime { remaining_s, granted_s })) => {
            Ok(Said::Lease(Some(LeaseTime { remaining_s, granted_s })))
        }
        Ok(answer::Is::LeaseNotFound(_)) => Ok(Said::Lease(None)),
        Ok(answer::Is::Refused(rejection)) => match codec::decode(&rejection) {
            Ok(rejection) => Err(Failure::Rejected(rejection)),
            Err(error) => Err(unknown(error.to_string())),
        },
        Ok(answer::Is::Again(relay::Again { maybe_executed: true, why })) => Err(unknown(why)),
        Ok(answer::Is::Again(_)) | Err(Attempt::NotDone) => Err(Failure::Again(replica::Error::NotLeader)),
        Err(Attempt::Unknown) => Err(unknown("the stream to the leader broke".into())),
    }
}
