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
    TransmitInitZeroSharePhase2to4,
};
use dkls23_secp256k1::utilities::proofs::DLogProof;
use k256::{Scalar, Secp256k1};
use zeroize::Zeroizing;

use crate::dealing::{commit_seeds, committed_seeds, deal, dealt, nothing, set_up, set_up_by};
use crate::failure::{Failure, Result};
use crate::share::{Held, Share};
use crate::wire::{Inbox, Kind, Outbox, round};

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
        let (fragment, out) = deal(Kind::RefreshFragment, &fragments, self.me())?;
        self.state = State::Dealt { fragment };
        Ok(out)
    }

    fn commit(&mut self, own: &Scalar, broadcasts: &Inbox, private: &Inbox) -> Result<Outbox> {
        nothing(broadcasts)?;
        let fragments = dealt(Kind::RefreshFragment, own, private, &self.parties, self.me())?;
        let (correction, proof, zeros, seeds) =
            self.share.party.refresh_complete_phase2(&self.session, &fragments);
        let told = Outbox::broadcast(Kind::RefreshCommitted, &proof.commitment)?;
        let out = commit_seeds(Kind::RefreshSeedCommitted, told, &seeds)?;
        self.state = State::Committed(Box::new(Own { correction: Zeroizing::new(correction), proof, zeros }));
        Ok(out)
    }

    fn reveal(&mut self, own: Own, broadcasts: &Inbox, private: &Inbox) -> Result<Outbox> {
        let mut commitments = round::<[u8; 32]>(Kind::RefreshCommitted, broadcasts, &self.parties, self.me())?;
        commitments.insert(self.me(), own.proof.commitment);
        let seeds = committed_seeds(Kind::RefreshSeedCommitted, private, &self.parties, self.me())?;
        let (kept, zeros, muls, sent) = self.share.party.refresh_complete_phase3(&self.session, &own.zeros);
        let told = Outbox::broadcast(Kind::RefreshRevealed, &own.proof.proof)?;
        let out = set_up(Kind::RefreshSetup, told, zeros, sent)?;
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
        let (zeros, muls) = set_up_by(Kind::RefreshSetup, private, &self.parties, self.me())?;
        let mut proofs = vec![gathered.proof];
        for (from, proof) in said {
            let commitment = gathered.commitments[&from];
            proofs.push(ProofCommitment { index: from, proof, commitment });
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
