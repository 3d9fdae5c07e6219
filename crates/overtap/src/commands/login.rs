//! `overtap login` and `overtap logout`: which controller is asked.

use anyhow::Context;
use api::tls::{Controller, authority};
use control::ca::Fingerprint;
use control::tokens::ControllerAddress;
use remote::{Connection, Login};

use crate::controller::{block_on, login_path};
use crate::exit::Exit;

/// Lets find, capture and all other words speak of all hosts of a controller.
///
/// They speak of this host again after overtap logout, or with --local.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  overtap login control.example.com --ca 3f2a... --token ovtu_...
  overtap login                          at which controller am I?")]
pub(crate) struct Args {
    /// The controller: HOST or HOST:PORT.
    address: Option<ControllerAddress>,

    /// The fingerprint of its authority, by which it is known.
    #[arg(long, value_name = "FINGERPRINT", requires = "address")]
    ca: Option<Fingerprint>,

    /// Your token there.
    #[arg(long, value_name = "TOKEN", requires = "address")]
    token: Option<String>,
}

/// Forgets the controller and the token.
#[derive(clap::Args)]
pub(crate) struct LogoutArgs {}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let path = login_path()?;
    let Some(address) = &args.address else {
        return Ok(match Login::open(&path)? {
            Some(login) => {
                println!("{}", login.controller.address);
                Exit::Done
            }
            None => {
                eprintln!("overtap: you are logged in at no controller");
                Exit::Failed
            }
        });
    };
    api::tls::install_provider();
    let wanted = args.ca.context("--ca FINGERPRINT is needed: overtap serve has printed it")?;
    let token =
        args.token.clone().context("--token TOKEN is needed: overtap tokens add makes one")?;
    let address = address.to_string();
    let login = block_on(async {
        let is_meant = move |der: &[u8]| Fingerprint::of(der) == wanted;
        let ca_pem = authority(&address, is_meant).await?;
        let login = Login { controller: Controller { address, ca_pem }, token };
        // Whether the token is good is better known now than at the next word.
        let connection = Connection::new(&login)?;
        connection.status().await?;
        anyhow::Ok(connection.moved(&login).unwrap_or(login))
    })??;
    login.save(&path)?;
    println!("logged in at {}; kept in {}", login.controller.address, path.display());
    Ok(Exit::Done)
}

/// Runs the command.
pub(crate) fn logout(_: &LogoutArgs) -> anyhow::Result<Exit> {
    let path = login_path()?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(Exit::Done),
    }
}
