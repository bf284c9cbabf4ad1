//! How a run ends badly.
//!
//! 1. `Abort`: try again with fresh randomness; nothing that lasts was hurt.
//! 2. `Ban`: the named party's message failed a check of the oblivious transfer. What the pair shares outlives the
//!    run, and each such failure may give a bit of it away: never run with that party under this share again.
//! 3. A panic of the engine is an abort: a message must not end the process.

use dkls23_secp256k1::protocols::{Abort, AbortKind};

pub type Result<T> = std::result::Result<T, Failure>;

#[derive(Debug)]
pub enum Failure {
    /// The caller's own mistake; the run did not begin or cannot go on.
    Value(String),
    /// Recoverable: the reason, and the party whose message it was, if it was one's.
    Abort { reason: String, party: Option<u8> },
    /// Never again with this party under this share.
    Ban { reason: String, party: u8 },
}

impl Failure {
    pub fn value(reason: &str) -> Self {
        Self::Value(reason.into())
    }

    pub fn local(reason: &str) -> Self {
        Self::Abort { reason: reason.into(), party: None }
    }

    pub fn message(from: u8, what: &str) -> Self {
        Self::Abort { reason: format!("the message of party {from} {what}"), party: Some(from) }
    }
}

impl From<Abort> for Failure {
    fn from(abort: Abort) -> Self {
        match abort.kind {
            AbortKind::Recoverable => Self::Abort { reason: abort.description(), party: None },
            AbortKind::BanCounterparty(party) => Self::Ban { reason: abort.description(), party: party.as_u8() },
        }
    }
}
