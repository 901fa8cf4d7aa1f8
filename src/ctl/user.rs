//! `roostctl user list|describe|create|password|drop`.

use std::fs;
use std::io::{self, BufRead};

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::confirm::confirm;
use super::exit::Failure;
use super::output::{Done, Report, named};
use crate::pb::internal::CredentialInfo;
use crate::pb::milvus::{DeleteCredentialRequest, SelectUserRequest, UserEntity};

const JSON: &str = "JSON: {\"users\": [{\"name\", \"roles\", \"description\"}]}";
const DONE_JSON: &str = "JSON: {\"kind\": \"user\" or \"password\", \"name\", \"done\"}";
/// Longer is no password but a mistake.
const PASSWORD_BYTES_MAX: u64 = 1024;
/// What bcrypt looks at.
const BCRYPT_BYTES: std::ops::RangeInclusive<usize> = 6..=72;
/// As the server's default.
const BCRYPT_COST: u32 = 10;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the users and their roles
    #[command(after_help = JSON)]
    List,
    /// Show one user
    #[command(after_help = JSON)]
    Describe { name: String },
    /// Create a user
    #[command(after_help = DONE_JSON)]
    Create {
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Set a user's password, whatever it was
    #[command(after_help = DONE_JSON)]
    Password {
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Drop a user
    #[command(after_help = DONE_JSON)]
    Drop { name: String },
}

#[derive(Debug, clap::Args)]
pub struct PasswordArgs {
    /// Read the password from the first line of this file; `-`: from stdin
    #[arg(long, value_name = "FILE", default_value = "-")]
    password_file: String,
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => context.output.print(&Users { users: users(context, None).await? }),
        Command::Describe { name } => {
            let users = users(context, Some(name.clone())).await?;
            match users.is_empty() {
                true => Err(Failure::Failed(format!("there is no user {name}"))),
                false => context.output.print(&Users { users }),
            }
        }
        Command::Create { name, password, description } => create(context, name, &password, description).await,
        Command::Password { name, password } => set_password(context, name, &password).await,
        Command::Drop { name } => drop(context, name).await,
    }
}

async fn users(context: &Context, name: Option<String>) -> Result<Vec<User>, Failure> {
    let user = name.map(|name| UserEntity { name });
    let request = SelectUserRequest { user, include_role_info: true, ..SelectUserRequest::default() };
    let session = context.dialer.any().await?;
    let reply = session.ask(request, |mut client, request| async move { client.select_user(request).await }).await?;
    let user = |result: crate::pb::milvus::UserResult| User {
        name: result.user.unwrap_or_default().name,
        roles: result.roles.into_iter().map(|role| role.name).collect(),
        description: result.description,
    };
    Ok(reply.results.into_iter().map(user).collect())
}

async fn create(context: &Context, name: String, from: &PasswordArgs, description: String) -> Result<(), Failure> {
    let request = CredentialInfo {
        username: name.clone(),
        encrypted_password: hashed(from)?,
        description: Some(description),
        ..CredentialInfo::default()
    };
    let session = context.dialer.with_leader().await?;
    session.ask(request, |mut client, request| async move { client.create_credential(request).await }).await?;
    context.output.print(&Done { kind: "user", name: &name, done: "created" })
}

async fn set_password(context: &Context, name: String, from: &PasswordArgs) -> Result<(), Failure> {
    let encrypted_password = hashed(from)?;
    let request = CredentialInfo { username: name.clone(), encrypted_password, ..CredentialInfo::default() };
    let session = context.dialer.with_leader().await?;
    session.ask(request, |mut client, request| async move { client.update_credential(request).await }).await?;
    context.output.print(&Done { kind: "password", name: &name, done: "set" })
}

async fn drop(context: &Context, name: String) -> Result<(), Failure> {
    confirm(context.yes, &format!("Drop user {name}?"))?;
    let request = DeleteCredentialRequest { username: name.clone(), ..DeleteCredentialRequest::default() };
    let session = context.dialer.with_leader().await?;
    session.ask(request, |mut client, request| async move { client.delete_credential(request).await }).await?;
    context.output.print(&Done { kind: "user", name: &name, done: "dropped" })
}

/// The password does not leave this process.
fn hashed(from: &PasswordArgs) -> Result<String, Failure> {
    let password = match from.password_file.as_str() {
        "-" => first_line(io::stdin().lock()),
        path => fs::File::open(path).and_then(|file| first_line(io::BufReader::new(file))),
    };
    let password = password.map_err(|error| Failure::io("the password", &error))?;
    if !BCRYPT_BYTES.contains(&password.len()) {
        let (least, most) = (BCRYPT_BYTES.start(), BCRYPT_BYTES.end());
        return Err(Failure::Usage(format!("a password has {least} to {most} bytes")));
    }
    bcrypt::hash(password, BCRYPT_COST).map_err(|error| Failure::Failed(format!("cannot hash the password: {error}")))
}

fn first_line(from: impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.take(PASSWORD_BYTES_MAX).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[derive(Debug, Serialize)]
struct Users {
    users: Vec<User>,
}

#[derive(Debug, Serialize)]
struct User {
    name: String,
    roles: Vec<String>,
    description: String,
}

impl Report for Users {
    fn table(&self) -> String {
        let users: Vec<_> =
            self.users.iter().map(|one| (one.name.as_str(), one.roles.as_slice(), one.description.as_str())).collect();
        named(["USER", "ROLES", "DESCRIPTION"], &users)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line() {
        assert_eq!(first_line("p@ss word\r\nmore".as_bytes()).unwrap(), "p@ss word");
        assert_eq!(first_line("".as_bytes()).unwrap(), "");
        assert_eq!(first_line("x".repeat(5000).as_bytes()).unwrap().len(), PASSWORD_BYTES_MAX as usize);
    }

    #[test]
    fn one_user_is_shown_by_lines_and_many_by_rows() {
        let user = |name: &str| User { name: name.into(), roles: vec!["admin".into()], description: String::new() };
        let one = Users { users: vec![user("alice")] };
        assert!(one.table().starts_with("user:        alice\nroles:       admin"));
        let two = Users { users: vec![user("alice"), user("bob")] };
        assert_eq!(two.table(), "USER   ROLES  DESCRIPTION\nalice  admin\nbob    admin");
    }
}
