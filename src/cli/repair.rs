//! `headwater repair`.

use std::sync::Arc;

use headwater_storage::backup::BackupError;
use headwater_storage::disk::{FolderLock, RealDisk};
use headwater_storage::store::{SalvageRequest, salvage};

use crate::exit::Exit;
use crate::supervisor::on_cpu;

use super::args::RepairArgs;
use super::error::CommandError;
use super::output;

pub(super) async fn run(args: RepairArgs) -> Result<Exit, CommandError> {
    let (path, backup, is_dry_run) = (args.data_dir.clone(), args.backup.clone(), args.dry_run);
    if !path.is_dir() {
        return Err(CommandError::NoFolder { path });
    }
    let report = on_cpu(move || {
        let _alone = FolderLock::acquire(&path)?;
        let disk = Arc::new(RealDisk);
        let request = SalvageRequest { disk, path: &path, backup: backup.as_deref(), is_dry_run };
        Ok::<_, BackupError>(salvage(&request)?)
    })
    .await?;
    let text = if args.json {
        serde_json::to_string(&report).map_err(std::io::Error::from)?
    } else if report.findings.is_empty() {
        "nothing keeps the folder from opening; `headwater verify` proves what is in it".to_owned()
    } else {
        let done = if is_dry_run { "would be done" } else { "done" };
        format!("{done}:\n  {}", report.findings.join("\n  "))
    };
    output::line(&text)?;
    Ok(Exit::Success)
}
