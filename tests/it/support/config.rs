//! The YAML file of one node, and settings that a test changes.

use std::fmt::Write;
use std::path::Path;

use super::ports::Addresses;

pub const SECRET: &str = "integration tests only";

/// Settings beyond the usual ones, as environment variables: every key of the file can be one.
pub type Settings = Vec<(&'static str, String)>;

/// The file: small memory, so that several clusters fit on one machine, and no ballast to write.
pub fn yaml(id: u64, data_dir: &Path, listen: &Addresses, members: &[(u64, Addresses)]) -> String {
    let mut text = format!(
        "node: {{ id: {id}, data_dir: {data_dir:?} }}\n\
         listen: {{ client: {client:?}, internal: {internal:?}, peer: {peer:?}, http: {http:?} }}\n\
         storage:\n\
         \x20 min_free_bytes: 16777216\n\
         \x20 ballast_bytes: 0\n\
         \x20 block_cache_bytes: 8388608\n\
         \x20 write_buffer_bytes: 16777216\n\
         cluster:\n\
         \x20 secret: {SECRET:?}\n",
        client = listen.client,
        internal = listen.internal,
        peer = listen.peer,
        http = listen.http,
    );
    if !members.is_empty() {
        text.push_str("  initial_members:\n");
    }
    for (id, Addresses { client, internal, peer, .. }) in members {
        writeln!(text, "  - {{ id: {id}, peer: {peer:?}, client: {client:?}, internal: {internal:?} }}").unwrap();
    }
    text
}
