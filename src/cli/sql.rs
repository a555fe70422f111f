//! `headwater sql`.

use crate::exit::Exit;
use crate::query::{Format, render};

use super::args::SqlArgs;
use super::ask::Which;
use super::error::CommandError;
use super::output;

pub(super) async fn run(args: SqlArgs) -> Result<Exit, CommandError> {
    let format = if args.json { Format::Json } else { args.format };
    let bytes = match Which::find_to_read(&args.which)? {
        Which::Running(remote) => {
            let name = clap::ValueEnum::to_possible_value(&format);
            let name = name.as_ref().map_or("json", |value| value.get_name());
            remote.sql(&args.statement, name).await?
        }
        Which::Stopped(node) => render(&node.engine.run(&args.statement).await?, format)?,
    };
    output::write(&bytes)?;
    Ok(Exit::Success)
}
