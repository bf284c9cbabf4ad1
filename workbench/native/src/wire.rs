//! What parties send each other: bytes with a kind, read whole or not at all.
//!
//! 1. A message is one byte that names the protocol and the round, then its body in postcard form.
//! 2. It is at most `MESSAGE_BYTES_MAX` long and is read to its last byte.
//! 3. A round wants exactly one message from each party that it names: one missing, one more, or one from
//!    somebody else ends the run.
//! 4. Whom a message is from is what the caller authenticated, never what the message says of itself.

use std::collections::BTreeMap;

use dkls23_secp256k1::protocols::{PartiesMessage, PartyIndex};
use serde::{Serialize, de::DeserializeOwned};

use crate::failure::{Failure, Result};

pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The messages of a round, by the party that the caller says they are from.
pub type Inbox = BTreeMap<u8, Vec<u8>>;

/// A protocol and a round of it, as the first byte of its messages.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    DkgFragment = 0x11,
    DkgCommitted = 0x12,
    DkgSeedCommitted = 0x13,
    DkgRevealed = 0x14,
    DkgSetup = 0x15,
    RefreshFragment = 0x21,
    RefreshCommitted = 0x22,
    RefreshSeedCommitted = 0x23,
    RefreshRevealed = 0x24,
    RefreshSetup = 0x25,
    SignFirst = 0x31,
    SignSecond = 0x32,
    SignShare = 0x33,
}

/// What a party sends in a round.
#[derive(Default)]
pub struct Outbox {
    pub broadcast: Option<Vec<u8>>,
    pub private: Inbox,
}

impl Outbox {
    pub fn broadcast(kind: Kind, body: &impl Serialize) -> Result<Self> {
        Ok(Self { broadcast: Some(encode(kind, body)?), private: Inbox::new() })
    }

    pub fn private(mut self, to: PartyIndex, kind: Kind, body: &impl Serialize) -> Result<Self> {
        self.private.insert(to.as_u8(), encode(kind, body)?);
        Ok(self)
    }
}

pub fn encode(kind: Kind, body: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_extend(body, vec![kind as u8]).map_err(|_| Failure::local("a message could not be written"))
}

pub fn decode<T: DeserializeOwned>(from: u8, kind: Kind, message: &[u8]) -> Result<T> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Failure::message(from, "is too long"));
    }
    let Some((first, body)) = message.split_first() else {
        return Err(Failure::message(from, "is empty"));
    };
    if *first != kind as u8 {
        return Err(Failure::message(from, "is of another protocol or round"));
    }
    match postcard::take_from_bytes::<T>(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(Failure::message(from, "goes on after its end")),
        Err(_) => Err(Failure::message(from, "is not what the round wants")),
    }
}

/// Read a round's messages: one from each of `parties` but `me`.
pub fn round<T: DeserializeOwned>(
    kind: Kind,
    inbox: &Inbox,
    parties: &[u8],
    me: PartyIndex,
) -> Result<BTreeMap<PartyIndex, T>> {
    if let Some(stranger) = inbox.keys().find(|from| !parties.contains(from) || **from == me.as_u8()) {
        return Err(Failure::message(*stranger, "is from no other party of this run"));
    }
    let mut read = BTreeMap::new();
    for from in parties.iter().filter(|party| **party != me.as_u8()) {
        let message = inbox.get(from).ok_or_else(|| Failure::message(*from, "is missing"))?;
        read.insert(party(*from)?, decode(*from, kind, message)?);
    }
    Ok(read)
}

/// Hold what a private message says of itself against whom it came from.
pub fn addressed(said: &PartiesMessage, from: PartyIndex, me: PartyIndex) -> Result<()> {
    if said.sender == from && said.receiver == me {
        Ok(())
    } else {
        Err(Failure::message(from.as_u8(), "names another sender or receiver"))
    }
}

pub fn party(number: u8) -> Result<PartyIndex> {
    PartyIndex::new(number).map_err(|_| Failure::value("a party's number is at least 1"))
}
