//! What an answer of the service means for an export: a file of its own, as checking, cursors and
//! entities all need it.

use crate::ExportError;
use crate::error::words_of;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The service is away.
    Away(String),
    /// It took the connection, and ended it before it answered.
    Cut(String),
    /// It answers, and asks to wait.
    Busy(String),
    /// It knows us and says no.
    Refused(String),
    /// A table is not there.
    NoTable(String),
    /// An entity is not there.
    NoEntity(String),
    /// Somebody else wrote since.
    Conflict,
    /// It does not take what was sent: the entity at this place, or the whole of it.
    Entity(Option<usize>, String),
    /// The body is too large.
    TooLarge(String),
}

/// What a status and a code mean; `None` for success.
pub(super) fn failure(
    status: u16,
    code: &str,
    words: &str,
    place: Option<usize>,
) -> Option<Failure> {
    let text = format!("{status} {} {}", words_of(code), words_of(words)).trim().to_owned();
    Some(match (status, code) {
        (200..300, _) => return None,
        (401 | 403, _) | (400, "InvalidAuthenticationInfo") => {
            Failure::Refused(format!("{text}{}", fix(code, words)))
        }
        (404, "TableNotFound") => Failure::NoTable(text),
        (404, "ResourceNotFound" | "EntityNotFound") => Failure::NoEntity(text),
        (412, _) | (409, "EntityAlreadyExists" | "TableAlreadyExists") => Failure::Conflict,
        (413, _) => Failure::TooLarge(text),
        (408 | 429 | 500.., _) | (409, "TableBeingDeleted") => Failure::Busy(text),
        (400, _) => Failure::Entity(place, text),
        _ => Failure::Refused(text),
    })
}

fn fix(code: &str, words: &str) -> &'static str {
    match code {
        "AuthorizationPermissionMismatch" => {
            ": give it the rights to read, add, update and delete (`sp=raud`), or the role Storage \
             Table Data Contributor"
        }
        "AuthorizationResourceTypeMismatch" => {
            ": the signature must be for services, containers and objects (`srt=sco`)"
        }
        _ if words.to_lowercase().contains("sas") || words.contains("Signature") => {
            ": look at `key`, or whether `sas` has expired"
        }
        _ => ": look at `key`, `sas` or `principal`, and at this machine's clock",
    }
}

impl Failure {
    /// As the runner understands it.
    pub(super) fn into_error(self, sink: String) -> ExportError {
        match self {
            Failure::Away(reason) | Failure::Cut(reason) | Failure::Busy(reason) => {
                ExportError::Unavailable { sink, reason }
            }
            Failure::NoTable(reason) => ExportError::Missing {
                sink,
                what: format!("a table ({reason})"),
                fix: "create it or set `create_tables = true`".to_owned(),
            },
            Failure::Conflict => ExportError::Refused {
                sink,
                reason: "another process writes the same cursor".to_owned(),
            },
            Failure::Refused(reason)
            | Failure::NoEntity(reason)
            | Failure::Entity(_, reason)
            | Failure::TooLarge(reason) => ExportError::Refused { sink, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_says_what_to_do() {
        let of = |status, code: &str| failure(status, code, "", Some(3)).unwrap();
        assert_eq!(failure(204, "", "", None), None);
        assert!(matches!(of(503, "ServerBusy"), Failure::Busy(_)));
        assert!(matches!(of(500, "OperationTimedOut"), Failure::Busy(_)));
        assert!(matches!(of(403, "AuthenticationFailed"), Failure::Refused(_)));
        assert!(matches!(of(404, "TableNotFound"), Failure::NoTable(_)));
        assert!(matches!(of(404, "ResourceNotFound"), Failure::NoEntity(_)));
        assert_eq!(of(412, "UpdateConditionNotSatisfied"), Failure::Conflict);
        assert!(matches!(of(413, "RequestBodyTooLarge"), Failure::TooLarge(_)));
        let large = of(400, "PropertyValueTooLarge");
        assert_eq!(large, Failure::Entity(Some(3), "400 PropertyValueTooLarge".to_owned()));
        let rights = of(403, "AuthorizationPermissionMismatch");
        assert!(rights.into_error("here".to_owned()).to_string().contains("sp=raud"));
    }
}
