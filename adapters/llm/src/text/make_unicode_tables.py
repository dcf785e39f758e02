#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes category_tables.inc and normalization_tables.inc beside this file.

The tables hold what the reference implementation (tokenizers 0.23.3) answers, not what the newest Unicode
says: its regular expressions follow Unicode 16, its digits and letter case Unicode 17, its punctuation Unicode 8, its normal
forms Unicode 9. Canonical pairs and combining
classes, which never change once assigned, come from Python's unicodedata and are kept only where the
reference agrees that the character has them. Upper case, which only chat templates use, is that of Python 3.11.

    pip install tokenizers==0.23.3 && python make_unicode_tables.py
"""
import pathlib
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = ("Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co").split()
SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def members(expression):
    split = pre_tokenizers.Split(Regex(expression), "removed", invert=True)
    found = []
    for low in range(0, 0x110000, 0x1000):
        block = "".join(chr(c) for c in range(low, low + 0x1000) if not 0xD800 <= c < 0xE000)
        if block:
            for piece, _ in split.pre_tokenize_str(block):
                found.extend(map(ord, piece))
    return found


def split_off(pre_tokenizer):
    """The characters that stand alone between letters."""
    return [c for c in SCALARS if len(pre_tokenizer.pre_tokenize_str("a" + chr(c) + "a")) == 3]


def joined_to_a_letter(pre_tokenizer):
    return [c for c in SCALARS if len(pre_tokenizer.pre_tokenize_str("a" + chr(c))) == 1 and not chr(c).isspace()]


def ranges(code_points):
    out = []
    for c in sorted(code_points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return [x for pair in out for x in pair]


def emit(stream, name, kind, numbers):
    stream.write(f"inline constexpr {kind} {name}[] = {{\n")
    line = ""
    for n in numbers:
        text = f"{n},"
        if len(line) + len(text) > 116:
            stream.write(line + "\n")
            line = ""
        line += text
    stream.write(line + "\n};\n")


def category_tables(stream):
    category = {}
    for index, name in enumerate(CATEGORIES):
        for c in members(r"\p{%s}" % name):
            category[c] = index
    runs, last = [], None
    for c in SCALARS:
        if category[c] != last:
            last = category[c]
            runs.append(c * 32 + last)
    emit(stream, "category_runs", "std::uint32_t", runs)
    emit(stream, "word_ranges", "std::uint32_t", ranges(members(r"\w")))
    emit(stream, "numeric_ranges", "std::uint32_t", ranges(split_off(pre_tokenizers.Digits(individual_digits=True))))
    emit(stream, "punctuation_ranges", "std::uint32_t", ranges(split_off(pre_tokenizers.Punctuation("isolated"))))
    # the words of added tokens and of the pre-tokenizer Whitespace differ by the few characters that is_plain_word names
    other = set(joined_to_a_letter(pre_tokenizers.Whitespace()))
    assert other ^ set(members(r"\w")) == {0xB2, 0xB3, 0xB9, 0xBC, 0xBD, 0xBE, 0x200C, 0x200D}
    emit(stream, "han_ranges", "std::uint32_t", ranges(members(r"\p{Han}")))
    lower = normalizers.Lowercase()
    special = case_runs(stream, "lower", lambda c: lower.normalize_str(chr(c)))
    assert [c for c, text in special] == [0x130]
    special = case_runs(stream, "upper", lambda c: chr(c).upper())
    emit(stream, "upper_special", "std::uint32_t",
         [x for c, text in special for x in [c, *map(ord, text), *[0] * (3 - len(text))]])


def case_runs(stream, name, change):
    """Writes first, last, stride, target of first; returns what becomes several characters."""
    runs, special = [], []
    for c in SCALARS:
        text = change(c)
        if text == chr(c):
            continue
        if len(text) != 1:
            special.append((c, text))
            continue
        target = ord(text)
        if runs and target - c == runs[-1][3] - runs[-1][0]:
            run = runs[-1]
            gap = c - run[1]
            if gap in (1, 2) and (run[0] == run[1] or gap == run[2]):
                run[1], run[2] = c, gap
                continue
        runs.append([c, c, 1, target])
    emit(stream, f"{name}_runs", "std::uint32_t", [x for run in runs for x in run])
    return special


def normalization_tables(stream):
    nfd, nfkd, nfc = normalizers.NFD(), normalizers.NFKD(), normalizers.NFC()
    pool, keys = [], {"canonical": [], "compatibility": []}
    canonical = {}
    for c in SCALARS:
        if 0xAC00 <= c < 0xAC00 + 11172:
            continue
        plain, compat = nfd.normalize_str(chr(c)), nfkd.normalize_str(chr(c))
        if plain != chr(c):
            canonical[c] = plain
            keys["canonical"] += [c, len(pool) * 32 + len(plain)]
            pool += map(ord, plain)
        if compat != plain:
            keys["compatibility"] += [c, len(pool) * 32 + len(compat)]
            pool += map(ord, compat)
    emit(stream, "decomposition_pool", "std::uint32_t", pool)
    for name, table in keys.items():
        emit(stream, f"{name}_index", "std::uint32_t", table)
    pairs = []
    for c in canonical:
        if nfc.normalize_str(chr(c)) == chr(c):
            first, second = (int(x, 16) for x in unicodedata.decomposition(chr(c)).split())
            pairs.append((first, second, c))
    emit(stream, "composition_pairs", "std::uint32_t", [x for pair in sorted(pairs) for x in pair])
    classes, last = [], 0
    for c in SCALARS:
        k = unicodedata.combining(chr(c))
        # U+0345 has class 240: a mark of a lower class moves before it, one without a class stays
        if 0 < k < 240 and nfd.normalize_str("\u0345" + chr(c)) == "\u0345" + chr(c):
            k = 0
        if k != last:
            last = k
            classes.append(c * 256 + k)
    strip = normalizers.StripAccents()
    emit(stream, "mark_ranges", "std::uint32_t", ranges(c for c in SCALARS if strip.normalize_str(chr(c)) == ""))
    emit(stream, "combining_runs", "std::uint32_t", classes)


def main():
    here = pathlib.Path(__file__).parent
    for name, fill in (("category_tables.inc", category_tables), ("normalization_tables.inc", normalization_tables)):
        with open(here / name, "w", encoding="ascii") as stream:
            stream.write("// SPDX-License-Identifier: Apache-2.0\n// Written by make_unicode_tables.py; do not edit.\n")
            fill(stream)


if __name__ == "__main__":
    main()
