"""Mutants that no test catches here, and why: nobody could observe the change, or this tool cannot make it.

An entry is (module, function, "was → becomes"): reason. One that is the change of no guard, or of several, is
an error, so that a reason does not outlive what it explains.
"""

EXPLAINED: dict[tuple[str, str, str], str] = {
    ("encoding", "_check_object", "type(item) is str and item.isascii() → False"): (
        "a short cut past `_check`, which accepts the same strings; the bench sees it, no value does"
    ),
    ("exchange", "_await", "left <= 0 → left < 0"): (
        "two readings of the clock would have to be equal; a timeout of 0 then refuses the next read as well"
    ),
    ("segments", "_Joiner.compare_names", "len(self.readable) <= 1 → len(self.readable) < 1"): (
        "a short cut: reading the names of one segment alone finds none that an earlier one has"
    ),
    ("store", "Ledger._state", "size == head.size → False"): (
        "a short cut: the last entry and the whole tree say the same as the head in memory"
    ),
    ("tally_polars", "_head_holds", "not rows.select(special).item() → False"): (
        "a short cut where nothing is to be escaped: the long way finds the same; the bench sees it"
    ),
    ("tally_polars", "_head_holds", "is_hex and _are_spelled(rows) → False"): (
        "a short cut past heads that are all alike: looking at each finds the same; the bench sees it"
    ),
    ("tally_polars", "_head_holds", "head.str.len_bytes() > NAME_MAX → head.str.len_bytes() >= NAME_MAX"): (
        "a head of 1024 bytes holds no name that is too long: the look at each finds none"
    ),
    ("tally_polars", "_holds", "seq > seq_before → seq >= seq_before"): (
        "where both are equal their difference is not 1: the comparison is for one that wraps around"
    ),
    ("tally_polars", "_tree", "whole.all() → False"): (
        "a short cut: where every leaf is whole, replacing those that are not changes none"
    ),
    ("tsp", "_read", "encode_der(response) != raw → False"): (
        "the decoder takes nothing that is not canonical; the comparison is for one that might"
    ),
    ("tsp", "_stamp", "encode_der(stamp) != octets → False"): (
        "the decoder takes nothing that is not canonical; the comparison is for one that might"
    ),
    ("tsp", "_check_signature", "verified is not True → False"): (
        "the library returns True or raises; the comparison is for one that might return something else"
    ),
}
