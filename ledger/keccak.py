"""Keccak-256 as Ethereum uses it: the one hash that neither hashlib nor cryptography has.

Keccak[c=512] with the padding 0x01 of the original submission (FIPS 202's SHA-3 pads with 0x06). Plain
Python, a millisecond for each 136 bytes: enough for the few kilobytes of an anchor's proof, and nothing that
an auditor would have to install.
"""

RATE = 136  # bytes taken in at once
LANES, MASK = 25, 2**64 - 1


def _round_constants() -> list[int]:
    # The bits of a linear feedback shift register stand at the places 2^j − 1.
    constants, state = [], 1
    for _ in range(24):
        constant = 0
        for power in range(7):
            constant |= (state & 1) << ((1 << power) - 1)
            state = (state << 1) ^ (0x171 if state & 0x80 else 0)
        constants.append(constant)
    return constants


def _steps() -> list[tuple[int, int, int]]:
    # From where to where a lane goes, and how far it is turned (rho and pi together).
    steps, x, y = [], 1, 0
    for turn in range(24):
        goes_x, goes_y = y, (2 * x + 3 * y) % 5
        steps.append((x + 5 * y, goes_x + 5 * goes_y, (turn + 1) * (turn + 2) // 2 % 64))
        x, y = goes_x, goes_y
    return steps


ROUND_CONSTANTS, STEPS = _round_constants(), _steps()


def keccak256(data: bytes) -> bytes:
    """Return the 32-byte hash."""
    padded = bytearray(data) + bytes(RATE - len(data) % RATE)
    padded[len(data)] ^= 0x01
    padded[-1] ^= 0x80
    lanes = [0] * LANES
    for start in range(0, len(padded), RATE):
        for lane in range(RATE // 8):
            lanes[lane] ^= int.from_bytes(padded[start + 8 * lane : start + 8 * lane + 8], "little")
        lanes = _permute(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def _permute(lanes: list[int]) -> list[int]:
    for constant in ROUND_CONSTANTS:
        columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        mixed = [columns[x - 1] ^ _turn(columns[(x + 1) % 5], 1) for x in range(5)]
        lanes = [lane ^ mixed[place % 5] for place, lane in enumerate(lanes)]
        moved = lanes[:]
        for origin, place, bits in STEPS:
            moved[place] = _turn(lanes[origin], bits)
        lanes = [
            moved[place]
            ^ (~moved[place - place % 5 + (place + 1) % 5] & moved[place - place % 5 + (place + 2) % 5])
            for place in range(LANES)
        ]
        lanes[0] ^= constant
    return lanes


def _turn(lane: int, bits: int) -> int:
    return ((lane << bits) | (lane >> (64 - bits))) & MASK
