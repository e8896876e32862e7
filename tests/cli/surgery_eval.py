#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""surgery --eval, from the outside: its numbers are those of `eval` afterwards, and what cannot work is refused first."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import small_models  # noqa: E402

PHYSARIUM = os.environ["PHYSARIUM"]


def run(*args):
    return subprocess.run([PHYSARIUM, *map(str, args)], capture_output=True, text=True)


def the_reports_say_what_eval_says_afterwards(work):
    for options in (["--method", "magnitude", "--pattern", "2:4"], ["--gain", "2"]):
        out = work / "pruned"
        done = run("surgery", work / "donor", "-o", out, "--force", "--json", "-q", "--eval", work / "text", *options)
        assert done.returncode == 0, done.stderr
        report = json.loads((out / "physarium/surgery.json").read_text())
        after = json.loads(run("eval", out, "--baseline", work / "donor", "--text", work / "text", "--json", "-q").stdout)
        found = report["eval"]
        assert found["text"] == "text" and found["tokens"] == after["tokens"] and found["context"] == after["context"]
        # These models' weights are so large that a perplexity may be infinite, which is null on both sides.
        for key in ("perplexity", "baseline_perplexity", "delta_perplexity"):
            assert (found[key] is None) == (after[key] is None), (key, found[key], after[key])
        for key in ("kl_bits", "kl_bits_p99", "top1_agreement"):
            assert abs(found[key] - after[key]) <= 1e-9 * abs(after[key]), (key, found[key], after[key])
        assert found["kl_bits"] > 0 and json.loads(done.stdout)["kl_bits"] == found["kl_bits"]
        assert not any("Quality was not measured" in sentence for sentence in report["not_done"])
        assert "## Quality" in (out / "physarium/surgery.md").read_text()
        assert "<h2>Quality</h2>" in (out / "physarium/surgery.html").read_text()
        assert run("coverage", work / "donor", out, "--recompute", "-q").returncode == 0


def without_it_the_report_says_that_nothing_was_measured(work):
    done = run("surgery", work / "donor", "-o", work / "plain", "-q")
    assert done.returncode == 0, done.stderr
    report = json.loads((work / "plain/physarium/surgery.json").read_text())
    assert report["eval"] is None and any("Quality was not measured" in s for s in report["not_done"])


def what_cannot_be_evaluated_is_refused_before_anything_is_written(work):
    (work / "short").write_text("the")
    (work / "bytes").write_bytes(b"the \xff the")
    cases = [(work / "donor", work / "short", 2, "less than one window"), (work / "donor", work / "no", 3, "no: "),
             (work / "donor", work / "bytes", 4, "UTF-8"),
             (work / "donor/model.safetensors", work / "text", 2, "a directory")]
    for donor, text, code, sentence in cases:
        out = work / ("refused" + donor.suffix)
        done = run("surgery", donor, "-o", out, "-q", "--eval", text)
        assert done.returncode == code and sentence in done.stderr, (code, done)
        assert not any("refused" in name for name in os.listdir(work)), os.listdir(work)


with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder)
    (place / "model.gguf").write_bytes(small_models.build("llama")[0].bytes())
    made = run("import", place / "model.gguf", "-o", place / "donor", "-q")
    assert made.returncode == 0, made.stderr
    (place / "text").write_text(" the winter in the other inn" * 60)
    for test in (the_reports_say_what_eval_says_afterwards, without_it_the_report_says_that_nothing_was_measured,
                 what_cannot_be_evaluated_is_refused_before_anything_is_written):
        test(place)
        print(test.__name__)
