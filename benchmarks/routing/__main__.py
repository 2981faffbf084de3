"""What choosing between two models by the prompt saves, on recorded outcomes of real models.

    python benchmarks/routing --data DIR [--only mmlu,gsm8k,pro,swaps,time]

DIR holds the outcomes as parquet files, which are not a part of this project; no model is called. A
router learns on the split `train` and is measured on `bench`. APGR is the area under the curve of
quality against the share of calls to the strong model: 0.5 is chance. CPT50 and CPT80 are the shares in
percent that recover 50 and 80 % of the quality that the strong model adds. Intervals are bootstrap
intervals of 95 %. Needs the extra `learn` and pyarrow. Leaves with 1 where a bar is missed, with 0
where no data is given, and with 2 where DIR lacks it.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

FOLDER = Path(__file__).parent
if not importlib.util.find_spec("numpy") or not importlib.util.find_spec("pyarrow"):
    sys.exit("this benchmark needs numpy and pyarrow: pip install --group dev")
sys.path.insert(0, str(FOLDER))

import numpy as np  # noqa: E402 - where it is there
import swaps  # noqa: E402 - beside this file
from outcomes import GSM8K, MMLU, Pair, pro, routellm  # noqa: E402 - the same

from aideon_agents.ledger.models.outcomes import Record  # noqa: E402 - the same
from aideon_agents.models.learning.fitting import (  # noqa: E402 - the same
    Features,
    apgr,
    fit,
    interval,
    learn,
    share_for,
)
from aideon_agents.models.learning.posterior import Known, order  # noqa: E402

if TYPE_CHECKING:
    from aideon_agents.models.learning.router import Label

PAPER = {
    MMLU: {"matrix factorization": (35.5, 71.4, 0.597), "paper's best": (35.4, 71.6, 0.603)},
    GSM8K: {"matrix factorization": (38.8, 72.6, 0.565), "paper's best": (33.6, 63.3, 0.622)},
}
"""CPT50, CPT80 and APGR of the RouteLLM paper."""

FEW, DRAWS = 300, 10
PAIR_8B = ("Meta-Llama-3_1-8B-Instruct", "Meta-Llama-3_1-70B-Instruct")
FLASH = ("gemini-1.5-flash-002", "gemini-1.5-pro-002")


class Report:
    """Rows of figures, and the bars that were missed."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def title(self, text: str) -> None:
        print(f"\n{text}\n{'':34}  CPT50  CPT80   APGR  [95 %]")

    def row(self, name: str, scores: Any, gains: Any) -> float:
        found = apgr(scores, gains)
        low, high = interval(scores, gains, 95)
        half, most = (100 * share_for(scores, gains, part) for part in (0.5, 0.8))
        print(f"  {name:32}  {half:5.1f}  {most:5.1f}  {found:5.3f}  [{low:.3f}, {high:.3f}]")
        return found

    def bar(self, name: str, found: float, least: float) -> None:
        if found < least:
            self.missed.append(f"{name}: {found:.3f} is under {least:.3f}")


def lengths(labels: list[Label]) -> Any:
    """Prompt length as a router: no training."""
    return np.array([float(len(one.prompt)) for one in labels])


@functools.cache
def features(prompts: tuple[str, ...]) -> Features:
    """The features of prompts, which are read once."""
    return Features.of(prompts)


def read(labels: list[Label]) -> Features:
    """The features of the prompts of labels."""
    return features(tuple(one.prompt for one in labels))


def estimates(train: list[Label], bench: list[Label], some: Any = None, of: Any = None) -> Any:
    """What a router that learnt from some prompts says about others; `some`, `of`: only from and about these."""
    some = np.arange(len(train)) if some is None else some
    of = np.arange(len(bench)) if of is None else of
    fitted = fit(read(train).some(some), gains_of(train)[some], [train[n].category for n in some])
    return fitted.scores(read(bench).some(of), [bench[n].category for n in of])


def gains_of(labels: list[Label]) -> Any:
    """Strong minus weak by prompt."""
    return np.array([one.strong - one.weak for one in labels])


def paper_pair(report: Report, name: str, pair: Pair, least: float) -> None:
    """A pair of the RouteLLM paper."""
    gains = gains_of(pair.bench)
    report.title(f"{name}: Mixtral-8x7B or GPT-4, {len(pair.bench):,} prompts")
    report.row("random", np.random.default_rng(3).random(len(gains)), gains)
    length = report.row("prompt length, no training", lengths(pair.bench), gains)
    for row, (half, most, area) in PAPER[name].items():
        print(f"  {row:32}  {half:5.1f}  {most:5.1f}  {area:5.3f}  from the paper")
    scores = estimates(pair.train, pair.bench)
    whole = report.row(f"learnt from {len(pair.train):,} labels", scores, gains)
    report.bar(name, whole, max(least, length - 0.01))
    if len(pair.train) > 2 * FEW:
        few_labels(report, name, pair, length)
        held_out(report, name, pair, length)
    saving(pair, gains)


def few_labels(report: Report, name: str, pair: Pair, length: float) -> None:
    """The same with few labels, drawn several times."""
    gains, areas = gains_of(pair.bench), []
    for draw in range(DRAWS):
        drawn = np.random.default_rng(draw).permutation(len(pair.train))[:FEW]
        areas.append(apgr(estimates(pair.train, pair.bench, drawn), gains))
    mean = statistics.fmean(areas)
    ends = f"from {min(areas):.3f} to {max(areas):.3f} in {DRAWS} draws"
    print(f"  {f'learnt from {FEW} labels':32}                {mean:5.3f}  {ends}")
    report.bar(f"{name}, {FEW} labels", mean, max(0.60, length - 0.01))


def held_out(report: Report, name: str, pair: Pair, length: float) -> None:
    """Each prompt by a router that has seen no prompt of its subject. Learnt on `train`, measured on `bench`."""
    names = np.array(sorted({*pair.train_subjects, *pair.bench_subjects}))
    scores = np.zeros(len(pair.bench))
    for group in np.array_split(np.random.default_rng(5).permutation(names), 6):
        some = np.flatnonzero(~np.isin(pair.train_subjects, group))
        of = np.flatnonzero(np.isin(pair.bench_subjects, group))
        scores[of] = estimates(pair.train, pair.bench, some, of)
    found = report.row("learnt without its subject", scores, gains_of(pair.bench))
    report.bar(f"{name}, subjects held out", found, max(0.58, length - 0.01))


def saving(pair: Pair, gains: Any) -> None:
    """What routing saves on `bench` with the threshold that `train` gave, at the strong model's quality."""
    router = learn(pair.train, weak=None, strong=None)
    if router.abstains:
        print(f"  abstains: {router.abstains}")
        return
    sent = np.array([router.prefers_strong(one.prompt, one.category) for one in pair.bench])
    lost = np.where(sent, 0.0, -gains)
    low, high = swaps.bounds(lost)
    print(
        f"  routing's share, within a point of quality by `train`: {100 * (1 - sent.mean()):.1f} % of calls not sent to the"
        f" strong model, quality {100 * lost.mean():+.1f} points [{low:+.1f}, {high:+.1f}],"
        f" n = {len(gains):,}"
    )
    if pair.costs:
        print(f"  and in money: {swaps.routed(pair, sent)}")


def pro_pairs(report: Report, data: Path) -> None:
    """Two pairs of MMLU-Pro: one that cannot be routed, and one whose categories differ."""
    pair = pro(data, *PAIR_8B)
    gains = gains_of(pair.bench)
    report.title(f"MMLU-Pro: Llama 3.1 8B or 70B, {len(gains):,} prompts")
    report.row("prompt length, no training", lengths(pair.bench), gains)
    report.row(f"learnt from {len(pair.train):,} labels", estimates(pair.train, pair.bench), gains)
    router = learn(pair.train, weak=None, strong=None)
    print(f"  abstains: {router.abstains or 'no'}")
    if not router.abstains:
        report.missed.append("MMLU-Pro 8B to 70B: it does not abstain")
    pair = pro(data, *FLASH)
    gains = gains_of(pair.bench)
    report.title(f"MMLU-Pro: Gemini 1.5 Flash or Pro, {len(gains):,} prompts")
    length = report.row("prompt length, no training", lengths(pair.bench), gains)
    unknown = [[one._replace(category=None) for one in part] for part in (pair.train, pair.bench)]
    report.bar(
        "MMLU-Pro flash to pro",
        report.row("learnt, category unknown", estimates(*unknown), gains),
        length - 0.01,
    )
    found = report.row("learnt, category known", estimates(pair.train, pair.bench), gains)
    report.bar("MMLU-Pro flash to pro, category known", found, max(0.80, length - 0.01))
    saving(pair, gains)


def decision(pair: Pair) -> None:
    """How long a decision takes: the router's, and that of outcomes."""
    router = learn(pair.train[:FEW], weak=None, strong=None)
    long = max(pair.bench, key=lambda one: len(one.prompt))._replace(category=None)
    prompts = [one.prompt for one in pair.bench] + [long.prompt * 100]
    router.score(long.prompt)
    known = Known.of({(f"c{n}", f"m{m}"): Record(100, 70.0) for n in range(50) for m in range(20)})
    prices = {f"m{m}": float(m + 1) for m in range(20)}
    for name, tried in (
        ("a router on a prompt", [lambda p=p: router.prefers_strong(p) for p in prompts]),
        ("outcomes of 20 models", [lambda: order("c1", prices, known)] * 200),
    ):
        took = []
        for one in tried:
            began = time.thread_time()
            one()
            took.append(1000 * (time.thread_time() - began))
        took.sort()
        print(
            f"  {name:32}  median {statistics.median(took):.2f} ms, p99 {took[int(0.99 * len(took))]:.2f} ms"
        )


def main() -> int:
    """Measure."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--data", type=Path, help="the folder with the parquet files")
    asked.add_argument("--only", default="mmlu,gsm8k,pro,swaps,time", help="parts, by comma")
    given = asked.parse_args()
    if given.data is None:
        print(
            "no data: name the folder with the recorded outcomes with --data DIR; nothing was measured"
        )
        return 0
    if missing := [name for name in swaps.FILES if not (given.data / name).is_file()]:
        print(f"{given.data} lacks {', '.join(missing)}: nothing was measured", file=sys.stderr)
        return 2
    report, parts = Report(), set(given.only.split(","))
    if "mmlu" in parts:
        paper_pair(report, MMLU, routellm(given.data, MMLU), 0.66)
    if "gsm8k" in parts:
        paper_pair(report, GSM8K, routellm(given.data, GSM8K), 0.61)
    if "pro" in parts:
        pro_pairs(report, given.data)
    if "swaps" in parts:
        swaps.show(given.data)
    if "time" in parts:
        print("\nA decision takes, in CPU time")
        decision(routellm(given.data, GSM8K))
    for line in report.missed:
        print(f"MISSED {line}", file=sys.stderr)
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
