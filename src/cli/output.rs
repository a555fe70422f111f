//! The only place that writes to standard output.

use std::io::{self, Write};

/// Writes bytes; a reader that went away is no error.
pub(super) fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes a line.
pub(super) fn line(text: &str) -> io::Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// `3.2 GB`: units of a thousand, as disks are sold.
pub(super) fn size(bytes: f64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB"];
    let mut value = bytes;
    let mut at = 0;
    while value >= 999.95 && at + 1 < units.len() {
        value /= 1_000.0;
        at += 1;
    }
    let unit = units.get(at).copied().unwrap_or_default();
    if at == 0 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// `41 blocks/s`, `0.4 blocks/s`.
pub(super) fn rate(blocks: u64, seconds: f64) -> String {
    let rate = blocks as f64 / seconds.max(0.001);
    if rate >= 10.0 { format!("{rate:.0} blocks/s") } else { format!("{rate:.1} blocks/s") }
}

/// `45 s`, `12 min`, `3.5 h`, `2.1 days`.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        seconds if !seconds.is_finite() || seconds > 1e9 => "unknown".to_owned(),
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds < 172_800.0 => format!("{:.1} h", seconds / 3_600.0),
        seconds => format!("{:.1} days", seconds / 86_400.0),
    }
}
