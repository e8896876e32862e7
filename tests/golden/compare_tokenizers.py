#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our ids and texts against Hugging Face's `tokenizers`, on random text and random pipelines.

compare_tokenizers.py TOKENIZE_LINES FOLDER [SEED [ROUNDS]]: every FOLDER/*/tokenizer.json as it is, and with its parts
exchanged for random ones. Exit status 77 when the module is not installed.
"""
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

try:
    import tokenizers
except ImportError:
    print("skipped: the Python module tokenizers is not installed")
    sys.exit(77)

WORDS = ["the", "The", " and", "Hello", "don't", "we'll", "I'M", "x=y", "  ", "    ", "\n", "\n\n", "\r\n", "\t", "12345", "3.14", "<s>",
         "</s>", "<bos>", "<unk>", "<0x41>", "<|im_start|>", "<|endoftext|>", "<think>", "\u2581", "\u2581\u2581", "a\u0301", "\u1ea5", "\u212b", "\ufb01", "\u00bd",
         "\u0130", "\u017f", "\uac00\u11a8", "\u1100\u1161", "\ufdfa", "\u00a0", "\u3000", "\u2028", "\u0085", "\u180e", "\u200d", "\u4e2d\u6587", "\u0661", "\u2167",
         "\U0001f468\u200d\U0001f469", "\U0001d54f", "e\u0323\u0301", "\u0344", "\u0e33", "'", "''", "<", ">", "mask", "[MASK]", "Foo bar", "foo"]
# Characters that every table since Unicode 13 has; newer ones are classed by the installed libraries.
POOL = [chr(c) for c in list(range(1, 0x3100)) + list(range(0x4E00, 0x4F00)) + list(range(0xAC00, 0xAC40)) + list(range(0xF900, 0xFB50))
        + list(range(0x1D400, 0x1D440)) + list(range(0x1F300, 0x1F340)) if unicodedata.ucd_3_2_0.category(chr(c)) != "Cn"]


def random_text(rng):
    parts = []
    for _ in range(rng.choice([1, 2, 3, 8, 20, 60])):
        kind = rng.random()
        if kind < 0.45:
            parts.append(rng.choice(WORDS))
        elif kind < 0.75:
            parts.append("".join(rng.choice("etaoinshrdlu ETAOIN0123456789 .,'-_\n") for _ in range(rng.randrange(1, 9))))
        else:
            parts.append("".join(rng.choice(POOL) for _ in range(rng.randrange(1, 4))))
    return "".join(parts)


def random_normalizer(rng, depth=0):
    kind = rng.randrange(9 if depth < 2 else 8)
    if kind < 4:
        return {"type": ["NFC", "NFD", "NFKC", "NFKD"][kind]}
    if kind == 4:
        return {"type": "Lowercase"}
    if kind == 5:
        return {"type": "Strip", "strip_left": rng.random() < 0.5, "strip_right": rng.random() < 0.5}
    if kind == 6:
        return {"type": "Prepend", "prepend": rng.choice(["\u2581", " ", "ab"])}
    if kind == 7:
        pattern = rng.choice([{"String": " "}, {"String": "a"}, {"String": "  "}, {"Regex": r"\s+"}, {"Regex": r"[aeiou]{2,}"}, {"Regex": r"\p{M}"}])
        return {"type": "Replace", "pattern": pattern, "content": rng.choice(["\u2581", "", " ", "xy"])}
    return {"type": "Sequence", "normalizers": [random_normalizer(rng, depth + 1) for _ in range(rng.randrange(0, 4))]}


REGEXES = [r"\s+", r"\p{L}+|\p{N}", r"\d{1,3}", r"\d{1,3}+", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)| ?\p{L}+", r"[^\s\w]+", r"\W", r"\w+", r"\S+\s?", r"\h+", r"a*", r"x?",
           r"$", r"^.", r"(?m:.{4})", r"\b", r"\B", r"(?<=a)b?", r"(?<!\d)\d", r"[\h\-]+", r"[]a]+", r"t{2}?", r"e{,2}", r"\u0061+", r"[\x{61}-\x{66}]+",
           r"\p{Han}+", r"\p{^L}", r"[\p{Lu}\p{Lt}]?[\p{Ll}\p{M}]+", r"\p{N}++|(?>a|ab)c", r"(?=[A-Z])", r"{", r"\.|\,|\-", r"\s*[\r\n]+", r"\s+(?!\S)"]


def random_split(rng, depth=0, used=None):
    used = used if used is not None else {}
    kind = rng.randrange(7 if depth < 2 else 6)
    if kind < 3:
        pattern = rng.choice([{"String": rng.choice([" ", "a", "\u2581", "  ", "."])}, {"Regex": rng.choice(REGEXES)}, {"Regex": rng.choice(REGEXES)}])
        return {"type": "Split", "pattern": pattern, "invert": rng.random() < 0.3,
                "behavior": rng.choice(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"])}
    if kind == 3:
        return {"type": "Digits", "individual_digits": rng.random() < 0.5}
    if kind == 4 and not used.get("bytes"):
        used["bytes"] = True
        return {"type": "ByteLevel", "add_prefix_space": rng.random() < 0.5, "trim_offsets": True, "use_regex": rng.random() < 0.6}
    if kind <= 5:
        return {"type": "Metaspace", "replacement": rng.choice(["\u2581", "_"]), "prepend_scheme": rng.choice(["always", "first", "never"]), "split": rng.random() < 0.6}
    return {"type": "Sequence", "pretokenizers": [random_split(rng, depth + 1, used) for _ in range(rng.randrange(0, 4))]}


def random_decoder(rng, depth=0):
    kind = rng.randrange(7 if depth < 2 else 6)
    if kind == 0:
        return {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    if kind == 1:
        return {"type": "Replace", "pattern": {"String": rng.choice(["\u2581", "a", "e"])}, "content": rng.choice([" ", "", "xx"])}
    if kind == 2:
        return {"type": "ByteFallback"}
    if kind == 3:
        return {"type": "Fuse"}
    if kind == 4:
        return {"type": "Strip", "content": rng.choice([" ", "a"]), "start": rng.randrange(3), "stop": 0}
    if kind == 5:
        return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": rng.choice(["always", "first", "never"]), "split": True}
    return {"type": "Sequence", "decoders": [random_decoder(rng, depth + 1) for _ in range(rng.randrange(0, 5))]}


def vary(rng, tokenizer):
    """The tokenizer with some of its parts exchanged."""
    t = json.loads(json.dumps(tokenizer))
    if rng.random() < 0.6:
        t["normalizer"] = rng.choice([None, random_normalizer(rng)])
    if rng.random() < 0.6:
        t["pre_tokenizer"] = rng.choice([None, random_split(rng)])
    if rng.random() < 0.5:
        t["decoder"] = rng.choice([None, random_decoder(rng)])
    # "first" asks where a piece began in the text before normalizing, to the character: we know it for whole pieces only.
    before = json.dumps(t["normalizer"]) + json.dumps(t["pre_tokenizer"])
    if "Prepend" in before or "ByteLevel" in before or before.count("Metaspace") > 1:
        t["pre_tokenizer"] = json.loads(json.dumps(t["pre_tokenizer"]).replace('"first"', '"always"'))
    model = t["model"]
    if rng.random() < 0.3:
        model["ignore_merges"] = not model["ignore_merges"]
    if rng.random() < 0.3:
        model["fuse_unk"] = not model["fuse_unk"]
    if rng.random() < 0.3:
        model["byte_fallback"] = not model["byte_fallback"]
    if rng.random() < 0.3:
        model["unk_token"] = rng.choice(list(model["vocab"]))
    if rng.random() < 0.2:
        model["merges"] = [m if isinstance(m, str) else " ".join(m) for m in model["merges"] if " " not in "".join(m)]
    if rng.random() < 0.2:
        rng.shuffle(model["merges"])
    taken = {a["content"] for a in t["added_tokens"]}
    next_id = max([a["id"] for a in t["added_tokens"]] + list(model["vocab"].values())) + 1
    known = len(model["vocab"])
    next_id = max(next_id, known)
    for _ in range(rng.choice([0, 0, 1, 3, 6])):
        content = rng.choice(WORDS + ["e", "th", " \n", "in", "ing"])
        if content in taken:
            continue
        taken.add(content)
        flag = lambda: rng.random() < 0.4
        new = content not in model["vocab"]
        t["added_tokens"].append({"id": next_id if new else model["vocab"][content], "content": content, "single_word": flag(), "lstrip": flag(),
                                  "rstrip": flag(), "normalized": flag(), "special": flag()})
        next_id += new
    return t


def ask(program, path, requests):
    done = subprocess.run([program, path], input="".join(r + "\n" for r in requests), capture_output=True, text=True)
    return done.returncode, done.stdout.split("\n")[:-1], done.stderr.strip()


def compare(program, path, rng, texts, name):
    """Number of differences, or None when one of the two refuses the tokenizer."""
    source = open(path, encoding="utf-8").read()
    try:
        reference = tokenizers.Tokenizer.from_str(source)
    except Exception as error:
        code, _, message = ask(program, path, [])
        return None
    limit = reference.get_vocab_size() + 3
    requests, expected, shown = [], [], []

    def put(kind, argument, answer, what):
        requests.append(f"{kind} {argument}")
        expected.append(answer)
        shown.append(what)

    for text in texts:
        data = text.encode().hex()
        for kind, special in (("e", True), ("E", False)):
            ids = reference.encode(text, add_special_tokens=special).ids
            put(kind, data, " ".join(map(str, ids)), repr(text))
        reference.encode_special_tokens = True
        put("t", data, " ".join(map(str, reference.encode(text, add_special_tokens=False).ids)), repr(text))
        reference.encode_special_tokens = False
        ids = rng.choice([ids, [rng.randrange(limit) for _ in range(rng.randrange(12))]])
        for kind, skip in (("d", False), ("D", True)):
            put(kind, " ".join(map(str, ids)), reference.decode(ids, skip_special_tokens=skip).encode().hex(), str(ids))
    code, answers, message = ask(program, path, requests)
    if code in (4, 5) and not answers:
        print(f"{name}: refused: {message}")
        return None
    wrong = 0
    for request, want, got, what in zip(requests, expected, answers + ["(none)"] * len(requests), shown):
        if want != got:
            wrong += 1
            if wrong <= 3:
                print(f"{name}: {request[0]} {what}\n  expected {want}\n  got      {got} {message}")
    if wrong:
        t = json.loads(source)
        print(json.dumps({k: t[k] for k in ("normalizer", "pre_tokenizer", "decoder")}), {k: v for k, v in t["model"].items() if k not in ("vocab", "merges")})
        print(json.dumps([a for a in t["added_tokens"]][-8:]))
    return wrong


def main():
    program, folder = sys.argv[1:3]
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 40
    rng = random.Random(seed)
    compared = differences = refused = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name, "tokenizer.json")
            if not os.path.exists(path):
                continue
            differences += compare(program, path, rng, [random_text(rng) for _ in range(100)], name)
            compared += 1
            original = json.load(open(path, encoding="utf-8"))
            if os.path.getsize(path) > 1 << 20:
                continue
            for i in range(rounds):
                varied = os.path.join(scratch, "tokenizer.json")
                with open(varied, "w", encoding="utf-8") as out:
                    json.dump(vary(rng, original), out)
                try:
                    found = compare(program, varied, rng, [random_text(rng) for _ in range(12)], f"{name} variant {i}")
                except BaseException as error:  # the reference panics on some inputs
                    if type(error).__name__ != "PanicException":
                        raise
                    found = None
                refused += found is None
                compared += found is not None
                differences += found or 0
    print(f"seed {seed}: {compared} tokenizers compared, {refused} refused, {differences} differences")
    return 1 if differences or compared < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
