#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Load a donor and its pruned copy with transformers; compare what torch sees, and let both continue a sentence.

usage: check_transformers.py DONOR PRUNED
"""
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPT = "The slime mould has no brain, and yet it"


def load(path):
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(path, local_files_only=True, dtype=torch.bfloat16).eval()
    return tokenizer, model


def continue_sentence(tokenizer, model):
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(ids).logits
        text = model.generate(ids, max_new_tokens=24, do_sample=False)
    if not torch.isfinite(logits).all():
        sys.exit("logits are not finite")
    return tokenizer.decode(text[0], skip_special_tokens=True)


def main():
    donor_path, pruned_path = sys.argv[1:3]
    tokenizer, donor = load(donor_path)
    _, pruned = load(pruned_path)
    killed = weights = 0
    for (name, before), (pruned_name, after) in zip(donor.named_parameters(), pruned.named_parameters(), strict=True):
        changed = before != after
        count = int(changed.sum())
        if name != pruned_name or (count and not name.endswith("_proj.weight")) or after[changed].abs().sum() != 0:
            sys.exit(f"{name}: differs by more than zeros")
        if name.endswith("_proj.weight"):
            killed, weights = killed + count, weights + before.numel()
    if not killed:
        sys.exit("nothing was pruned")
    print(f"{killed} of {weights} weights killed ({100 * killed / weights:.2f}%)")
    print("donor: ", continue_sentence(tokenizer, donor))
    print("pruned:", continue_sentence(tokenizer, pruned))


if __name__ == "__main__":
    main()
