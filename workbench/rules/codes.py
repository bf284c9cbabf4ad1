"""Every reason to refuse, in one place.

A refusal has a code from this table, a detail with the facts (got / expected, never
a secret) and, where a document is at fault, the path of the field. The same codes
stand in problem responses, in the ledger's refusal entries and in co-signers'
answers; `workbench codes` prints them.
"""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why something was refused; the value is what crosses boundaries."""

    # documents
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    SIGNATURE = "signature_invalid"
    EXPIRED = "expired"
    NOT_FOUND = "not_found"
    # trust root and policy set
    TRUST_ROOT = "trust_root_invalid"
    POLICY_INVALID = "policy_invalid"
    POLICY_CHAIN = "policy_chain_broken"
    POLICY_OLD = "policy_superseded"
    POLICY_DENIED = "policy_denied"
    FACT_MISSING = "fact_missing"
    # changes of the policy set
    CHANGE_DELAY = "change_delay_not_kept"
    CHANGE_NO_VETO = "not_entitled_to_veto"
    CHANGE_VETOED = "change_vetoed"
    CHANGE_VOID = "change_void"
    CREDENTIALS_FEW = "too_few_credentials"
    # people and sessions
    PERSON_UNKNOWN = "person_unknown"
    ROLE_NOT_HELD = "role_not_held"
    CREDENTIAL_UNKNOWN = "credential_unknown"
    CREDENTIAL_FROZEN = "credential_frozen"
    ASSERTION = "assertion_invalid"
    ASSERTION_OTHER = "assertion_over_something_else"
    AUTHENTICATOR = "authenticator_not_admitted"
    METADATA = "vendor_metadata_unusable"
    REGISTRATION = "registration_invalid"
    SESSION_UNKNOWN = "session_unknown"
    SESSION_FOREIGN = "session_of_another"
    SESSION_ENDED = "session_ended"
    SESSION_FILE = "session_file_unsafe"
    REPLAYED = "replayed"
    ORIGIN = "origin_not_ours"
    # service accounts
    ACCOUNT_UNKNOWN = "account_unknown"
    KEY_NOT_ALLOWED = "key_not_of_this_account"
    RATE = "rate_exceeded"
    # intents
    ID_REUSED = "id_reused_with_other_bytes"
    ASSET_UNKNOWN = "asset_unknown"
    KEY_UNKNOWN = "key_unknown"
    KEY_COMPROMISED = "key_compromised"
    KEY_EXECUTES = "key_is_an_executors"
    CHAIN_OTHER = "other_chain"
    NOT_PERMITTED_TO_PROPOSE = "not_permitted_to_propose"
    NOT_WHITELISTED = "not_whitelisted"
    CODE_CHANGED = "code_differs_from_whitelist"
    CALLDATA = "calldata_not_decodable"
    ARGUMENT = "argument_out_of_bounds"
    # decisions
    DECISION_OTHER_INTENT = "decision_over_another_intent"
    DECISION_OTHER_NONCE = "decision_over_another_nonce"
    DECISION_OTHER_POLICY = "decision_under_another_policy"
    DECISION_OTHER_SIMULATION = "decision_over_another_simulation"
    DECISION_NOT_APPROVAL = "decision_is_no_approval"
    DECISION_BY_PROPOSER = "decision_by_the_proposer"
    DECISION_BY_OWNER = "decision_by_the_accounts_owner"
    DECISION_REPEATED = "person_counted_already"
    DECISION_LIMIT = "too_many_decisions"
    NO_APPROVAL = "no_approval_counts"
    REJECTED = "rejected"
    # lifecycle
    STATE = "not_in_this_state"
    LANE_STOPPED = "lane_stopped"
    # attested facts
    OBSERVER_UNKNOWN = "observer_unknown"
    ATTESTATION_STALE = "attestation_stale"
    PROOF = "proof_invalid"
    SIMULATION_OTHER = "simulation_of_something_else"
    SIMULATION_FAILED = "simulation_reverts"
    STATE_DIFF = "state_diff_differs_from_intent"
    TOLERANCE = "outside_approved_tolerance"
    # co-signer's own memory
    LEASE_MISSING = "lease_missing"
    LEASE_STALE = "lease_stale"
    LEASE_BEHIND = "lease_behind_what_was_heard"
    LEASE_OTHER_POLICY = "lease_names_another_policy_set"
    PAUSED = "paused"
    HEAD_BEHIND = "ledger_head_behind"
    HEAD_FORKED = "ledger_head_forked"
    BLOCK_FORKED = "block_does_not_descend"
    CHECKPOINT = "checkpoint_invalid"
    RESERVATION = "reservation_not_in_ledger"
    BYTES_OTHER = "bytes_differ_from_intent"
    NONCE_USED = "nonce_used"
    NONCE_GAP = "nonce_not_next"
    NONCE_UNKNOWN = "nonces_before_unknown"
    NEVER_SIGNED = "nothing_signed_to_cancel"
    CANCEL_EARLY = "cancel_before_expiry"
    CANCELLED = "cancel_already_signed"
    FEE_LOW = "fee_too_low_to_replace"
    REPLACED_OFTEN = "replaced_too_often"
    INTENT_SPENT = "intent_signed_under_another_nonce"
    OWN_LIMIT = "own_limit_exceeded"
    # owners of a Safe
    SAFE_OTHER = "safe_is_another"
    SAFE_CHANGED = "safe_not_as_pinned"
    SAFE_DELEGATECALL = "safe_runs_foreign_code"
    SAFE_CRITICAL = "safe_would_be_changed"
    SAFE_REFUND = "safe_pays_a_refund"
    SAFE_MAY_FAIL = "safe_may_fail_and_go_on"
    SAFE_OWNER = "not_an_owner_of_the_safe"
    SAFE_SIGNATURES = "safe_signatures_do_not_count"
    # between co-signers that share a key
    RUN = "run_not_as_agreed"
    PEER_BEHIND = "peer_was_set_back"
    MEMORY_BEHIND = "memory_was_set_back"
    EQUIVOCATION = "told_two_things"
    BANNED = "party_banned"
    ENGINE = "run_aborted"
    SHARE = "share_unusable"
    CONCENTRATED = "too_many_shares_in_one_hand"
    # tokens that hold keys
    HSM = "token_not_as_configured"
    HSM_FAILED = "token_failed"
    HSM_KEY = "token_key_not_attested"
    HSM_PIN = "token_pin_wrong"
    HSM_WAIT = "token_pin_too_soon"
    HSM_LOCKED = "token_locked"
    SEALED = "sealed_otherwise"
    # around a process
    ISOLATION = "isolation_missing"
    STRANGER = "caller_not_admitted"
    # around the decision
    UNAVAILABLE = "unavailable"
    BUSY = "busy"


class RefusedError(Exception):
    """A refusal: the code, the facts, and the field it is about."""

    def __init__(self, code: Refusal, detail: str, *, path: str = "") -> None:
        super().__init__(f"{code.value}: {detail}" + (f" at {path}" if path else ""))
        self.code = code
        self.detail = detail
        self.path = path
