//! What making a key and renewing its shares have in common: dealing evaluations, and setting up the transfers.

use std::collections::BTreeMap;

use dkls23_secp256k1::protocols::dkg::{
    TransmitInitMulPhase3to4, TransmitInitZeroSharePhase2to4, TransmitInitZeroSharePhase3to4,
};
use dkls23_secp256k1::protocols::{PartiesMessage, PartyIndex};
use k256::{Scalar, Secp256k1};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::failure::{Failure, Result};
use crate::wire::{Inbox, Kind, Outbox, addressed, party, round};

type Zero = TransmitInitZeroSharePhase3to4;
type Mul = TransmitInitMulPhase3to4<Secp256k1>;

/// What a party has for one other when all has been committed to.
#[derive(Serialize, Deserialize)]
struct Setup {
    zero: Zero,
    mul: Mul,
}

/// Send each other party its evaluation of my polynomial; return my own.
pub fn deal(kind: Kind, fragments: &[Scalar], me: PartyIndex) -> Result<(Zeroizing<Scalar>, Outbox)> {
    let (mut own, mut out) = (None, Outbox::default());
    for (number, fragment) in (1..).zip(fragments) {
        let to = party(number)?;
        if to == me {
            own = Some(Zeroizing::new(*fragment));
        } else {
            out = out.private(to, kind, fragment)?;
        }
    }
    Ok((own.ok_or_else(|| Failure::local("the engine left this party out"))?, out))
}

/// Read what all others have dealt me; return it with my own.
pub fn dealt(
    kind: Kind,
    own: &Scalar,
    private: &Inbox,
    parties: &[u8],
    me: PartyIndex,
) -> Result<Zeroizing<Vec<Scalar>>> {
    let mut fragments = Zeroizing::new(vec![*own]);
    fragments.extend(round::<Scalar>(kind, private, parties, me)?.into_values());
    Ok(fragments)
}

/// Send each other party the commitment to the seed that we will share.
pub fn commit_seeds(kind: Kind, mut out: Outbox, seeds: &[TransmitInitZeroSharePhase2to4]) -> Result<Outbox> {
    for seed in seeds {
        out = out.private(seed.parties.receiver, kind, seed)?;
    }
    Ok(out)
}

/// Read the others' commitments to seeds.
pub fn committed_seeds(
    kind: Kind,
    private: &Inbox,
    parties: &[u8],
    me: PartyIndex,
) -> Result<Vec<TransmitInitZeroSharePhase2to4>> {
    received(kind, private, parties, me, |seed: &TransmitInitZeroSharePhase2to4| &seed.parties)
}

/// Send each other party its seed and its side of the transfers.
pub fn set_up(kind: Kind, mut out: Outbox, zeros: Vec<Zero>, muls: Vec<Mul>) -> Result<Outbox> {
    let mut muls: BTreeMap<_, _> = muls.into_iter().map(|mul| (mul.parties.receiver, mul)).collect();
    for zero in zeros {
        let to = zero.parties.receiver;
        let mul = muls.remove(&to).ok_or_else(|| Failure::local("the engine left a party out"))?;
        out = out.private(to, kind, &Setup { zero, mul })?;
    }
    Ok(out)
}

/// Read the others' seeds and sides of the transfers.
pub fn set_up_by(kind: Kind, private: &Inbox, parties: &[u8], me: PartyIndex) -> Result<(Vec<Zero>, Vec<Mul>)> {
    let (mut zeros, mut muls) = (Vec::new(), Vec::new());
    for (from, Setup { zero, mul }) in round::<Setup>(kind, private, parties, me)? {
        addressed(&zero.parties, from, me)?;
        addressed(&mul.parties, from, me)?;
        zeros.push(zero);
        muls.push(mul);
    }
    Ok((zeros, muls))
}

/// Read private messages that name their sender and receiver, and hold both against whom they came from.
pub fn received<T: DeserializeOwned>(
    kind: Kind,
    private: &Inbox,
    parties: &[u8],
    me: PartyIndex,
    named: impl Fn(&T) -> &PartiesMessage,
) -> Result<Vec<T>> {
    let read = round::<T>(kind, private, parties, me)?;
    for (from, message) in &read {
        addressed(named(message), *from, me)?;
    }
    Ok(read.into_values().collect())
}

/// Refuse messages where a round has none.
pub fn nothing(inbox: &Inbox) -> Result<()> {
    match inbox.keys().next() {
        None => Ok(()),
        Some(from) => Err(Failure::message(*from, "has no place in this round")),
    }
}
