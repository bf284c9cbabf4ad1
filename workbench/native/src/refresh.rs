//! A new epoch of the same key: every share changes, the public key does not.
//!
//! The complete refresh of the engine: key generation with polynomials that are zero at zero, and new oblivious
//! transfers, so that nothing that leaked of the old epoch, transfers included, is worth anything in the new one.
//! All parties take part. The rounds are those of `dkg`, without the chain code.
//! Shares of two epochs do not sign together: the session of a share is chained from epoch to epoch.

use std::collections::BTreeMap;

use dkls23_secp256k1::protocols::PartyIndex;
use dkls23_secp256k1::protocols::dkg::{
    KeepInitMulPhase3to4, KeepInitZeroSharePhase2to3, KeepInitZeroSharePhase3to4, ProofCommitment,
    TransmitInitMulPhase3to4, TransmitInitZeroSharePhase2to4, TransmitInitZeroSharePhase3to4,
};
use dkls23_secp256k1::utilities::proofs::DLogProof;
use k256::{Scalar, Secp256k1};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::dkg::{nothing, received};
use crate::failure::{Failure, Result};
use crate::share::{Held, Share};
use crate::wire::{Inbox, Kind, Outbox, addressed, party, round};

#[derive(Serialize, Deserialize)]
struct Setup {
    zero: TransmitInitZeroSharePhase3to4,
    mul: TransmitInitMulPhase3to4<Secp256k1>,
}

enum State {
    Begun,
    Dealt { fragment: Zeroizing<Scalar> },
    Committed(Box<Own>),
    Revealed(Box<Gathered>),
    Ended,
}

/// What a party committed to.
struct Own {
    correction: Zeroizing<Scalar>,
    proof: ProofCommitment<Secp256k1>,
    zeros: BTreeMap<PartyIndex, KeepInitZeroSharePhase2to3>,
}

/// What a party has when the last messages are on their way.
struct Gathered {
    correction: Zeroizing<Scalar>,
    proof: ProofCommitment<Secp256k1>,
    commitments: BTreeMap<PartyIndex, [u8; 32]>,
    seeds: Vec<TransmitInitZeroSharePhase2to4>,
    zeros: BTreeMap<PartyIndex, KeepInitZeroSharePhase3to4>,
    muls: BTreeMap<PartyIndex, KeepInitMulPhase3to4<Secp256k1>>,
}

pub struct Refresh {
    share: Share,
    session: [u8; 32],
    parties: Vec<u8>,
    state: State,
}

impl Refresh {
    pub fn new(share: Share, session: &[u8; 32]) -> Self {
        let parties = (1..=share.party.parameters.share_count).collect();
        Self { share, session: *session, parties, state: State::Begun }
    }

    pub fn step(&mut self, broadcasts: &Inbox, private: &Inbox) -> Result<(Outbox, Option<Share>)> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Begun => Ok((self.deal(broadcasts, private)?, None)),
            State::Dealt { fragment } => Ok((self.commit(&fragment, broadcasts, private)?, None)),
            State::Committed(own) => Ok((self.reveal(*own, broadcasts, private)?, None)),
            State::Revealed(gathered) => Ok((Outbox::default(), Some(self.finish(*gathered, broadcasts, private)?))),
            State::Ended => Err(Failure::value("this run has ended")),
        }
    }

    fn me(&self) -> PartyIndex {
        self.share.party.party_index
    }

    fn deal(&mut self, broadcasts: &Inbox, private: &Inbox) -> Result<Outbox> {
        if !broadcasts.is_empty() || !private.is_empty() {
            return Err(Failure::value("the first step takes no messages"));
        }
        let fragments = Zeroizing::new(self.share.party.refresh_complete_phase1());
        let mut out = Outbox::default();
        for (number, fragment) in (1..).zip(fragments.iter()) {
            let to = party(number)?;
            if to == self.me() {
                self.state = State::Dealt { fragment: Zeroizing::new(*fragment) };
            } else {
                out = out.private(to, Kind::RefreshFragment, fragment)?;
            }
        }
        Ok(out)
    }

    fn commit(&mut self, own: &Scalar, broadcasts: &Inbox, private: &Inbox) -> Result<Outbox> {
        nothing(broadcasts)?;
        let received = round::<Scalar>(Kind::RefreshFragment, private, &self.parties, self.me())?;
        let mut fragments = Zeroizing::new(vec![*own]);
        fragments.extend(received.into_values());
        let (correction, proof, zeros, seeds) =
            self.share.party.refresh_complete_phase2(&self.session, &fragments);
        let mut out = Outbox::broadcast(Kind::RefreshCommitted, &proof.commitment)?;
        for seed in &seeds {
            out = out.private(seed.parties.receiver, Kind::RefreshSeedCommitted, seed)?;
        }
        self.state = State::Committed(Box::new(Own { correction: Zeroizing::new(correction), proof, zeros }));
        Ok(out)
    }

    fn reveal(&mut self, own: Own, broadcasts: &Inbox, private: &Inbox) -> Result<Outbox> {
        let mut commitments = round::<[u8; 32]>(Kind::RefreshCommitted, broadcasts, &self.parties, self.me())?;
        commitments.insert(self.me(), own.proof.commitment);
        let seeds = received(Kind::RefreshSeedCommitted, private, &self.parties, self.me(), |seed| {
            let TransmitInitZeroSharePhase2to4 { parties, .. } = seed;
            parties
        })?;
        let (kept, zeros, muls, sent) = self.share.party.refresh_complete_phase3(&self.session, &own.zeros);
        let mut out = Outbox::broadcast(Kind::RefreshRevealed, &own.proof.proof)?;
        let mut sent: BTreeMap<_, _> = sent.into_iter().map(|mul| (mul.parties.receiver, mul)).collect();
        for zero in zeros {
            let to = zero.parties.receiver;
            let mul = sent.remove(&to).ok_or_else(|| Failure::local("the engine left a party out"))?;
            out = out.private(to, Kind::RefreshSetup, &Setup { zero, mul })?;
        }
        self.state = State::Revealed(Box::new(Gathered {
            correction: own.correction,
            proof: own.proof,
            commitments,
            seeds,
            zeros: kept,
            muls,
        }));
        Ok(out)
    }

    fn finish(&mut self, gathered: Gathered, broadcasts: &Inbox, private: &Inbox) -> Result<Share> {
        let said = round::<DLogProof<Secp256k1>>(Kind::RefreshRevealed, broadcasts, &self.parties, self.me())?;
        let setups = round::<Setup>(Kind::RefreshSetup, private, &self.parties, self.me())?;
        let mut proofs = vec![gathered.proof];
        for (from, proof) in said {
            let commitment = gathered.commitments[&from];
            proofs.push(ProofCommitment { index: from, proof, commitment });
        }
        let (mut zeros, mut muls) = (Vec::new(), Vec::new());
        for (from, Setup { zero, mul }) in setups {
            addressed(&zero.parties, from, self.me())?;
            addressed(&mul.parties, from, self.me())?;
            zeros.push(zero);
            muls.push(mul);
        }
        let party = self.share.party.refresh_complete_phase4(
            &self.session,
            &gathered.correction,
            &proofs,
            &gathered.zeros,
            &gathered.seeds,
            &zeros,
            &gathered.muls,
            &muls,
        )?;
        let package = self
            .share
            .package
            .refresh(&self.session, &proofs)
            .map_err(|reason| Failure::local(&reason.to_string()))?;
        Held::checked(party, package)
    }
}
