//! Distributed key generation: no dealer, and no round says more than it must.
//!
//! 1. Evaluations of each party's polynomial, to each other party alone (they are secret: the transport encrypts).
//! 2. All commit: to the proof of their point, to their part of the chain code, to the seeds they will share.
//! 3. Only then all reveal them, and set up the oblivious transfers.
//! 4. Everything is checked; the share comes into being, at every party with the same points.

use std::collections::BTreeMap;

use dkls23_secp256k1::protocols::dkg::{
    BroadcastDerivationPhase2to4, BroadcastDerivationPhase3to4, ProofCommitment, TransmitInitZeroSharePhase2to4,
};
use dkls23_secp256k1::protocols::dkg_session::DkgSession;
use dkls23_secp256k1::protocols::{Parameters, PartyIndex};
use dkls23_secp256k1::utilities::proofs::DLogProof;
use dkls23_secp256k1::{Party, PublicKeyPackage, compute_eth_address};
use k256::{Scalar, Secp256k1};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::dealing::{commit_seeds, committed_seeds, deal, dealt, nothing, set_up, set_up_by};
use crate::failure::{Failure, Result};
use crate::share::{Held, Share};
use crate::wire::{Inbox, Kind, Outbox, round};

/// Commitment to the proof of a party's point; what it commits to comes a round later.
#[derive(Serialize, Deserialize)]
struct Committed {
    proof: [u8; 32],
    chain_code: BroadcastDerivationPhase2to4,
}

#[derive(Serialize, Deserialize)]
struct Revealed {
    proof: DLogProof<Secp256k1>,
    chain_code: BroadcastDerivationPhase3to4,
}

enum State {
    Begun,
    Dealt { fragment: Zeroizing<Scalar> },
    Committed { proof: ProofCommitment<Secp256k1>, chain_code: BroadcastDerivationPhase2to4 },
    Revealed(Box<Gathered>),
    Ended,
}

/// What a party has when the last messages are on their way.
struct Gathered {
    proof: ProofCommitment<Secp256k1>,
    commitments: BTreeMap<PartyIndex, [u8; 32]>,
    seeds: Vec<TransmitInitZeroSharePhase2to4>,
    chain_codes: BTreeMap<PartyIndex, BroadcastDerivationPhase2to4>,
    chain_code: BroadcastDerivationPhase3to4,
}

pub struct Dkg {
    me: PartyIndex,
    parties: Vec<u8>,
    session: Option<DkgSession<Secp256k1>>,
    state: State,
}

impl Dkg {
    pub fn new(me: PartyIndex, parameters: Parameters, session: &[u8; 32]) -> Self {
        Self {
            me,
            parties: (1..=parameters.share_count).collect(),
            session: Some(DkgSession::new(parameters, me, session.to_vec())),
            state: State::Begun,
        }
    }

    pub fn step(&mut self, broadcasts: &Inbox, private: &Inbox) -> Result<(Outbox, Option<Share>)> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Begun => Ok((self.deal(broadcasts, private)?, None)),
            State::Dealt { fragment } => Ok((self.commit(&fragment, broadcasts, private)?, None)),
            State::Committed { proof, chain_code } => {
                Ok((self.reveal(proof, chain_code, broadcasts, private)?, None))
            }
            State::Revealed(gathered) => Ok((Outbox::default(), Some(self.finish(*gathered, broadcasts, private)?))),
            State::Ended => Err(Failure::value("this run has ended")),
        }
    }

    fn session(&mut self) -> Result<&mut DkgSession<Secp256k1>> {
        self.session.as_mut().ok_or_else(|| Failure::value("this run has ended"))
    }

    fn deal(&mut self, broadcasts: &Inbox, private: &Inbox) -> Result<Outbox> {
        if !broadcasts.is_empty() || !private.is_empty() {
            return Err(Failure::value("the first step takes no messages"));
        }
        let me = self.me;
        let fragments = Zeroizing::new(self.session()?.phase1());
        let (fragment, out) = deal(Kind::DkgFragment, &fragments, me)?;
        self.state = State::Dealt { fragment };
        Ok(out)
    }

    fn commit(&mut self, own: &Scalar, broadcasts: &Inbox, private: &Inbox) -> Result<Outbox> {
        nothing(broadcasts)?;
        let fragments = dealt(Kind::DkgFragment, own, private, &self.parties, self.me)?;
        let (proof, seeds, chain_code) = self.session()?.phase2(&fragments)?;
        let said = Committed { proof: proof.commitment, chain_code: chain_code.clone() };
        let out = commit_seeds(Kind::DkgSeedCommitted, Outbox::broadcast(Kind::DkgCommitted, &said)?, &seeds)?;
        self.state = State::Committed { proof, chain_code };
        Ok(out)
    }

    fn reveal(
        &mut self,
        proof: ProofCommitment<Secp256k1>,
        chain_code: BroadcastDerivationPhase2to4,
        broadcasts: &Inbox,
        private: &Inbox,
    ) -> Result<Outbox> {
        let said = round::<Committed>(Kind::DkgCommitted, broadcasts, &self.parties, self.me)?;
        let seeds = committed_seeds(Kind::DkgSeedCommitted, private, &self.parties, self.me)?;
        let mut commitments = BTreeMap::from([(self.me, proof.commitment)]);
        let mut chain_codes = BTreeMap::from([(self.me, chain_code)]);
        for (from, committed) in said {
            if committed.chain_code.sender_index != from {
                return Err(Failure::message(from.as_u8(), "names another sender"));
            }
            commitments.insert(from, committed.proof);
            chain_codes.insert(from, committed.chain_code);
        }
        let (zeros, muls, chain_code) = self.session()?.phase3()?;
        let revealed = Revealed { proof: proof.proof.clone(), chain_code: chain_code.clone() };
        let out = set_up(Kind::DkgSetup, Outbox::broadcast(Kind::DkgRevealed, &revealed)?, zeros, muls)?;
        self.state = State::Revealed(Box::new(Gathered { proof, commitments, seeds, chain_codes, chain_code }));
        Ok(out)
    }

    fn finish(&mut self, gathered: Gathered, broadcasts: &Inbox, private: &Inbox) -> Result<Share> {
        let said = round::<Revealed>(Kind::DkgRevealed, broadcasts, &self.parties, self.me)?;
        let (zeros, muls) = set_up_by(Kind::DkgSetup, private, &self.parties, self.me)?;
        let mut proofs = vec![gathered.proof];
        let mut revealed = BTreeMap::from([(self.me, gathered.chain_code)]);
        for (from, reveal) in said {
            if reveal.chain_code.sender_index != from {
                return Err(Failure::message(from.as_u8(), "names another sender"));
            }
            // what it commits to was said a round before: a proof chosen after the others' does not fit
            let commitment = gathered.commitments[&from];
            proofs.push(ProofCommitment { index: from, proof: reveal.proof, commitment });
            revealed.insert(from, reveal.chain_code);
        }
        let session = self.session.take().ok_or_else(|| Failure::value("this run has ended"))?;
        let (party, package): (Party, PublicKeyPackage) = session.phase4(
            &proofs,
            &gathered.seeds,
            &zeros,
            &muls,
            &gathered.chain_codes,
            &revealed,
            compute_eth_address,
        )?;
        Held::checked(party, package)
    }
}
