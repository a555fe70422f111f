//! `headwater backup`.

use headwater_storage::backup::BackupReport;

use crate::backup::make;
use crate::exit::Exit;
use crate::secrets::{AdminToken, TOKEN_FILE};
use crate::supervisor::on_cpu;

use super::args::BackupArgs;
use super::ask::Which;
use super::error::CommandError;
use super::output;

pub(super) async fn run(args: BackupArgs) -> Result<Exit, CommandError> {
    let report: BackupReport = match Which::find(&args.which)? {
        Which::Running(remote) => {
            let token = match (&args.token_file, &args.which.data_dir) {
                (Some(path), _) => AdminToken::read(path)?,
                (None, Some(data_dir)) => AdminToken::read(&data_dir.join(TOKEN_FILE))?,
                (None, None) => return Err(CommandError::Token),
            };
            // On another machine a path of this one means nothing: it must be absolute there.
            let to = match &args.which.data_dir {
                Some(_) => std::path::absolute(&args.to)?,
                None => args.to.clone(),
            };
            let order = serde_json::json!({ "to": to, "copy": args.copy });
            remote.order("/v1/admin/backup", &order, &token).await?
        }
        Which::Stopped(node) => {
            let (to, copy) = (std::path::absolute(&args.to)?, args.copy);
            on_cpu(move || make(&node, &to, !copy, &|| false)).await?
        }
    };
    output::line(&if args.json { json(&report)? } else { text(&report) })?;
    Ok(Exit::Success)
}

fn json(report: &BackupReport) -> Result<String, CommandError> {
    Ok(serde_json::to_string(report).map_err(std::io::Error::from)?)
}

fn text(report: &BackupReport) -> String {
    let mut lines = vec![format!(
        "{}: {} files, {} bytes; {} files shared with the node, {} with the backup before, \
         {} bytes copied",
        report.path.display(),
        report.files,
        report.bytes,
        report.linked_files,
        report.reused_files,
        report.copied_bytes
    )];
    lines.extend(report.chains.iter().map(|cut| {
        let head = cut.head.map_or("none".to_owned(), |head| head.number.to_string());
        format!("  chain {}: cut at record {}, head {head}", cut.name, cut.lsn)
    }));
    lines.join("\n")
}
