//! `headwater restore`.

use std::sync::Arc;

use headwater_storage::backup::{
    BackupError, Manifest, RestoreReport, RestoreRequest, check, restore,
};
use headwater_storage::disk::{Disk, FolderLock, RealDisk};

use crate::clock;
use crate::exit::Exit;
use crate::supervisor::on_cpu;

use super::args::{RestoreArgs, VerifyArgs, WhichArgs};
use super::error::CommandError;
use super::{output, verify};

pub(super) async fn run(args: RestoreArgs) -> Result<Exit, CommandError> {
    let Some(data_dir) = args.data_dir.clone() else {
        let backup = args.backup.clone();
        let (manifest, damaged) = on_cpu(move || check(&RealDisk, &backup)).await?;
        return checked(&args, &manifest, damaged);
    };
    let (backup, to, keeps_going) = (args.backup.clone(), data_dir.clone(), args.keep_going);
    let report = on_cpu(move || -> Result<RestoreReport, BackupError> {
        RealDisk.create_folder(&to)?;
        let _alone = FolderLock::acquire(&to)?;
        restore(&RestoreRequest {
            disk: Arc::new(RealDisk),
            backup: &backup,
            to: &to,
            keeps_going,
            at: clock::unix_seconds(),
        })
    })
    .await?;
    output::line(&if args.json {
        serde_json::to_string(&report).map_err(std::io::Error::from)?
    } else {
        text(&report)
    })?;
    if !args.verify {
        return Ok(if report.damaged.is_empty() { Exit::Success } else { Exit::Damaged });
    }
    let which = WhichArgs { data_dir: Some(data_dir), url: None };
    let verified = verify::run(VerifyArgs { range: None, which, chain: None, json: args.json });
    let exit = Box::pin(verified).await?;
    let is_whole = report.damaged.is_empty() || exit != Exit::Success;
    Ok(if is_whole { exit } else { Exit::Damaged })
}

/// The backup alone was looked at.
fn checked(
    args: &RestoreArgs,
    manifest: &Manifest,
    damaged: Vec<String>,
) -> Result<Exit, CommandError> {
    let count = manifest.files.len();
    if !damaged.is_empty() {
        return Err(BackupError::DamagedBackup { files: damaged, count }.into());
    }
    output::line(&if args.json {
        serde_json::json!({ "files": count, "chains": manifest.chains }).to_string()
    } else {
        format!("{}: {count} files, all as they were backed up", args.backup.display())
    })?;
    Ok(Exit::Success)
}

fn text(report: &RestoreReport) -> String {
    let mut lines = vec![format!(
        "{}: restored {} files, {} bytes, {} damaged",
        report.path.display(),
        report.files,
        report.bytes,
        report.damaged.len()
    )];
    lines.extend(report.damaged.iter().map(|path| format!("  damaged {path}")));
    lines.extend(report.chains.iter().map(|cut| {
        format!(
            "  chain {}: begins behind record {}; what the node of the backup exported since then \
             is exported again",
            cut.name, cut.lsn
        )
    }));
    lines.join("\n")
}
