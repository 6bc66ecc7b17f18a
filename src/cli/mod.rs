//! The commands. Each parses, calls what it is about, prints; none of them decides anything.

mod config;
mod dev;
mod inspect;
mod key;
mod migrate;
mod progress;
mod serve;
mod tenant;
mod token;
mod top;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::clock::{Clock, SystemClock};
use crate::config::{Flags, Settings};
use crate::db::DataDir;
use crate::error::{Error, Result};
use crate::host::{Host, Operator};
use crate::telemetry;

#[derive(Parser)]
#[command(version, about, long_about = None, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Without a command: serve.
    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Serve agents
    Serve(serve::ServeArgs),
    /// Make tokens that agents carry
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Make and list signing keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Create, list, copy and delete tenants
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Bring the schemas of all tenants up to date ahead of their next call
    #[command(subcommand)]
    Migrate(migrate::MigrateCommand),
    /// Watch which tenants do the most, and who is turned away and why
    Top(top::Top),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// Where the settings and the data are: the same for every command.
#[derive(Args, Clone, Debug)]
struct Place {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "FREEHOLD_CONFIG")]
    config: Option<PathBuf>,
    /// The folder that holds everything [default: ./data, env: FREEHOLD_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn settings(&self) -> Result<Settings> {
        self.settings_with(Flags::default())
    }

    fn settings_with(&self, flags: Flags) -> Result<Settings> {
        let flags = Flags { data_dir: self.data_dir.clone(), ..flags };
        Settings::load(self.config.as_deref(), &flags)
    }
}

/// The data directory as a command beside a running host uses it.
fn data_dir(settings: &Settings) -> Result<DataDir> {
    DataDir::open(&settings.data_dir.relative())
}

/// Notes in the audit log what an operator did. It is done by then: a full disk is told and undoes nothing.
fn admin_action(settings: &Settings, dir: &DataDir, event: &str, told: serde_json::Value) {
    let path = settings.audit.file.as_ref().map_or_else(|| dir.audit(), |file| file.relative());
    if let Err(error) = telemetry::append(&path, &settings.audit, SystemClock.now(), event, told) {
        remark(format_args!("note: {}", error.chain()));
    }
}

impl Host {
    /// Runs the command line: the same commands as the `freehold` binary, with this server's tools.
    /// Starts its own runtime, logs to standard error, and says what went wrong there too.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let matches = Cli::command().name(self.name).get_matches();
        let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let done = match cli.command {
            None => serve::run(self, &cli.serve),
            Some(Command::Serve(args)) => serve::run(self, &args),
            Some(Command::Token(command)) => token::run(&command),
            Some(Command::Key(command)) => key::run(&command),
            Some(Command::Tenant(command)) => tenant::run(self, &command),
            Some(Command::Migrate(command)) => migrate::run(self, &command),
            Some(Command::Top(command)) => command.run(self),
            Some(Command::Config(command)) => config::run(&command),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Nothing is left to tell it to, if even this fails.
                let _ = writeln!(io::stderr(), "error: {}", error.chain());
                ExitCode::FAILURE
            }
        }
    }
}

/// Does `work` with the host that runs on `settings`' data directory, or with its files if none does.
fn operate<T>(host: Host, settings: &Settings, work: impl AsyncFnOnce(&Operator) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("the runtime can't be started").with_source(error))?;
    runtime.block_on(async {
        let operator = Operator::find(host, settings).await?;
        let done = work(&operator).await;
        operator.close().await;
        done
    })
}

/// Prints `text` and a line's end to standard output, which is what a command is for: it fails if it can't.
fn say(text: impl std::fmt::Display) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| Error::internal("standard output can't be written").with_source(error))
}

/// Tells something beside the output proper.
fn remark(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
