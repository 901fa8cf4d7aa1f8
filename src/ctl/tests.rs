//! The command line as operators type it.

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("roostctl").chain(line.split_whitespace()))
}

#[test]
fn the_command_tree_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_documented_verb_parses() {
    let address = "--peer h:1 --client h:2 --internal h:3";
    let member = "--member id=1,peer=h:1,client=h:2,internal=h:3";
    for line in [
        "cluster status",
        "cluster health --allow-degraded",
        &format!("cluster init {member}"),
        "member list",
        &format!("member add 4 {address}"),
        "member promote 4",
        "member remove 4 --yes",
        &format!("member replace 3 4 {address} -y"),
        "leader show -o json",
        "leader transfer",
        "leader transfer 2",
        "snapshot save /tmp/f --force",
        &format!("snapshot restore f --data-dir d --node-id 1 {member} {member}"),
        "snapshot status",
        "snapshot status /tmp/f",
        "snapshot trigger",
        "tso now",
        "tso decode 463293132486213674",
        "tso decode 0xff",
        "state hash --all",
        "log tail -n 5 -f",
        "log tail --from 0",
        "alarm list",
        "alarm disarm --kind NOSPACE --node 1",
        "db list",
        "db describe a",
        "db create a --property k=v --property database.max.collections=3",
        "db alter a --set k=v --set l=",
        "db alter a --unset k",
        "db drop a -y",
        "collection list --db a",
        "collection describe c --db a",
        "collection drop c",
        "partition list c",
        "partition describe c p --db a",
        "partition create c p",
        "partition drop c p --yes",
        "alias list",
        "alias list --collection c --db a",
        "alias describe x",
        "alias create x --collection c",
        "alias alter x --collection c",
        "alias drop x",
        "node list --role streamingnode",
        "node describe 3",
        "node drain 3",
        "node drain 3 --undo",
        "node freeze 3 4 --undo -o json",
        "collection create c --schema f --shards 2 --consistency Strong --property a=b --if-revision 0",
        "collection alter c --set a=b --if-revision 7 --db d",
        "collection alter c --unset a",
        "collection drop c -y --if-revision 7",
        "completion bash",
        "user list",
        "user describe alice",
        "user create alice --password-file f --description d",
        "user password alice",
        "user drop alice -y",
        "role list -o json",
        "role describe r",
        "role create r --description d",
        "role drop r --force -y",
        "role give r alice",
        "role take r alice",
        "quota list",
        "quota describe -o json",
        "grant list --role r",
        "grant add r Search --database d --collection c",
        "grant remove r Search -y",
        "grant condition r Search --type Collection true",
        "grant explain alice Search --database d --collection c --address 10.0.0.1",
        "import etcd --endpoints a:1,b:2 --prefix by-dev",
        "import etcd --endpoints a:1 --to c:3,d:4 --prefix p --dry-run --overwrite --state f --restart",
        "export etcd --endpoints a:1 --from c:3 --prefix p --user u --password w",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn wrong_usage_is_refused() {
    for line in [
        "",
        "cluster",
        "cluster init",
        "cluster statu",
        "member add 0 --peer h:1 --client h:2 --internal h:3",
        "member add 4 --peer h:1",
        "member promote x",
        "tso decode -- -1",
        "log tail --from 3 -n 5",
        "db create a --property k",
        "db alter a",
        "db alter a --set k=v --unset k",
        "node list --role coord",
        "node freeze",
        "node drain",
        "node describe 0",
        "node drain 0",
        "node freeze 3 0",
        "alias create x",
        "collection create c",
        "collection create c --schema f --consistency Customized",
        "collection alter c",
        "collection drop c --if-revision -1",
        "partition create c",
        "completion klingon",
        "import etcd --prefix by-dev",
        "import etcd --endpoints https://a:1 --prefix by-dev",
        "export etcd --endpoints a:1 --prefix p --user u",
        "cluster status -o xml",
        "cluster status --endpoint nowhere",
        "cluster status --timeout 0",
    ] {
        let error = parse(line).err().unwrap_or_else(|| panic!("'{line}' was accepted"));
        assert!(error.use_stderr(), "{line}");
    }
}

#[test]
fn options_stand_before_or_after_the_command() {
    let before = parse("--endpoint a:1 --endpoint b:2 --timeout 3s -o json cluster status").unwrap();
    let after = parse("cluster status -o json --timeout 3s --endpoint a:1,b:2").unwrap();
    for cli in [before, after] {
        let endpoints: Vec<String> = cli.connect.endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(endpoints, ["a:1", "b:2"]);
        assert_eq!((cli.connect.timeout.as_secs(), cli.format, cli.yes), (3, Format::Json, false));
    }
}

#[test]
fn help_documents_exit_codes_and_json() {
    let help = Cli::command().render_long_help().to_string();
    assert!(help.contains("4  the cluster has no leader"), "{help}");
    for noun in Cli::command().get_subcommands() {
        for verb in noun.get_subcommands() {
            let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains("JSON: "), "{} {} does not document its JSON", noun.get_name(), verb.get_name());
        }
    }
}

#[test]
fn destructive_commands_without_a_terminal_need_yes() {
    // A developer's terminal would be asked; a test runner has none.
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        return;
    }
    // Nobody listens there: what asks after connecting would end with another code.
    let dialer = Dialer::new(&parse("--endpoint 127.0.0.1:1 --timeout 50ms cluster status").unwrap().connect);
    let context =
        Context { dialer, secret: None, output: Output { format: Format::Json, write: |_| Ok(()) }, yes: false };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for line in [
        "member remove 3",
        "member replace 3 4 --peer h:1 --client h:2 --internal h:3",
        "alarm disarm",
        "db drop a",
        "collection drop c",
        "partition drop c p",
        "alias drop x",
    ] {
        let outcome = runtime.block_on(async {
            match parse(line).unwrap().noun {
                Noun::Member(command) => member::run(&context, command).await,
                Noun::Alarm(command) => alarm::run(&context, command).await,
                Noun::Db(command) => db::run(&context, command).await,
                Noun::Collection(command) => collection::run(&context, command).await,
                Noun::Partition(command) => partition::run(&context, command).await,
                Noun::Alias(command) => alias::run(&context, command).await,
                _ => Ok(()),
            }
        });
        assert_eq!(outcome.unwrap_err().exit_code(), 5, "{line}");
    }
}

/// Runs one line against these endpoints and returns its exit code.
async fn code(endpoints: &str, line: &str) -> u8 {
    let cli = parse(&format!("--endpoint {endpoints} --timeout 1s -o json {line}")).unwrap();
    execute(cli, |_| Ok(())).await.map_or_else(|failure| failure.exit_code(), |()| 0)
}

#[tokio::test]
async fn verbs_reach_a_node_behind_a_dead_endpoint() {
    let node = crate::admin::tests::MemoryNode::leading();
    let endpoints = format!("127.0.0.1:1,{}", crate::admin::tests::serve(node.clone()).await);
    let address = "--peer h:41 --client h:42 --internal h:43";
    for line in [
        "cluster status",
        "member list",
        "leader show",
        "snapshot status",
        "snapshot trigger",
        "tso now",
        "state hash",
        "log tail -n 3",
        "alarm list",
        "alarm disarm --yes",
        &format!("member add 4 {address}"),
        "member promote 4",
        "member remove 4 --yes",
        &format!("member replace 3 5 {address} --yes"),
        "leader transfer 2",
    ] {
        assert_eq!(code(&endpoints, line).await, 0, "{line}");
    }
    // Node 1 no longer leads, its peers do not answer.
    assert_eq!(code(&endpoints, "cluster health").await, 6);
    assert_eq!(code(&endpoints, "state hash --all").await, 1);
    assert_eq!(code(&endpoints, "member promote 77").await, 4);
    node.change(|status| status.leader = None);
    assert_eq!(code(&endpoints, "leader show").await, 4);
    assert_eq!(code(&endpoints, "leader transfer --timeout 300ms").await, 4);
    assert_eq!(code("127.0.0.1:1", "leader show").await, 3);
}

#[tokio::test]
async fn a_snapshot_is_saved_once() {
    let node = crate::admin::tests::MemoryNode::leading();
    let endpoint = crate::admin::tests::serve(node).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup");
    let line = format!("snapshot save {}", file.display());
    assert_eq!(code(&endpoint, &line).await, 0);
    assert!(std::fs::metadata(&file).unwrap().len() > 2_500_000);
    assert_eq!(code(&endpoint, &format!("snapshot status {}", file.display())).await, 0);
    std::fs::write(dir.path().join("other"), "not a snapshot").unwrap();
    assert_eq!(code(&endpoint, &format!("snapshot status {}/other", dir.path().display())).await, 1);
    std::fs::remove_file(dir.path().join("other")).unwrap();
    assert_eq!(code(&endpoint, &line).await, 1);
    assert_eq!(code(&endpoint, &format!("{line} --force")).await, 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn completion_knows_every_noun() {
    use clap_complete::Shell;
    for shell in [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "roostctl", &mut script);
        let script = String::from_utf8(script).unwrap();
        for noun in Cli::command().get_subcommands() {
            assert!(script.contains(noun.get_name()), "{shell} does not know {}", noun.get_name());
        }
    }
}
