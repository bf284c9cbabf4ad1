//! Threshold ECDSA over secp256k1 for co-signers: what Python sees.
//!
//! 1. `Share` is opaque: sealed, asked for public things, given to a run. There is no way to its secret.
//! 2. `Run` is one party's side of one protocol: `step` takes the messages of a round and gives those of the next,
//!    until it is done. A step that fails ends the run.
//! 3. The transport authenticates every message, encrypts private ones, and finds out whoever told two parties
//!    different broadcasts: the engine does none of it.
//!
//! The engine is `dkls23-secp256k1`. Nobody has audited it from outside.

mod dealing;
mod dkg;
mod failure;
mod refresh;
mod share;
mod sign;
mod wire;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dkls23_secp256k1::protocols::Parameters;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::failure::{Failure, Result};
use crate::share::Held;

create_exception!(workbench_tss, TssError, PyException, "The engine, or what it was given, is not as it must be.");
create_exception!(workbench_tss, AbortError, TssError, "A run ended; another may be tried. Arguments: reason, party or None.");
create_exception!(workbench_tss, BanError, TssError, "Never run with this party under this share again. Arguments: reason, party.");

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Value(reason) => PyValueError::new_err(reason),
            Failure::Abort { reason, party } => AbortError::new_err((reason, party)),
            Failure::Ban { reason, party } => BanError::new_err((reason, party)),
        }
    }
}

/// One party's share of one key in one epoch.
#[pyclass(frozen, module = "workbench_tss")]
struct Share(share::Share);

#[pymethods]
impl Share {
    /// The share under a 32-byte key, bound to the associated data.
    fn seal<'py>(&self, py: Python<'py>, key: &[u8], associated: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.0.seal(key, associated)?))
    }

    /// The share in a sealed blob; `AbortError` if key, associated data or blob are not those of one.
    #[staticmethod]
    fn open(sealed: &[u8], key: &[u8], associated: &[u8]) -> PyResult<Self> {
        Ok(Self(Held::open(sealed, key, associated)?))
    }

    /// This party's number, from 1.
    #[getter]
    fn party(&self) -> u8 {
        self.0.party.party_index.as_u8()
    }

    #[getter]
    fn threshold(&self) -> u8 {
        self.0.party.parameters.threshold
    }

    #[getter]
    fn parties(&self) -> u8 {
        self.0.party.parameters.share_count
    }

    /// The 65-byte point of the key.
    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &share::uncompressed(self.0.package.verifying_key()))
    }

    /// The 33-byte points of all parties' shares, by party: the same at every party of an epoch.
    #[getter]
    fn points<'py>(&self, py: Python<'py>) -> BTreeMap<u8, Bound<'py, PyBytes>> {
        self.0.points().into_iter().map(|(party, point)| (party, PyBytes::new(py, &point))).collect()
    }

    fn __repr__(&self) -> String {
        format!("<Share {} of {}-of-{}>", self.party(), self.threshold(), self.parties())
    }
}

enum Protocol {
    Dkg(Box<dkg::Dkg>),
    Refresh(Box<refresh::Refresh>),
    Sign(Box<sign::Sign>),
}

enum Done {
    Share(share::Share),
    Signature(Vec<u8>),
}

impl Protocol {
    fn step(&mut self, broadcasts: &wire::Inbox, private: &wire::Inbox) -> Result<(wire::Outbox, Option<Done>)> {
        match self {
            Self::Dkg(run) => run.step(broadcasts, private).map(|(out, done)| (out, done.map(Done::Share))),
            Self::Refresh(run) => run.step(broadcasts, private).map(|(out, done)| (out, done.map(Done::Share))),
            Self::Sign(run) => run.step(broadcasts, private).map(|(out, done)| (out, done.map(Done::Signature))),
        }
    }
}

/// What a party sends after a step, and what it has when nothing is left to send.
#[pyclass(frozen, module = "workbench_tss")]
struct Step {
    #[pyo3(get)]
    broadcast: Option<Py<PyBytes>>,
    #[pyo3(get)]
    private: BTreeMap<u8, Py<PyBytes>>,
    #[pyo3(get)]
    done: Option<Py<PyAny>>,
}

/// One party's side of one run of a protocol.
#[pyclass(module = "workbench_tss")]
struct Run(Option<Protocol>);

#[pymethods]
impl Run {
    /// Make a key of which `threshold` of `parties` can sign.
    #[staticmethod]
    fn dkg(party: u8, threshold: u8, parties: u8, session: &[u8]) -> PyResult<Self> {
        let parameters =
            Parameters::new(threshold, parties).map_err(|_| PyValueError::new_err("1 < threshold <= parties"))?;
        if party > parties {
            return Err(PyValueError::new_err("a party's number is at most the number of parties"));
        }
        let me = wire::party(party)?;
        Ok(Self(Some(Protocol::Dkg(Box::new(dkg::Dkg::new(me, parameters, &fixed(session)?))))))
    }

    /// Change all shares of the key; all parties take part.
    #[staticmethod]
    fn refresh(share: &Share, session: &[u8]) -> PyResult<Self> {
        let run = refresh::Refresh::new(share.0.clone(), &fixed(session)?);
        Ok(Self(Some(Protocol::Refresh(Box::new(run)))))
    }

    /// Sign a 32-byte digest with exactly the threshold's number of signers.
    #[staticmethod]
    fn sign(share: &Share, signers: Vec<u8>, session: &[u8], digest: &[u8]) -> PyResult<Self> {
        let run = sign::Sign::new(share.0.clone(), signers, &fixed(session)?, &fixed(digest)?)?;
        Ok(Self(Some(Protocol::Sign(Box::new(run)))))
    }

    /// Take a round's messages, by the parties that the caller authenticated; the first step takes none.
    fn step(&mut self, py: Python<'_>, broadcasts: wire::Inbox, private: wire::Inbox) -> PyResult<Step> {
        let mut protocol = self.0.take().ok_or_else(|| PyValueError::new_err("this run has ended"))?;
        let stepped = py.detach(|| {
            let guarded = catch_unwind(AssertUnwindSafe(|| {
                let stepped = protocol.step(&broadcasts, &private);
                (protocol, stepped)
            }));
            guarded.map_err(|_| Failure::local("the engine gave up on what it was given"))
        });
        let (protocol, stepped) = stepped?;
        let (out, done) = stepped?;
        if done.is_none() {
            self.0 = Some(protocol);
        }
        let done = match done {
            None => None,
            Some(Done::Share(share)) => Some(Py::new(py, Share(share))?.into_any()),
            Some(Done::Signature(bytes)) => Some(PyBytes::new(py, &bytes).into_any().unbind()),
        };
        let given = |bytes: Vec<u8>| PyBytes::new(py, &bytes).unbind();
        Ok(Step {
            broadcast: out.broadcast.map(given),
            private: out.private.into_iter().map(|(to, bytes)| (to, given(bytes))).collect(),
            done,
        })
    }
}

fn fixed(bytes: &[u8]) -> PyResult<[u8; 32]> {
    bytes.try_into().map_err(|_| PyValueError::new_err("a session and a digest have 32 bytes"))
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Share>()?;
    module.add_class::<Run>()?;
    module.add_class::<Step>()?;
    module.add("TssError", module.py().get_type::<TssError>())?;
    module.add("AbortError", module.py().get_type::<AbortError>())?;
    module.add("BanError", module.py().get_type::<BanError>())?;
    Ok(())
}
