//! A signature by exactly as many parties as the threshold says.
//!
//! 1. Two rounds of private messages, then one broadcast of each party's part; each sums the parts up and checks
//!    the signature under the public key before it is one.
//! 2. The digest, the signers and the session stand before the first round: nothing is made in advance.
//! 3. A signature is r ‖ s ‖ recovery id, s in the lower half.

use std::collections::BTreeMap;

use dkls23_secp256k1::protocols::PartyIndex;
use dkls23_secp256k1::protocols::signing::{
    Broadcast3to4, KeepPhase1to2, KeepPhase2to3, SignData, TransmitPhase1to2, TransmitPhase2to3, UniqueKeep1to2,
    UniqueKeep2to3,
};
use k256::Secp256k1;

use crate::dealing::{nothing, received};
use crate::failure::{Failure, Result};
use crate::share::Share;
use crate::wire::{Inbox, Kind, Outbox, party, round};

pub const SIGNATURE_BYTES: usize = 65;

enum State {
    Begun,
    First(Box<UniqueKeep1to2<Secp256k1>>, BTreeMap<PartyIndex, KeepPhase1to2<Secp256k1>>),
    Second(Box<UniqueKeep2to3<Secp256k1>>, BTreeMap<PartyIndex, KeepPhase2to3<Secp256k1>>),
    Shared { x: String, own: Broadcast3to4<Secp256k1> },
    Ended,
}

pub struct Sign {
    share: Share,
    signers: Vec<u8>,
    data: SignData,
    state: State,
}

impl Sign {
    pub fn new(share: Share, signers: Vec<u8>, session: &[u8; 32], digest: &[u8; 32]) -> Result<Self> {
        let me = share.party.party_index.as_u8();
        let rising = signers.windows(2).all(|pair| pair[0] < pair[1]);
        let known = signers.iter().all(|signer| (1..=share.party.parameters.share_count).contains(signer));
        if !rising || !known || signers.len() != usize::from(share.party.parameters.threshold) {
            return Err(Failure::value("the signers are as many as the threshold, each once, in rising order"));
        }
        if !signers.contains(&me) {
            return Err(Failure::value("this party is none of the signers"));
        }
        let others = signers.iter().filter(|signer| **signer != me);
        let data = SignData {
            sign_id: session.to_vec(),
            counterparties: others.map(|signer| party(*signer)).collect::<Result<_>>()?,
            message_hash: *digest,
        };
        Ok(Self { share, signers, data, state: State::Begun })
    }

    pub fn step(&mut self, broadcasts: &Inbox, private: &Inbox) -> Result<(Outbox, Option<Vec<u8>>)> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Begun => Ok((self.first(broadcasts, private)?, None)),
            State::First(unique, kept) => Ok((self.second(*unique, kept, broadcasts, private)?, None)),
            State::Second(unique, kept) => Ok((self.part(*unique, kept, broadcasts, private)?, None)),
            State::Shared { x, own } => Ok((Outbox::default(), Some(self.sum(&x, own, broadcasts, private)?))),
            State::Ended => Err(Failure::value("this run has ended")),
        }
    }

    fn me(&self) -> PartyIndex {
        self.share.party.party_index
    }

    fn first(&mut self, broadcasts: &Inbox, private: &Inbox) -> Result<Outbox> {
        if !broadcasts.is_empty() || !private.is_empty() {
            return Err(Failure::value("the first step takes no messages"));
        }
        let (unique, kept, sent) = self.share.party.sign_phase1(&self.data)?;
        let mut out = Outbox::default();
        for message in &sent {
            out = out.private(message.parties.receiver, Kind::SignFirst, message)?;
        }
        self.state = State::First(Box::new(unique), kept);
        Ok(out)
    }

    fn second(
        &mut self,
        unique: UniqueKeep1to2<Secp256k1>,
        kept: BTreeMap<PartyIndex, KeepPhase1to2<Secp256k1>>,
        broadcasts: &Inbox,
        private: &Inbox,
    ) -> Result<Outbox> {
        nothing(broadcasts)?;
        let read = received::<TransmitPhase1to2>(Kind::SignFirst, private, &self.signers, self.me(), |message| {
            &message.parties
        })?;
        let (unique, kept, sent) = self.share.party.sign_phase2(&self.data, unique, kept, &read)?;
        let mut out = Outbox::default();
        for message in &sent {
            out = out.private(message.parties.receiver, Kind::SignSecond, message)?;
        }
        self.state = State::Second(Box::new(unique), kept);
        Ok(out)
    }

    fn part(
        &mut self,
        unique: UniqueKeep2to3<Secp256k1>,
        kept: BTreeMap<PartyIndex, KeepPhase2to3<Secp256k1>>,
        broadcasts: &Inbox,
        private: &Inbox,
    ) -> Result<Outbox> {
        nothing(broadcasts)?;
        let read = received::<TransmitPhase2to3<Secp256k1>>(
            Kind::SignSecond,
            private,
            &self.signers,
            self.me(),
            |message| &message.parties,
        )?;
        let (x, own) = self.share.party.sign_phase3(&self.data, unique, kept, &read)?;
        let out = Outbox::broadcast(Kind::SignShare, &own)?;
        self.state = State::Shared { x, own };
        Ok(out)
    }

    fn sum(
        &mut self,
        x: &str,
        own: Broadcast3to4<Secp256k1>,
        broadcasts: &Inbox,
        private: &Inbox,
    ) -> Result<Vec<u8>> {
        nothing(private)?;
        let read = round::<Broadcast3to4<Secp256k1>>(Kind::SignShare, broadcasts, &self.signers, self.me())?;
        let mut parts = vec![own];
        parts.extend(read.into_values());
        let (s, recovery) = self.share.party.sign_phase4(&self.data, x, &parts, true)?;
        let mut signature = Vec::with_capacity(SIGNATURE_BYTES);
        for number in [x, s.as_str()] {
            let bytes = decode_hex(number).ok_or_else(|| Failure::local("the engine's signature has no such form"))?;
            signature.extend(bytes);
        }
        signature.push(recovery);
        Ok(signature)
    }
}

/// The 32 bytes of 64 hexadecimal digits.
fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}
