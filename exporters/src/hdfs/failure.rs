//! What an answer of HDFS means for an export, and what to do about it.

use hdfs_native::HdfsError;

use crate::ExportError;
use crate::error::words_of;

/// Exceptions after which somebody must mend something, and what.
const REFUSALS: [(&str, &str); 8] = [
    (
        "AccessControlException",
        "give the user rights to the folder (hdfs dfs -chown, -chmod), set `user`, or `principal` \
         and `keytab` where the cluster wants Kerberos",
    ),
    ("AuthorizationException", "let the user use the cluster (hadoop-policy.xml), or set `user`"),
    ("DSQuotaExceededException", "raise the quota of the folder (hdfs dfsadmin -setSpaceQuota)"),
    ("NSQuotaExceededException", "raise the quota of the folder (hdfs dfsadmin -setQuota)"),
    ("QuotaByStorageTypeExceededException", "raise the quota of the folder"),
    ("ParentNotDirectoryException", "a file lies where the lake wants a folder: choose another"),
    ("InvalidToken", "the token has expired: use `principal` and `keytab`"),
    ("SaslException", "look at Kerberos: `principal`, `keytab`, krb5.conf"),
];

/// The first line of what the cluster said: the rest is its stack.
fn first_line(text: &str) -> String {
    words_of(text.lines().next().unwrap_or_default())
}

/// What an error means; `what` was being done.
pub(super) fn failure(sink: &str, what: &str, error: &HdfsError) -> ExportError {
    let sink = sink.to_owned();
    let away = |reason: String| ExportError::Unavailable {
        sink: sink.clone(),
        reason: format!("{what}: {reason}"),
    };
    let refused = |reason: &str, fix: &str| ExportError::Refused {
        sink: sink.clone(),
        reason: format!("{what}: {reason}: {fix}"),
    };
    match error {
        HdfsError::RPCError(class, text) | HdfsError::FatalRPCError(class, text) => {
            let name = words_of(class.rsplit(['.', '$']).next().unwrap_or(class));
            let text = first_line(text);
            match REFUSALS.iter().find(|(known, _)| *known == name) {
                Some((_, fix)) => refused(&format!("{name}: {text}"), fix),
                None if text.contains("must both be directories") => {
                    refused(&text, "a folder lies where the lake wants a file: move it away")
                }
                None => away(format!("{name}: {text}")),
            }
        }
        HdfsError::GSSAPIError(_, _, text) if text.contains("contact any KDC") => {
            away(first_line(text))
        }
        HdfsError::GSSAPIError(..) | HdfsError::SASLError(_) | HdfsError::NoSASLMechanism => {
            refused(
                &first_line(&error.to_string()),
                "look at Kerberos: `principal`, `keytab`, the ticket cache, krb5.conf",
            )
        }
        HdfsError::OperationFailed(text) if text.contains("libgssapi_krb") => {
            refused(&first_line(text), "install the Kerberos library (libgssapi-krb5-2)")
        }
        HdfsError::InvalidArgument(_)
        | HdfsError::UrlParseError(_)
        | HdfsError::XmlParseError(_)
        | HdfsError::InvalidPath(_)
        | HdfsError::UnsupportedFeature(_)
        | HdfsError::UnsupportedErasureCodingPolicy(_) => {
            refused(&first_line(&error.to_string()), "look at `url` and at the files in `conf_dir`")
        }
        HdfsError::IOError(_)
        | HdfsError::DataTransferError(_)
        | HdfsError::ChecksumError
        | HdfsError::AlreadyExists(_)
        | HdfsError::OperationFailed(_)
        | HdfsError::FileNotFound(_)
        | HdfsError::BlocksNotFound(_)
        | HdfsError::IsADirectoryError(_)
        | HdfsError::TrashNotEnabled
        | HdfsError::ErasureCodingError(_)
        | HdfsError::InternalError(_)
        | HdfsError::InvalidRPCResponse(_) => away(first_line(&error.to_string())),
    }
}

/// A file lies where a folder should be.
pub(super) fn in_the_way(sink: &str, path: &str) -> ExportError {
    ExportError::Refused {
        sink: sink.to_owned(),
        reason: format!("{path} is a file where the lake wants a folder: move it away"),
    }
}

/// Whether something was not there.
pub(super) fn is_missing(error: &HdfsError) -> bool {
    let HdfsError::RPCError(class, _) = error else {
        return matches!(error, HdfsError::FileNotFound(_));
    };
    class.ends_with(".FileNotFoundException")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disposition;

    #[test]
    fn answers_are_told_apart() {
        let told = |error: HdfsError| {
            let failed = failure("hdfs://h/lake", "create x", &error);
            (failed.disposition(), failed.to_string())
        };
        let rpc = |class: &str, text: &str| HdfsError::RPCError(class.to_owned(), text.to_owned());
        let (denied, text) = told(rpc(
            "org.apache.hadoop.security.AccessControlException",
            "Permission denied: user=alice, access=WRITE, inode=\"/lake\"\n\tat org.apache",
        ));
        assert_eq!(denied, Disposition::Stop);
        assert!(text.contains("chown") && text.contains("alice") && !text.contains("org.apache"));
        let (quota, text) = told(rpc(
            "org.apache.hadoop.hdfs.protocol.DSQuotaExceededException",
            "The DiskSpace quota of /q is exceeded: quota = 10485760 B",
        ));
        assert_eq!(quota, Disposition::Stop);
        assert!(text.contains("-setSpaceQuota"));
        let safe = "org.apache.hadoop.hdfs.server.namenode.SafeModeException";
        let (safe, text) = told(rpc(safe, "Cannot create file/x. Name node is in safe mode."));
        assert_eq!(safe, Disposition::Retry);
        assert!(text.contains("safe mode"));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(told(HdfsError::IOError(refused)).0, Disposition::Retry);
        assert_eq!(told(HdfsError::NoSASLMechanism).0, Disposition::Stop);
        let missing = rpc("java.io.FileNotFoundException", "rename source /a is not found.");
        assert!(is_missing(&missing) && is_missing(&HdfsError::FileNotFound("/a".to_owned())));
    }
}
