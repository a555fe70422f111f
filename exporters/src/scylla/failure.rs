//! What the driver's errors mean for an export: a file of its own, as connecting, checking and
//! writing all need it.

use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError,
    MetadataError, NewSessionError, PrepareError, RequestAttemptError,
};

use crate::ExportError;
use crate::error::words_of;

/// What an error says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The cluster is away, slow or has lost its quorum.
    Away(String),
    /// It answers that this is too much.
    Busy(String),
    /// A replica did not answer it in time: it is busy, or gone with what it took last.
    Late(String),
    /// It knows us and says no, or we it.
    Refused(String),
    /// It does not take the statement: the schema, or the values.
    Invalid(String),
}

impl Failure {
    /// As the runner understands it; what is invalid is a matter of the schema here.
    pub(super) fn into_error(self, sink: &str) -> ExportError {
        let sink = sink.to_owned();
        match self {
            Failure::Away(reason) | Failure::Busy(reason) | Failure::Late(reason) => {
                ExportError::Unavailable { sink, reason: words_of(&reason) }
            }
            Failure::Refused(reason) => ExportError::Refused { sink, reason: words_of(&reason) },
            Failure::Invalid(reason) => ExportError::Missing {
                sink,
                what: format!("the schema that we write to ({})", words_of(&reason)),
                fix: "compare it with `headwater exporters check`".to_owned(),
            },
        }
    }
}

/// A lost quorum makes right credentials and rights fail with these words.
const NO_QUORUM: &str = "Unable to perform auth";

fn of_server(error: &DbError, reason: &str) -> Failure {
    let text = format!("{error}: {reason}");
    match error {
        DbError::AuthenticationError | DbError::Unauthorized if reason.starts_with(NO_QUORUM) => {
            Failure::Away(text)
        }
        DbError::AuthenticationError | DbError::Unauthorized => Failure::Refused(reason.to_owned()),
        DbError::Invalid | DbError::SyntaxError | DbError::ConfigError => {
            Failure::Invalid(reason.to_owned())
        }
        DbError::Overloaded | DbError::RateLimitReached { .. } => Failure::Busy(text),
        DbError::WriteTimeout { .. } => Failure::Late(text),
        DbError::AlreadyExists { .. }
        | DbError::FunctionFailure { .. }
        | DbError::Unavailable { .. }
        | DbError::IsBootstrapping
        | DbError::TruncateError
        | DbError::ReadTimeout { .. }
        | DbError::ReadFailure { .. }
        | DbError::WriteFailure { .. }
        | DbError::Unprepared { .. }
        | DbError::ServerError
        | DbError::ProtocolError
        | DbError::Other(_)
        | _ => Failure::Away(text),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the driver may add errors")]
fn of_attempt(error: &RequestAttemptError) -> Failure {
    match error {
        RequestAttemptError::DbError(error, reason) => of_server(error, reason),
        RequestAttemptError::SerializationError(error) => Failure::Invalid(error.to_string()),
        other => Failure::Away(other.to_string()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the driver may add errors")]
fn of_connection(error: &ConnectionError) -> Failure {
    match error {
        ConnectionError::ConnectionSetupRequestError(setup) => match setup.get_error() {
            ConnectionSetupRequestErrorKind::DbError(error, reason) => of_server(error, reason),
            ConnectionSetupRequestErrorKind::MissingAuthentication => {
                Failure::Refused("it asks for `user` and `password`".to_owned())
            }
            _ => of_text(setup.to_string()),
        },
        ConnectionError::IoError(error) => {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match tls {
                Some(rustls::Error::InvalidCertificate(_)) => {
                    Failure::Refused(format!("its certificate is not trusted: {error}"))
                }
                _ => of_text(error.to_string()),
            }
        }
        other => of_text(other.to_string()),
    }
}

/// A client certificate that is missing comes as a broken connection; only the text says why.
fn of_text(text: String) -> Failure {
    if text.contains("CertificateRequired") || text.contains("certificate required") {
        return Failure::Refused(format!("it asks for `tls.client_certificate`: {text}"));
    }
    Failure::Away(text)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the driver may add errors")]
fn of_pool(error: &ConnectionPoolError) -> Failure {
    match error {
        ConnectionPoolError::Broken { last_connection_error } => {
            of_connection(last_connection_error)
        }
        other => Failure::Away(other.to_string()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the driver may add errors")]
impl From<NewSessionError> for Failure {
    fn from(error: NewSessionError) -> Failure {
        match &error {
            NewSessionError::MetadataError(MetadataError::ConnectionPoolError(pool)) => {
                of_pool(pool)
            }
            other => Failure::Away(other.to_string()),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the driver may add errors")]
impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Failure {
        match &error {
            PrepareError::ConnectionPoolError(pool) => of_pool(pool),
            PrepareError::AllAttemptsFailed { first_attempt } => of_attempt(first_attempt),
            other => Failure::Away(other.to_string()),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the driver may add errors")]
impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Failure {
        match error {
            ExecutionError::LastAttemptError(attempt) => of_attempt(&attempt),
            ExecutionError::ConnectionPoolError(pool) => of_pool(&pool),
            ExecutionError::PrepareError(prepare) => Failure::from(prepare),
            ExecutionError::BadQuery(query) => Failure::Invalid(query.to_string()),
            ExecutionError::EmptyPlan => Failure::Refused(
                "no node of `datacenter` can be written to: is its name right?".to_owned(),
            ),
            other => Failure::Away(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use scylla::errors::WriteType;
    use scylla::statement::Consistency;

    use super::*;

    #[test]
    fn what_the_server_says_is_told_apart() {
        let words = "Unable to perform authentication: Cannot achieve consistency level QUORUM";
        let lost = of_server(&DbError::AuthenticationError, words);
        assert!(matches!(lost, Failure::Away(_)));
        let wrong = "Provided username me and/or password are incorrect";
        let refused = of_server(&DbError::AuthenticationError, wrong);
        assert_eq!(refused, Failure::Refused(wrong.to_owned()));
        assert!(matches!(of_server(&DbError::Overloaded, "1000 in flight"), Failure::Busy(_)));
        let late = DbError::WriteTimeout {
            consistency: Consistency::LocalQuorum,
            received: 1,
            required: 2,
            write_type: WriteType::Simple,
        };
        assert!(matches!(of_server(&late, "timed out"), Failure::Late(_)), "not asked in place");
        let missing = of_server(&DbError::Invalid, "keyspace hw does not exist");
        assert!(missing.into_error("here").to_string().contains("keyspace hw does not exist"));
    }
}
