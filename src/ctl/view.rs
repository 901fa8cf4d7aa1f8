//! The members, addresses and alarms of the wire as programs see them in JSON: names in place of numbers, `null` for
//! what is not known, hashes in hex.

use std::fmt::Write;

use serde::Serialize;

use super::exit::one_line;
use super::output::{or_dash, table};
use crate::pb::admin;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AddressView {
    pub peer: String,
    pub client: String,
    pub internal: String,
}

impl From<admin::Address> for AddressView {
    fn from(address: admin::Address) -> Self {
        AddressView { peer: address.peer, client: address.client, internal: address.internal }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberView {
    pub id: u64,
    pub role: &'static str,
    pub address: AddressView,
    pub incarnation: String,
    pub matched_index: Option<u64>,
    pub lag_entries: Option<u64>,
}

impl From<admin::Member> for MemberView {
    fn from(member: admin::Member) -> Self {
        MemberView {
            id: member.id,
            role: role(member.role()),
            address: member.address.unwrap_or_default().into(),
            incarnation: member.incarnation,
            matched_index: member.matched_index,
            lag_entries: member.lag_entries,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlarmView {
    pub kind: String,
    pub node_id: u64,
    pub message: String,
}

impl From<admin::Alarm> for AlarmView {
    fn from(alarm: admin::Alarm) -> Self {
        AlarmView { kind: alarm.kind, node_id: alarm.node_id, message: alarm.message }
    }
}

pub fn views<P, V: From<P>>(items: Vec<P>) -> Vec<V> {
    items.into_iter().map(V::from).collect()
}

pub fn role(role: admin::Role) -> &'static str {
    match role {
        admin::Role::Unspecified => "unknown",
        admin::Role::Voter => "voter",
        admin::Role::Learner => "learner",
    }
}

pub fn node_state(state: admin::NodeState) -> &'static str {
    match state {
        admin::NodeState::Unspecified => "unknown",
        admin::NodeState::Uninitialized => "uninitialized",
        admin::NodeState::Learner => "learner",
        admin::NodeState::Follower => "follower",
        admin::NodeState::Candidate => "candidate",
        admin::NodeState::Leader => "leader",
        admin::NodeState::Shutdown => "shutdown",
    }
}

pub fn member_table(members: &[MemberView]) -> String {
    let rows = members.iter().map(|member| {
        vec![
            member.id.to_string(),
            member.role.to_owned(),
            member.address.peer.clone(),
            member.address.client.clone(),
            member.address.internal.clone(),
            or_dash(member.lag_entries),
        ]
    });
    table(&["ID", "ROLE", "PEER", "CLIENT", "INTERNAL", "LAG"], rows)
}

pub fn alarm_table(alarms: &[AlarmView]) -> String {
    let rows = alarms.iter().map(|alarm| vec![alarm.kind.clone(), alarm.node_id.to_string(), one_line(&alarm.message)]);
    table(&["KIND", "NODE", "MESSAGE"], rows)
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_numbers_of_a_newer_server_are_shown_as_unknown() {
        let member = admin::Member { id: 7, role: 99, ..Default::default() };
        let view = MemberView::from(member);
        assert_eq!(view.role, "unknown");
        assert_eq!(view.address, AddressView::default());
    }

    #[test]
    fn alarms_on_one_line_each() {
        let alarm = admin::Alarm { kind: "NOSPACE".into(), node_id: 2, message: "disk\nfull".into() };
        let shown = alarm_table(&[alarm.into()]);
        assert_eq!(shown, "KIND     NODE  MESSAGE\nNOSPACE  2     disk full");
    }

    #[test]
    fn hex_is_two_digits_a_byte() {
        assert_eq!(hex(&[0, 15, 255]), "000fff");
    }
}
