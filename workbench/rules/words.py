"""A digest in words: what two people on the telephone can compare without reading hexadecimal aloud.

Each word stands for one byte, the first eight bytes of a digest make eight words. Of 256 short
words no two begin with the same four letters or differ in one letter only. They catch what is
mistaken or was slipped in, also by somebody who can try 2^60 documents; against more than that
the whole digest stands beside them.
"""

from __future__ import annotations

from typing import Final

COUNT: Final = 8
_LISTED: Final = """
acorn actor album amber angel ankle apple apron arena armor arrow atlas
autumn badge bagel bamboo banjo barrel basket beacon beetle bench berry bishop
bison blanket bottle boxer branch bread bridge broom bucket buffalo bullet bundle
butter cabin cactus camel candle canoe canyon captain carpet castle cavern cedar
cello chalk cherry chimney circus clover cobra coffee comet compass copper coral
cotton cousin coyote cradle crater cricket crown crystal cymbal dagger daisy dancer
delta desert diamond doctor dolphin donkey dragon drawer eagle easel echo eclipse
elder elephant emblem engine envelope escort fabric falcon farmer feather fiddle finger
flamingo flute forest fossil fountain galaxy garden gazelle geyser giraffe glacier goblet
goggle gorilla granite grape guitar hammer harbor harvest hazel helmet hippo honey
hornet hotel hunter iceberg igloo incense island ivory jacket jaguar jasmine jelly
jigsaw jungle juniper kayak kernel kettle kidney koala ladder lantern laser lemon
leopard letter library lilac lizard lobster lumber magnet mango marble meadow medal
melon mirror mitten mosaic museum mustard napkin nebula needle nickel nomad nutmeg
oasis octopus olive onion opera orange orchid organ ostrich otter oyster palace
panda parrot pebble pencil pepper piano pigeon pillow pirate planet plaza pocket
polar pony poppy potato puddle pumpkin puzzle pyramid quartz quilt rabbit radar
raven ribbon river robin rooster ruby sailor salmon sandal saturn shovel silver
sofa spider squid stadium statue sugar sunset swallow teapot temple thunder ticket
tiger timber toast tomato tractor trumpet tulip tunnel turtle umbrella unicorn valley
vanilla velvet vessel violin volcano voyage walnut walrus wagon window winter wolf
yacht yogurt zebra zipper
"""
WORDS: Final = tuple(_LISTED.split())


def words(digest: str) -> str:
    """Return the words of a digest in hex: "amber canoe … zebra"."""
    return " ".join(WORDS[byte] for byte in bytes.fromhex(digest)[:COUNT])
