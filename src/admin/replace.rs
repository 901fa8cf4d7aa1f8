//! `MemberReplace`: one operation in four steps, each derived from the membership in effect. It keeps no state of its
//! own, so it continues after any interruption, on any later leader, when it is asked again.

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::leader::{require, step_aside};
use super::member::{caught_up, checked, free};
use super::status::{is_voter, member};
use super::{Error, Node};
use crate::limits;
use crate::pb::admin::{Address, Member, MemberReplaceProgress, MemberReplaceRequest, NodeStatus, ReplacePhase};

/// What the membership in effect asks for next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Add,
    Wait,
    Swap,
    Promote,
    Remove,
    Done,
}

/// Where progress goes. A caller that hung up ends the operation at its next report.
type Reports = mpsc::Sender<Result<MemberReplaceProgress, Status>>;

/// Runs until the replacement is complete or cannot go on.
pub async fn run(node: &dyn Node, request: MemberReplaceRequest, reports: &Reports) -> Result<(), Error> {
    let (old, new) = (request.old_id, request.new_id);
    let address = checked(new, request.new_address)?;
    if old == new {
        return Err(Error::Invalid("the new member needs an id of its own".to_owned()));
    }
    let mut reported_at = None;
    loop {
        let status = node.status()?;
        require(&status)?;
        let step = next(&status, old, new, &address)?;
        if old == status.node_id && step != Step::Done {
            return Err(step_aside(node).await);
        }
        let due = reported_at.is_none_or(|at: Instant| at.elapsed() >= limits::REPLACE_REPORT);
        if step != Step::Wait || due {
            report(reports, progress(&step, &status, old, new)).await?;
            reported_at = Some(Instant::now());
        }
        match step {
            Step::Add => node.add_learner(new, address.clone()).await.map(drop)?,
            // Not to be found busy by a caller who was interrupted and asks again.
            Step::Wait => tokio::select! {
                () = sleep(limits::REPLACE_POLL) => {}
                () = reports.closed() => return Err(hung_up()),
            },
            Step::Swap => node.swap(old, new).await.map(drop)?,
            Step::Promote => node.promote(new).await.map(drop)?,
            Step::Remove => node.remove(old).await.map(drop)?,
            Step::Done => return Ok(()),
        }
    }
}

fn next(status: &NodeStatus, old: u64, new: u64, address: &Address) -> Result<Step, Error> {
    let leaving = member(status, old);
    let Some(coming) = member(status, new) else {
        // Without the old member there is nothing to tell a finished replacement from a mistyped id.
        let Some(leaving) = leaving else {
            return Err(Error::NotFound(format!("neither {old} nor {new} is a member")));
        };
        votes(leaving)?;
        // It may stand where the old one stood: calls name their target, so neither hears what is meant for the other.
        return free(status, address, Some(old)).map(|()| Step::Add);
    };
    if coming.address.as_ref() != Some(address) {
        return Err(Error::Invalid(format!("node {new} is a member at another address")));
    }
    Ok(match (is_voter(coming), leaving) {
        (true, Some(_)) => Step::Remove,
        (true, None) => Step::Done,
        (false, _) if caught_up(coming).is_err() => Step::Wait,
        (false, Some(leaving)) => votes(leaving).map(|()| Step::Swap)?,
        (false, None) => Step::Promote,
    })
}

fn votes(leaving: &Member) -> Result<(), Error> {
    match is_voter(leaving) {
        true => Ok(()),
        false => Err(Error::Invalid(format!("node {} is a learner; remove it and add another", leaving.id))),
    }
}

fn progress(step: &Step, status: &NodeStatus, old: u64, new: u64) -> MemberReplaceProgress {
    let target_index = status.last_log_index;
    let matched = member(status, new).and_then(|member| member.matched_index);
    let (phase, text) = match step {
        Step::Add => (ReplacePhase::Add, format!("adding node {new} as a learner")),
        Step::Wait => (
            ReplacePhase::CatchUp,
            match matched {
                Some(matched) => format!("node {new} holds {matched} of {target_index} entries"),
                None => format!("waiting for node {new} to answer; is it started with an empty data directory?"),
            },
        ),
        Step::Swap => (ReplacePhase::Swap, format!("node {new} votes from now on in place of node {old}")),
        Step::Promote => (ReplacePhase::Swap, format!("node {old} is gone; node {new} votes from now on")),
        Step::Remove => (ReplacePhase::Remove, format!("removing node {old} from the membership")),
        Step::Done => {
            (ReplacePhase::Done, format!("node {new} has replaced node {old}; stop node {old} and wipe its disk"))
        }
    };
    MemberReplaceProgress { phase: phase.into(), text, matched_index: matched.unwrap_or_default(), target_index }
}

async fn report(reports: &Reports, progress: MemberReplaceProgress) -> Result<(), Error> {
    reports.send(Ok(progress)).await.map_err(|_| hung_up())
}

fn hung_up() -> Error {
    Error::Failed("the caller hung up; asking again continues".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::admin::Role;

    fn address(id: u64) -> Address {
        Address { peer: format!("h:{id}1"), client: format!("h:{id}2"), internal: format!("h:{id}3") }
    }

    fn status(members: &[(u64, Role, Option<u64>)]) -> NodeStatus {
        let members = members.iter().map(|(id, role, lag_entries)| Member {
            id: *id,
            role: (*role).into(),
            address: Some(address(*id)),
            lag_entries: *lag_entries,
            ..Default::default()
        });
        NodeStatus { node_id: 1, leader: Some(1), members: members.collect(), ..Default::default() }
    }

    fn step(members: &[(u64, Role, Option<u64>)]) -> Result<Step, Error> {
        next(&status(members), 3, 4, &address(4))
    }

    #[test]
    fn each_membership_has_its_next_step() {
        use Role::{Learner, Voter};
        let one = (1, Voter, Some(0));
        assert_eq!(step(&[one, (3, Voter, None)]), Ok(Step::Add));
        assert_eq!(step(&[one, (3, Voter, None), (4, Learner, None)]), Ok(Step::Wait));
        assert_eq!(step(&[one, (3, Voter, None), (4, Learner, Some(9999))]), Ok(Step::Wait));
        assert_eq!(step(&[one, (3, Voter, None), (4, Learner, Some(3))]), Ok(Step::Swap));
        assert_eq!(step(&[one, (3, Learner, None), (4, Voter, Some(3))]), Ok(Step::Remove));
        assert_eq!(step(&[one, (4, Voter, Some(3))]), Ok(Step::Done));
        assert_eq!(step(&[one, (4, Learner, Some(3))]), Ok(Step::Promote));
        assert!(matches!(step(&[one]), Err(Error::NotFound(_))));
        assert!(matches!(step(&[one, (3, Learner, None)]), Err(Error::Invalid(_))));
    }

    #[test]
    fn an_address_that_serves_another_member_is_refused() {
        let members = status(&[(1, Role::Voter, None), (3, Role::Voter, None)]);
        assert!(matches!(next(&members, 3, 4, &address(1)), Err(Error::Invalid(_))));
        // A new disk in the old place has the old address.
        assert_eq!(next(&members, 3, 4, &address(3)), Ok(Step::Add));
        let members = status(&[(3, Role::Voter, None), (4, Role::Learner, None)]);
        assert!(matches!(next(&members, 3, 4, &address(5)), Err(Error::Invalid(_))));
    }
}
