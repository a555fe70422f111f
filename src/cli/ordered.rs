//! A backfill that a running node is asked for, because the data folder is its own.

use std::path::Path;
use std::time::Duration;

use headwater_storage::model::BlockRange;

use crate::config::ConfigError;
use crate::exit::Exit;
use crate::node::BackfillView;
use crate::secrets::{AdminToken, TOKEN_FILE};
use crate::supervisor::signalled;

use super::args::BackfillArgs;
use super::ask::{Remote, Which};
use super::error::CommandError;
use super::output;

const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Looks between two lines of progress.
const LOOKS_PER_LINE: u32 = 10;

/// A chain of the node.
#[derive(serde::Deserialize)]
struct Known {
    name: String,
    chain_id: u64,
}

/// What `GET /v1/chains` says.
#[derive(serde::Deserialize)]
struct Chains {
    chains: Vec<Known>,
}

/// What `GET /v1/chains/{chain}/backfills` says.
#[derive(serde::Deserialize)]
struct Listed {
    backfills: Vec<BackfillView>,
}

/// The node that owns a folder, if one does.
pub(super) fn node_of(folder: &Path) -> Result<Option<Remote>, CommandError> {
    Which::owner_of(folder)
}

/// What the node calls the chain of an id.
pub(super) async fn name_of(remote: &Remote, chain_id: u64) -> Result<String, CommandError> {
    let known: Chains = remote.document("/v1/chains").await?;
    let mut chains = known.chains.into_iter();
    let found = chains.find(|chain| chain.chain_id == chain_id).map(|chain| chain.name);
    found.ok_or_else(|| CommandError::UnknownChain { name: format!("of chain id {chain_id}") })
}

/// Orders the backfill and shows its progress until it is done.
pub(super) async fn order(
    remote: &Remote,
    folder: &Path,
    name: Option<String>,
    args: &BackfillArgs,
) -> Result<Exit, CommandError> {
    let with_its_own = [
        ("--window", args.window.is_some()),
        ("--per-second", args.per_second.is_some()),
        ("--traces", args.traces),
        ("--name", args.name.is_some()),
    ];
    if let Some((flag, _)) = with_its_own.iter().find(|(_, is_given)| *is_given) {
        let reason = format!(
            "the node that runs on {} fetches with its own configuration: leave {flag} out, or \
             stop the node first",
            folder.display()
        );
        return Err(ConfigError::Value { origin: (*flag).to_owned(), reason }.into());
    }
    let name = match name {
        Some(name) => name,
        None => only_chain(remote).await?,
    };
    let token = AdminToken::read(&folder.join(TOKEN_FILE))?;
    let path = format!("/v1/chains/{name}/backfills");
    let ranges: Vec<String> = args.ranges.iter().map(ToString::to_string).collect();
    let told = serde_json::json!({ "ranges": ranges });
    let ordered: BackfillView = remote.order(&path, &told, &token).await?;
    output::line(&format!(
        "the node that runs on {} fetches it as backfill {} of chain {name}",
        folder.display(),
        ordered.id
    ))?;
    tokio::select! {
        view = watch(remote, &path, ordered) => report(&view?),
        signal = signalled() => {
            signal?;
            output::line("the node goes on with it: `headwater status` shows how far it is")?;
            Ok(Exit::Incomplete)
        }
    }
}

async fn only_chain(remote: &Remote) -> Result<String, CommandError> {
    let known: Chains = remote.document("/v1/chains").await?;
    let mut names = known.chains.into_iter().map(|chain| chain.name);
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name),
        (_, Some(second)) => {
            let reason = format!("the node has several chains: name one, such as {second}");
            Err(ConfigError::Value { origin: "--chain".to_owned(), reason }.into())
        }
        (None, None) => Err(CommandError::UnknownChain { name: String::new() }),
    }
}

/// Looks at it until it is over.
async fn watch(
    remote: &Remote,
    path: &str,
    ordered: BackfillView,
) -> Result<BackfillView, CommandError> {
    let (mut looks, mut last) = (0_u32, ordered);
    let started = (crate::clock::now(), last.done_blocks);
    loop {
        let listed: Listed = remote.document(path).await?;
        let Some(view) = listed.backfills.into_iter().find(|view| view.id == last.id) else {
            return Ok(last);
        };
        let is_over = matches!(view.state.as_str(), "done" | "cancelled");
        if is_over || looks % LOOKS_PER_LINE == 0 {
            let came = view.done_blocks.saturating_sub(started.1);
            let problem = view.problem.as_ref().map(|text| format!(": {text}"));
            output::line(&format!(
                "{}: {}/{} blocks, {}{}",
                view.state,
                view.done_blocks,
                view.total_blocks,
                output::rate(came, started.0.elapsed().as_secs_f64()),
                problem.unwrap_or_default()
            ))?;
        }
        last = view;
        if is_over {
            return Ok(last);
        }
        looks += 1;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn report(view: &BackfillView) -> Result<Exit, CommandError> {
    let all: u64 = view.ranges.iter().map(BlockRange::len).sum();
    if all > view.total_blocks {
        let last = view.last_final.map_or("none yet".to_owned(), |last| last.to_string());
        output::line(&format!(
            "{} blocks are not final yet (the last final block is {last}): the node follows them",
            all - view.total_blocks
        ))?;
    }
    let is_whole = view.done_blocks == view.total_blocks && all == view.total_blocks;
    Ok(if is_whole { Exit::Success } else { Exit::Incomplete })
}
