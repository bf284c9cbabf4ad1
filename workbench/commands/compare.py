"""`workbench custody compare`: the ways to hold a key, side by side, with what was measured here.

The figures are those of `make bench-custody` in the README, on two shared cores: they say how the models
compare, not how fast another machine is. What is not built here says so. Nothing is read but this table.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from workbench.commands import DONE
from workbench.commands.said import WIDTH


@dataclass(frozen=True, slots=True)
class Model:
    """One way to hold a key."""

    name: str
    here: str
    latency: str
    gas: str
    stolen: str
    all_stolen: str
    lost: str
    renewed: str
    trusts: str


MODELS = (
    Model(
        name="whole key in a token (HSM)",
        here="engine `hsm`: one co-signer, any PKCS#11 token",
        latency="0.28 ms in the token; 28 ms from evidence to answer, of which the gate 8.5 ms",
        gas="none beyond the transaction",
        stolen="the token and its PIN: everything the key owns",
        all_stolen="as above: there is one part",
        lost="the token: everything, unless the vendor's own backup is used",
        renewed="another key, another address: whatever it owns is moved",
        trusts="the token's maker; one process that cannot be argued with",
    ),
    Model(
        name="shares of five, three sign (MPC)",
        here="engine `mpc`, always in its hybrid form, below",
        latency="204 ms from release to signed bytes, with three gates and three rounds",
        gas="none: on chain it is an ordinary account",
        stolen="two shares: nothing; a share in the clear can be used until the next refresh",
        all_stolen="three shares of one epoch: everything",
        lost="two: nothing; three: everything, as long as there are no backups",
        renewed="a refresh: the same address, older shares are worth nothing; 4.2 s",
        trusts="an engine that nobody from outside has audited; three hosts of five",
    ),
    Model(
        name="shares sealed by tokens (hybrid)",
        here="engine `mpc`: each share lies under a key of its co-signer's token",
        latency="as MPC; a share is opened once, when its process first needs it",
        gas="none",
        stolen="two disks: nothing without the tokens; two hosts while they run: two shares",
        all_stolen="three disks with their tokens, or three running hosts: everything",
        lost="as MPC: a token takes its share with it",
        renewed="as MPC",
        trusts="engine and tokens, each against the other's failure on a disk, neither on a running host",
    ),
    Model(
        name="contract with owners (Safe 1.4.1)",
        here="engine `safe`: each owner a whole key of its own co-signer; an executor pays the gas",
        latency="of each owner as a whole key; one after the other or at once",
        gas="a payment of ether by three owners 72,800, by an account 21,000; some 350,000 once",
        stolen="two owners: nothing",
        all_stolen="three owners: everything, visibly and under the contract's rules",
        lost="two: nothing, others replace them; three: everything",
        renewed="owners are replaced by owners, the same address",
        trusts="a contract that many have read; no engine; everybody sees who signed",
    ),
    Model(
        name="software key",
        here="refused: only a demo's people have software keys, and a production trust root refuses theirs",
        latency="–",
        gas="none",
        stolen="a file, a memory image or a backup of either: everything",
        all_stolen="as above",
        lost="the file: everything",
        renewed="another key, another address",
        trusts="everybody who ever had an account on the machine",
    ),
)
ROWS = (
    ("here", "here"),
    ("signature", "latency"),
    ("gas", "gas"),
    ("one short of enough stolen", "stolen"),
    ("enough stolen", "all_stolen"),
    ("lost", "lost"),
    ("renewed by", "renewed"),
    ("believes", "trusts"),
)
LABEL = 28


def compare() -> int:
    """Print the table, a model after the other."""
    for place, model in enumerate(MODELS):
        print(("\n" if place else "") + model.name)
        for label, field in ROWS:
            first, *more = textwrap.wrap(getattr(model, field), WIDTH - LABEL - 2)
            print(f"  {label:{LABEL}}{first}")
            for line in more:
                print(" " * (LABEL + 2) + line)
    print("\nFigures: make bench-custody, two shared cores. Where an engine without an audit is not good")
    print("enough: whole keys in tokens, or a contract with owners in tokens.")
    return DONE
