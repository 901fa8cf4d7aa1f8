//! The bytes of what pchannels store: entries, replies, keys and rows.

use prost::Message;

use super::*;
use crate::state::tests::golden::check;

#[test]
fn entries() {
    let both = vec![("a".to_owned(), 2)];
    let found: Vec<_> = [
        ("add", PChannelCommand::Add { names: vec!["a".into()] }),
        ("assign", PChannelCommand::Assign { orders: vec![AssignOrder { name: "a".into(), term: 2, node: 300 }] }),
        ("assign done", PChannelCommand::AssignDone { taken: both.clone() }),
        ("mark unavailable", PChannelCommand::MarkUnavailable { lost: both }),
        (
            "set policy",
            PChannelCommand::SetPolicy(PolicyChange {
                allow_rebalance: Some(true),
                freeze: vec![1],
                defreeze: vec![2],
            }),
        ),
        ("pin", PChannelCommand::Pin { name: "a".into(), node: Some(300) }),
        ("unpin", PChannelCommand::Pin { name: "a".into(), node: None }),
    ]
    .into_iter()
    .map(|(name, command)| (name, entry(1, None, Command::PChannel(command)).encode().unwrap()))
    .collect();
    check(&found, ENTRIES);
    for (_, bytes) in found {
        assert_eq!(Entry::decode(&bytes).unwrap().encode().unwrap(), bytes);
    }
}

#[test]
fn replies() {
    let found: Vec<_> = [
        ("added", PChannelReply::Added { count: 16 }),
        ("ordered", PChannelReply::Ordered { terms: vec![Some(3), None] }),
        ("marked", PChannelReply::Marked { count: 1 }),
        ("policy set", PChannelReply::PolicySet { changed: true }),
        ("pinned", PChannelReply::Pinned { changed: false }),
    ]
    .into_iter()
    .map(|(name, reply)| (name, Reply::PChannel(reply).encode().unwrap()))
    .collect();
    check(&found, REPLIES);
}

#[test]
fn keys_and_rows() {
    let node = Some(store::StreamingNode { server_id: 300, address: "n:1".into() });
    let term = store::PChannelTerm {
        term: 2,
        node: node.clone(),
        access_mode: 1,
        ordered_ms: START_MS,
        assigned_ms: START_MS + 1,
    };
    let row = store::PChannel {
        name: "a".into(),
        term: 3,
        access_mode: 1,
        node,
        state: PChannelState::Assigning.into(),
        histories: vec![term.clone()],
        last_assigned_ms: START_MS,
        changed_ms: START_MS + 1,
        pinned: 7,
    };
    let streaming = store::Streaming {
        revision: 9,
        rebalance_off: true,
        control_channel: "a".into(),
        ever_enabled: true,
        pchannels: 16,
    };
    let name = || "ab".to_owned();
    let found = [
        ("pchannel key", tables::PCHANNEL_ROWS.key(&name())),
        ("pchannel", row.encode_to_vec()),
        ("streaming key", tables::STREAMING.key(&())),
        ("streaming", streaming.encode_to_vec()),
        ("assigning key", tables::PCHANNELS_ASSIGNING.key(&name())),
        ("term key", tables::PCHANNEL_TERMS.key(&(name().into(), 258))),
        ("term", term.encode_to_vec()),
    ];
    check(&found, ROWS);
}

const ENTRIES: &[(&str, &str)] = &[
    ("add", "01010004726f6f740f3132372e302e302e313a34303030301200010161"),
    ("assign", "01010004726f6f740f3132372e302e302e313a3430303030120101016104fb5802"),
    ("assign done", "01010004726f6f740f3132372e302e302e313a3430303030120201016104"),
    ("mark unavailable", "01010004726f6f740f3132372e302e302e313a3430303030120301016104"),
    ("set policy", "01010004726f6f740f3132372e302e302e313a34303030301204010101020104"),
    ("pin", "01010004726f6f740f3132372e302e302e313a34303030301205016101fb5802"),
    ("unpin", "01010004726f6f740f3132372e302e302e313a34303030301205016100"),
];

const REPLIES: &[(&str, &str)] = &[
    ("added", "01150010"),
    ("ordered", "01150102010600"),
    ("marked", "01150201"),
    ("policy set", "01150301"),
    ("pinned", "01150400"),
];

const ROWS: &[(&str, &str)] = &[
    ("pchannel key", "b06162"),
    (
        "pchannel",
        "0a016110031801220808ac0212036e3a312802321c0802120808ac0212036e3a311801209887fe8eb532289987fe8eb53238\
         9887fe8eb532409987fe8eb5324807",
    ),
    ("streaming key", "b1"),
    ("streaming", "080910011a016120012810"),
    ("assigning key", "b26162"),
    ("term key", "b30261628000000000000102"),
    ("term", "0802120808ac0212036e3a311801209887fe8eb532289987fe8eb532"),
];
